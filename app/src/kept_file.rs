//! Files of ours that people can read and mend: TOML, written whole or not at all.
//!
//! A file that can't be understood is never overwritten: it is set aside, and the person is told where.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::atomic_file;

/// Reads a file. Without it, or with a damaged one, the value is the default; the second value says what became of a
/// damaged one.
pub(crate) fn load<T: Default + DeserializeOwned>(path: &Path) -> (T, Option<Damage>) {
    let problem = match fs::read_to_string(path) {
        Ok(text) => match toml::from_str(&text) {
            Ok(value) => return (value, None),
            Err(error) => error.to_string().trim().to_owned(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return (T::default(), None),
        Err(error) => storage_problem(&error),
    };
    let fate = match set_aside(path) {
        Ok(kept) => Fate::SetAside(kept),
        Err(error) => Fate::Left(storage_problem(&error)),
    };
    (T::default(), Some(Damage { file: path.to_owned(), problem, fate }))
}

/// Writes a file, readable by its owner alone.
pub(crate) fn save<T: Serialize>(value: &T, path: &Path) -> Result<(), SaveError> {
    let written =
        toml::to_string(value).map_err(io::Error::other).and_then(|text| atomic_file::write(path, text.as_bytes()));
    written.map_err(|error| SaveError { file: path.to_owned(), problem: storage_problem(&error), source: error })
}

/// A file that could not be used; the defaults are used instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// What is wrong with it.
    pub problem: String,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a file that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It has this name now.
    SetAside(PathBuf),
    /// It is where it was, because it could not be renamed, for this reason.
    Left(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, problem, fate } = self;
        write!(f, "{} can't be used: {problem}. ", file.display())?;
        match fate {
            Fate::SetAside(kept) => write!(f, "It is kept as {}; a new one is begun.", kept.display()),
            Fate::Left(why) => write!(f, "A new one is begun. The old one could not be set aside: {why}."),
        }
    }
}

/// A file could not be written; what it held before is still there.
#[derive(Debug, thiserror::Error)]
#[error("{} could not be saved: {problem}", file.display())]
pub struct SaveError {
    /// The file.
    pub file: PathBuf,
    /// What is in the way.
    pub problem: String,
    source: io::Error,
}

/// What the system says of a file, in words that tell what to do about it.
pub(crate) fn storage_problem(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "its directory or file belongs to somebody else, or is write-protected".into()
        }
        io::ErrorKind::ReadOnlyFilesystem => "the disk can only be read".into(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "the disk is full".into(),
        io::ErrorKind::InvalidData => "it is not text".into(),
        _ => error.to_string(),
    }
}

/// `settings.toml` becomes `settings.damaged-N.toml`, with the first `N` that is free.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let mut number = 1;
    loop {
        let kept = path.with_extension(format!("damaged-{number}.toml"));
        if fs::symlink_metadata(&kept).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            fs::rename(path, &kept)?;
            return Ok(kept);
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_called_a_full_disk() {
        use std::io::Write as _;
        let error = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
        assert_eq!(super::storage_problem(&error), "the disk is full");
    }
}
