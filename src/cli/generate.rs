//! `tripline generate`: manual pages and shell completions, for packages. Needs no configuration.

use std::path::{Path, PathBuf};

use clap::{CommandFactory as _, Subcommand};
use clap_complete::Shell;

use super::{Args, Outcome};
use crate::error::Error;

/// What to write.
#[derive(Debug, Subcommand)]
pub enum Generated {
    /// Manual pages, one for each command
    Man {
        /// An existing folder
        dir: PathBuf,
    },
    /// Completions for bash, zsh and fish
    Completions {
        /// An existing folder
        dir: PathBuf,
    },
}

impl Generated {
    /// Writes it.
    pub(super) fn write(&self) -> Result<Outcome, Error> {
        let failed = |dir: &Path| {
            let dir = dir.to_owned();
            move |source| Error::Generate { dir, source }
        };
        match self {
            Self::Man { dir } => clap_mangen::generate_to(Args::command(), dir).map_err(failed(dir))?,
            Self::Completions { dir } => {
                for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                    clap_complete::generate_to(shell, &mut Args::command(), "tripline", dir)
                        .map_err(failed(dir))?;
                }
            }
        }
        Ok(Outcome::Fine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_and_is_completed() {
        let dir = tempfile::tempdir().expect("a folder");
        for generated in [
            Generated::Man { dir: dir.path().to_owned() },
            Generated::Completions { dir: dir.path().to_owned() },
        ] {
            generated.write().expect("the folder is there");
        }
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect(name);
        let completions = ["tripline.bash", "_tripline", "tripline.fish"].map(read);
        for command in Args::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(read("tripline.1").contains(&format!("tripline\\-{name}(1)")), "{name}");
            assert!(read(&format!("tripline-{name}.1")).contains("NAME"), "{name}");
            assert!(completions.iter().all(|text| text.contains(name)), "{name}");
        }
        let nowhere = Generated::Man { dir: dir.path().join("nowhere") };
        assert!(nowhere.write().is_err());
    }
}
