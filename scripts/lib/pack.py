"""Packs what [package.metadata.deb] of Cargo.toml lists, with dpkg-deb alone: pack.py BINARY FOLDER; prints the path.

Reads of cargo-deb's settings those that Cargo.toml uses, and fails for others. `$auto` becomes the packages of the
libraries that the program is linked with.
"""

import glob
import gzip
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib

KNOWN = {"maintainer", "copyright", "changelog", "section", "depends", "extended-description", "maintainer-scripts", "conf-files", "assets"}
BINARY = "target/release/tripline"


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def linked(binary):
    """Returns the packages of the libraries that a program is linked with."""
    paths = [line.split("=>")[1].split()[0] for line in output("ldd", binary).splitlines() if "=> /" in line]
    found = set()
    for path in paths:
        # dpkg knows a library by its place from before or behind the merge of /lib and /usr/lib.
        for name in (path, os.path.realpath(path), "/usr" + path):
            asked = subprocess.run(["dpkg", "-S", name], capture_output=True, text=True, check=False)
            if asked.returncode == 0:
                found.add(asked.stdout.split(":")[0])
                break
        else:
            raise SystemExit(f"pack: no package has {path}")
    return ", ".join(sorted(found))


def place(root, source, target, mode):
    """Copies a file to where the package has it; a target that ends in / is a folder."""
    path = os.path.join(root, target, os.path.basename(source) if target.endswith("/") else "").rstrip("/")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if source.endswith("/tripline") and mode == 0o755:
        subprocess.run(["strip", "-o", path, source], check=True)
    else:
        shutil.copyfile(source, path)
    os.chmod(path, mode)


def documents(root, package, deb):
    """Writes what cargo-deb makes by itself: who may do what with it, and what has changed."""
    folder = os.path.join(root, "usr/share/doc", package["name"])
    with open(os.path.join(folder, "copyright"), "w") as file:
        file.write(
            "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
            f"Upstream-Name: {package['name']}\nSource: {package['repository']}\n\n"
            f"Files: *\nCopyright: {deb['copyright']}\nLicense: {package['license']}\n"
            f" See /usr/share/common-licenses/{package['license']}.\n"
        )
    with open(deb["changelog"], "rb") as source, gzip.GzipFile(os.path.join(folder, "changelog.Debian.gz"), "wb", 9, mtime=0) as file:
        file.write(source.read())
    for name in ("copyright", "changelog.Debian.gz"):
        os.chmod(os.path.join(folder, name), 0o644)


def main():
    binary, folder = sys.argv[1:]
    with open("Cargo.toml", "rb") as file:
        package = tomllib.load(file)["package"]
    deb = package["metadata"]["deb"]
    if unknown := set(deb) - KNOWN:
        raise SystemExit(f"pack: [package.metadata.deb] has {', '.join(sorted(unknown))}, which is not known here")
    architecture, version = output("dpkg", "--print-architecture").strip(), f"{package['version']}-1"
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        for source, target, mode in deb["assets"]:
            paths = [binary] if source == BINARY else glob.glob(source)
            if not paths:
                raise SystemExit(f"pack: {source} is missing")
            for path in paths:
                place(root, path, target, int(mode, 8))
        documents(root, package, deb)
        control = os.path.join(root, "DEBIAN")
        os.makedirs(control)
        for script in os.listdir(deb["maintainer-scripts"]):
            place(control, os.path.join(deb["maintainer-scripts"], script), script, 0o755)
        with open(os.path.join(control, "conffiles"), "w") as file:
            file.writelines(f"{path}\n" for path in deb["conf-files"])
        text = "\n".join(f" {line}" for line in deb["extended-description"].splitlines())
        with open(os.path.join(control, "control"), "w") as file:
            file.write(
                f"Package: {package['name']}\nVersion: {version}\nArchitecture: {architecture}\nSection: {deb['section']}\n"
                f"Priority: optional\nMaintainer: {deb['maintainer']}\nDepends: {deb['depends'].replace('$auto', linked(binary))}\n"
                f"Description: {package['description'].rstrip('.')}\n{text}\n"
            )
        path = os.path.join(folder, f"{package['name']}_{version}_{architecture}.deb")
        subprocess.run(["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", root, path], check=True, stdout=sys.stderr)
        print(path)


if __name__ == "__main__":
    main()
