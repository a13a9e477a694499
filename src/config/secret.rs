//! Files that hold secrets: where they are looked for, and who may read them.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// Where systemd puts the credentials of a service.
pub(super) const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Returns the directory of this service's credentials, if it has one.
pub(crate) fn directory() -> Option<PathBuf> {
    std::env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Returns where a file is: a relative path is looked for among the credentials first.
pub(crate) fn locate(path: &Path, credentials: Option<&Path>) -> PathBuf {
    let credential = credentials.filter(|_| path.is_relative()).map(|directory| directory.join(path));
    credential.filter(|path| path.exists()).unwrap_or_else(|| path.to_owned())
}

/// Reads a file that only its owner and its group may have access to.
pub(crate) fn read(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
    if mode & 0o007 != 0 {
        return Err(ConfigError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, mode: u32) {
        std::fs::write(path, "s3cret").unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_that_everybody_can_read_or_write_is_refused_with_the_command_that_mends_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("it's");
        for mode in [0o644, 0o604, 0o602, 0o601] {
            write(&path, mode);
            let said = read(&path).unwrap_err().to_string();
            assert!(said.contains("chmod 0640 '") && said.contains(r"it'\''s'"), "{said}");
            assert!(said.contains(&format!("{mode:04o}")) && !said.contains("s3cret"), "{said}");
        }
        for mode in [0o600, 0o640, 0o440, 0o400] {
            write(&path, mode);
            assert_eq!(read(&path).unwrap(), "s3cret");
        }
    }

    #[test]
    fn relative_paths_are_credentials_if_there_is_one() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("url"), 0o400);
        let credentials = Some(dir.path());
        assert_eq!(locate(Path::new("url"), credentials), dir.path().join("url"));
        assert_eq!(locate(Path::new("other"), credentials), Path::new("other"));
        assert_eq!(locate(Path::new("/url"), credentials), Path::new("/url"));
        assert_eq!(locate(Path::new("url"), None), Path::new("url"));
    }
}
