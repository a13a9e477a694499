//! What puts tripline on a machine, and what resets an instance there. systemd is stood in for by a script that notes what it
//! is asked.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn script(name: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name))
}

/// Runs a command; returns its exit status and what it said.
fn said(command: &mut Command) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.code(), [stdout, stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat())
}

fn mode(root: &Path, path: &str) -> u32 {
    std::fs::metadata(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}")).permissions().mode()
        & 0o7777
}

#[test]
fn an_installation_can_be_repeated_and_removed_and_leaves_what_was_configured() {
    let root = TempDir::new().unwrap();
    let install = |arguments: &[&str]| {
        let mut command = script("install.sh");
        command.env("DESTDIR", root.path()).args(arguments);
        let (code, text) = said(&mut command);
        assert_eq!(code, Some(0), "{text}");
    };
    let program = env!("CARGO_BIN_EXE_tripline");
    install(&["--binary", program]);
    for (path, expected) in [
        ("usr/bin/tripline", 0o755),
        ("usr/sbin/tripline-reset-offsets", 0o755),
        ("etc/tripline", 0o750),
        ("etc/tripline/tripline.toml", 0o640),
        ("var/lib/tripline", 0o700),
        ("etc/systemd/system/tripline@.service", 0o644),
        ("etc/systemd/system/tripline-publish@.service", 0o644),
        ("etc/systemd/system/tripline-apply@.service", 0o644),
        ("usr/share/man/man1/tripline.1", 0o644),
        ("usr/share/man/man1/tripline-offset-reset.1", 0o644),
        ("usr/share/bash-completion/completions/tripline", 0o644),
        ("usr/share/doc/tripline/roles.sql", 0o644),
    ] {
        assert_eq!(mode(root.path(), path), expected, "{path}");
    }
    let config = root.path().join("etc/tripline/tripline.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    assert!(text.contains("\ndir = \"/var/lib/tripline\"\n"), "the position is where the units keep it");
    let (code, text) = said(Command::new(root.path().join("usr/bin/tripline")).arg("--version"));
    assert_eq!((code, text.trim()), (Some(0), concat!("tripline ", env!("CARGO_PKG_VERSION"))));
    std::fs::write(&config, "mine").unwrap();
    std::fs::write(root.path().join("var/lib/tripline/shop.json"), "position").unwrap();
    install(&["--binary", program]);
    install(&["--uninstall"]);
    let mut left = Vec::new();
    files(root.path(), &mut left);
    left.sort();
    assert_eq!(left, ["etc/tripline/tripline.toml", "var/lib/tripline/shop.json"]);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), "mine");
}

/// The files below a folder, relative to it.
fn files(root: &Path, found: &mut Vec<String>) {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => found.push(path.strip_prefix(root).unwrap().display().to_string()),
            }
        }
    }
}

/// Answers for two instances of units, of which `shop` runs: its publisher, and its applier that was stopped but is enabled.
const SYSTEMCTL: &str = r#"#!/bin/sh
case "$*" in
  "show --property=LoadState --value tripline"*) echo loaded ;;
  "is-active tripline-publish@shop") [ -e "$NOTES.stopped" ] && echo inactive || echo active ;;
  "is-enabled tripline-apply@shop") echo enabled ;;
  "is-active "* | "is-enabled "*) echo no; exit 1 ;;
  "show --property=Environment --value tripline-publish@shop") echo TRIPLINE__OFFSET__DIR=/of/the/unit ;;
  "show "*) ;;
  "cat tripline-publish@shop") echo "LoadCredential=source.url:$NOTES.secret" ;;
  stop*) touch "$NOTES.stopped"; echo "systemctl $*" >>"$NOTES" ;;
  *) echo "systemctl $*" >>"$NOTES" ;;
esac
"#;

const TRIPLINE: &str = r#"#!/bin/sh
echo "tripline $* in $TRIPLINE__OFFSET__DIR with $(cat "$CREDENTIALS_DIRECTORY/source.url")" >>"$NOTES"
"#;

#[test]
fn the_reset_stops_and_starts_the_units_of_its_instance() {
    let folder = TempDir::new().unwrap();
    for (name, text) in [("systemctl", SYSTEMCTL), ("tripline", TRIPLINE)] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let notes = folder.path().join("notes");
    std::fs::write(folder.path().join("notes.secret"), "what systemd hands over").unwrap();
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    let reset = |arguments: &str| {
        let mut command = script("reset-offsets.sh");
        command.args(arguments.split_whitespace()).env("PATH", &path).env("NOTES", &notes);
        said(command.env_remove("TRIPLINE_BIN").env_remove("TRIPLINE_CONFIG"))
    };
    let (_, user) = said(Command::new("id").arg("-u"));
    if user.trim() != "0" {
        let (code, text) = reset("--instance shop --yes");
        assert!(code == Some(2) && text.contains("run this as root"), "{text}");
        return;
    }
    let (code, text) = reset("--instance shop --start --clear-topics --yes");
    assert_eq!(code, Some(0), "{text}");
    let expected = [
        "tripline -c /etc/tripline/shop.toml offset reset --dry-run --clear-topics in /of/the/unit with what systemd hands over",
        "systemctl stop tripline-publish@shop",
        "tripline -c /etc/tripline/shop.toml offset reset --yes --clear-topics in /of/the/unit with what systemd hands over",
        "systemctl start tripline-apply@shop tripline-publish@shop",
    ];
    let noted = std::fs::read_to_string(&notes).unwrap();
    let noted: Vec<&str> = noted.lines().filter(|line| !line.contains("offset show")).collect();
    assert_eq!(noted, expected);
    let (code, text) = reset("--start --yes");
    assert!(code == Some(2) && text.contains("no service of instance tripline"), "{text}");
}
