//! Reading and replacing the offset file.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::format::{self, Undecodable};
use super::{OffsetError, Stored, failed, lock, now};
use crate::failpoint;
use crate::position::Position;

/// The files of one pipeline.
#[derive(Debug)]
struct Files {
    /// The offset file.
    current: PathBuf,
    /// What it held before the last save.
    previous: PathBuf,
    /// A file that could not be read when it was replaced on purpose: evidence.
    refused: PathBuf,
    /// The next offset file while it is written.
    next: PathBuf,
    /// The next previous file, a second name of the current one.
    link: PathBuf,
}

impl Files {
    fn of(dir: &Path, pipeline: &str) -> Self {
        let file = |suffix: &str| dir.join(format!("{pipeline}.json{suffix}"));
        Self {
            current: file(""),
            previous: file(".previous"),
            refused: file(".refused"),
            next: file(".next.tmp"),
            link: file(".previous.tmp"),
        }
    }
}

/// Reads a pipeline's offset file without a lock, to show it. `None` when there is none.
pub fn read(dir: &Path, pipeline: &str) -> Result<Option<Stored>, OffsetError> {
    read_file(&Files::of(dir, pipeline).current, pipeline)
}

/// Reads what the offset file held before its last save. Nothing ever falls back to it by itself: Kafka may hold more
/// than it knows of.
pub fn read_previous(dir: &Path, pipeline: &str) -> Result<Option<Stored>, OffsetError> {
    read_file(&Files::of(dir, pipeline).previous, pipeline)
}

/// Returns the files of a pipeline that there are, the lock as the last: position, former positions, and what `verify` noted.
pub fn files(dir: &Path, pipeline: &str) -> Result<Vec<PathBuf>, OffsetError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("read", dir)(error)),
    };
    // A pipeline's name has no dots, so that no other one's files begin like this.
    let prefixes = ["json", "verified.json"].map(|kind| format!("{pipeline}.{kind}"));
    let lock = format!("{pipeline}.lock");
    let ours = |name: &str| *name == lock || prefixes.iter().any(|prefix| name.starts_with(prefix));
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed("read", dir))?.path();
        if path.file_name().and_then(|name| name.to_str()).is_some_and(ours) {
            found.push(path);
        }
    }
    found.sort_by_key(|path| (path.extension().is_some_and(|extension| extension == "lock"), path.clone()));
    Ok(found)
}

fn read_file(path: &Path, pipeline: &str) -> Result<Option<Stored>, OffsetError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let path = path.to_owned();
    match format::decode(&bytes) {
        Ok(stored) if stored.pipeline != pipeline => Err(OffsetError::Foreign {
            path,
            what: "pipeline",
            found: stored.pipeline,
            expected: pipeline.to_owned(),
        }),
        Ok(stored) => Ok(Some(stored)),
        Err(Undecodable::Damaged(damage)) => Err(OffsetError::Corrupt { path, damage }),
        Err(Undecodable::Version(found)) => Err(OffsetError::Version { path, found }),
    }
}

/// The offset file of one pipeline, locked until this is dropped.
///
/// The lock is one per pipeline, not one per directory: several pipelines may share a directory, and none of them
/// touches a file of another.
#[derive(Debug)]
pub struct OffsetDir {
    dir: PathBuf,
    pipeline: String,
    files: Files,
    /// What the disk holds, once it was read.
    current: Option<Option<Stored>>,
    /// Keeps the lock.
    _lock: File,
}

impl OffsetDir {
    /// Creates the directory when it is missing, takes the pipeline's lock and clears away what a crash left over.
    ///
    /// Waits for the lock for about half a second; then [`OffsetError::Held`] names the process that has it.
    /// `pipeline` is a name that the configuration has validated: it becomes part of file names.
    pub fn lock(dir: &Path, pipeline: &str) -> Result<Self, OffsetError> {
        if !dir.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create", dir))?;
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            sync_dir(parent.unwrap_or(Path::new(".")))?;
        }
        let lock = lock::take(dir, pipeline)?;
        let files = Files::of(dir, pipeline);
        remove_if_there(&files.next)?;
        remove_if_there(&files.link)?;
        Ok(Self { dir: dir.to_owned(), pipeline: pipeline.to_owned(), files, current: None, _lock: lock })
    }

    /// Reads the offset file. `None` when there is none: a first start.
    pub fn load(&mut self) -> Result<Option<Stored>, OffsetError> {
        let stored = read_file(&self.files.current, &self.pipeline)?;
        self.current = Some(stored.clone());
        Ok(stored)
    }

    /// Returns what the disk holds, as last loaded or saved.
    pub fn current(&self) -> Option<&Stored> {
        self.current.as_ref()?.as_ref()
    }

    /// Replaces the offset file and keeps the former one as `.previous`. On `Ok` the new contents are on disk for
    /// good; on an error the old or the new ones are, whole.
    ///
    /// Refuses a position behind the stored one and another source, and fills in `saved_at`.
    pub fn save(&mut self, stored: &Stored) -> Result<(), OffsetError> {
        if self.current.is_none() {
            self.load()?;
        }
        if let Some(current) = self.current() {
            self.same_source(current, stored)?;
            self.not_behind(current, stored)?;
        }
        self.write(stored)
    }

    /// Replaces the offset file with any position of the pipeline, even one behind: for the commands with which a
    /// person decides. A file that cannot be read is kept as `.refused`.
    pub fn replace(&mut self, stored: &Stored) -> Result<(), OffsetError> {
        self.keep_if_refused()?;
        self.write(stored)
    }

    /// Takes the offset file away, so that the next start is a first one. What it held stays as `.previous`, or as
    /// `.refused` when it cannot be read. Returns false when there was none.
    pub fn clear(&mut self) -> Result<bool, OffsetError> {
        self.keep_if_refused()?;
        if !self.files.current.exists() {
            return Ok(false);
        }
        if self.current().is_some() {
            self.keep_as(&self.files.previous)?;
        }
        fs::remove_file(&self.files.current).map_err(failed("remove", &self.files.current))?;
        sync_dir(&self.dir)?;
        self.current = Some(None);
        Ok(true)
    }

    /// Takes every file of the pipeline away, the lock as the last, for `uninstall --all`. Whoever waits for the lock finds no
    /// offset file and has to make a first start.
    pub fn remove_all(self) -> Result<(), OffsetError> {
        for path in files(&self.dir, &self.pipeline)? {
            remove_if_there(&path)?;
        }
        sync_dir(&self.dir)
    }

    fn write(&mut self, stored: &Stored) -> Result<(), OffsetError> {
        self.expect("pipeline", &stored.pipeline, &self.pipeline)?;
        if stored.format != super::FORMAT {
            return Err(OffsetError::Version { path: self.files.current.clone(), found: stored.format });
        }
        let stored = Stored { saved_at: now(), ..stored.clone() };
        let Files { current, previous, next, .. } = &self.files;
        let bytes = format::encode(&stored).map_err(|error| failed("encode", current)(error.into()))?;
        write_synced(next, &bytes)?;
        failpoint::hit("offset::after-sync");
        // A second name first, a rename after: there is no moment without a current or a previous file.
        if self.current().is_some() {
            self.keep_as(previous)?;
            failpoint::hit("offset::after-previous");
        }
        fs::rename(next, current).map_err(failed("replace", current))?;
        failpoint::hit("offset::after-rename");
        sync_dir(&self.dir)?;
        failpoint::hit("offset::after-sync-dir");
        self.current = Some(Some(stored));
        Ok(())
    }

    /// Reads the file again and keeps one that cannot be read as `.refused`.
    fn keep_if_refused(&mut self) -> Result<(), OffsetError> {
        match self.load() {
            Ok(_) => Ok(()),
            Err(error @ OffsetError::Io { .. }) => Err(error),
            Err(_) => {
                self.current = Some(None);
                self.keep_as(&self.files.refused)
            }
        }
    }

    /// Gives the current file a second name, in one step for whoever reads that name.
    fn keep_as(&self, name: &Path) -> Result<(), OffsetError> {
        let Files { current, link, .. } = &self.files;
        remove_if_there(link)?;
        if fs::hard_link(current, link).is_err() {
            // Not every file system has hard links.
            let bytes = fs::read(current).map_err(failed("read", current))?;
            write_synced(link, &bytes)?;
        }
        fs::rename(link, name).map_err(failed("replace", name))?;
        // Renaming one name of a file to another of its names does nothing and leaves both.
        remove_if_there(link)
    }

    fn same_source(&self, current: &Stored, new: &Stored) -> Result<(), OffsetError> {
        if !current.source.is_known() {
            return Ok(());
        }
        self.expect("system", &current.source.system.to_string(), &new.source.system.to_string())?;
        if current.source.database.is_empty() {
            // Rebuilt from the cuts topic, which does not name it.
            return Ok(());
        }
        self.expect("database", &current.source.database, &new.source.database)
    }

    fn expect(&self, what: &'static str, found: &str, expected: &str) -> Result<(), OffsetError> {
        if found == expected {
            return Ok(());
        }
        Err(OffsetError::Foreign {
            path: self.files.current.clone(),
            what,
            found: found.to_owned(),
            expected: expected.to_owned(),
        })
    }

    fn not_behind(&self, current: &Stored, new: &Stored) -> Result<(), OffsetError> {
        let (old, now) = (&current.position, &new.position);
        let what = if progress(now) < progress(old) {
            "the pass"
        } else if now.offset < old.offset {
            "the offset"
        } else if now.base.xmin < old.base.xmin || now.base.xmax < old.base.xmax {
            "snapshot B"
        } else if new.epoch < current.epoch {
            "the epoch"
        } else if new.cuts_offset < current.cuts_offset {
            "the offset in the cuts topic"
        } else {
            return Ok(());
        };
        Err(OffsetError::Backward {
            path: self.files.current.clone(),
            what,
            stored: describe(current),
            new: describe(new),
        })
    }
}

/// Orders positions: the parts of a pass, then its end, then the next pass.
fn progress(position: &Position) -> (u64, bool, Option<(u32, u64)>) {
    let inside = position.inside.as_ref().map(|inside| (inside.part, inside.cursor));
    (position.pass, inside.is_none(), inside)
}

fn describe(stored: &Stored) -> String {
    let Position { pass, base, offset, inside, .. } = &stored.position;
    let part = inside.as_ref().map(|inside| format!(" part {} (at {})", inside.part, inside.cursor));
    let cut = stored.cuts_offset.map_or_else(|| "none".to_owned(), |offset| offset.to_string());
    format!(
        "pass {pass}{} offset {offset} base {base} epoch {} cut {cut}",
        part.unwrap_or_default(),
        stored.epoch
    )
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), OffsetError> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .map_err(failed("create", path))?;
    file.write_all(bytes).map_err(failed("write", path))?;
    failpoint::hit("offset::after-write");
    file.sync_all().map_err(failed("write", path))
}

/// Makes the names in a directory durable.
fn sync_dir(dir: &Path) -> Result<(), OffsetError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed("sync", dir))
}

fn remove_if_there(path: &Path) -> Result<(), OffsetError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}
