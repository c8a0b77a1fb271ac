//! Where Parlor keeps its files, and that only one copy of it does so at a time.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use directories::ProjectDirs;

use crate::kept_file::storage_problem;

/// The directories of one person on this machine, held by this process until it is dropped.
#[derive(Debug)]
pub struct DataDir {
    data: PathBuf,
    config: PathBuf,
    /// The system releases the lock when the process ends, however it ends.
    _lock: File,
}

/// Why there is no place for our files.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// The system does not say where a person's files belong.
    #[error("this system names no home directory; say where to keep Parlor's files with --data-dir")]
    NoHome,
    /// Another copy of Parlor uses this directory.
    #[error("Parlor is already running with {}; use that window, or start a second person with --data-dir", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// A directory, or the lock in it, can't be made.
    #[error("Parlor can't use {}: {}; choose another place with --data-dir", path.display(), storage_problem(source))]
    Unusable {
        /// What can't be made.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl DataDir {
    /// Opens `chosen`, or the system's place for a person's files (on Linux the XDG data and config directories).
    /// Makes what is missing, readable by its owner alone.
    pub fn open(chosen: Option<&Path>) -> Result<Self, DataDirError> {
        let (data, config) = Self::places(chosen)?;
        for directory in [&data, &config] {
            create_private(directory).map_err(|source| DataDirError::Unusable { path: directory.clone(), source })?;
        }
        let lock = lock(&data)?;
        Ok(Self { data, config, _lock: lock })
    }

    /// What the file of the settings is called.
    pub const SETTINGS: &str = "settings.toml";

    /// Where data and settings are, without making or locking anything.
    pub fn places(chosen: Option<&Path>) -> Result<(PathBuf, PathBuf), DataDirError> {
        match chosen {
            Some(directory) => Ok((directory.to_owned(), directory.to_owned())),
            None => {
                let places = ProjectDirs::from("", "", "parlor").ok_or(DataDirError::NoHome)?;
                Ok((places.data_dir().to_owned(), places.config_dir().to_owned()))
            }
        }
    }

    /// The directory of the identity and everything else that is not settings.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The settings.
    pub fn settings_file(&self) -> PathBuf {
        self.config.join(Self::SETTINGS)
    }

    /// The people whom the person knows.
    pub fn contacts_file(&self) -> PathBuf {
        self.data.join("contacts.toml")
    }

    /// The directory of the log files; made by whoever writes there.
    pub fn logs(&self) -> PathBuf {
        self.data.join("logs")
    }
}

fn create_private(directory: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn lock(directory: &Path) -> Result<File, DataDirError> {
    let path = directory.join("lock");
    let unusable = |source| DataDirError::Unusable { path: path.clone(), source };
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(DataDirError::InUse { directory: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chosen_directory_is_made_and_holds_everything() {
        let home = tempfile::tempdir().unwrap();
        let chosen = home.path().join("ann").join("parlor");
        let dir = DataDir::open(Some(&chosen)).unwrap();
        assert!(chosen.is_dir());
        assert_eq!(dir.data(), chosen);
        assert_eq!(dir.settings_file(), chosen.join("settings.toml"));
        assert_eq!(dir.logs(), chosen.join("logs"));
    }

    #[test]
    fn a_second_copy_is_refused_until_the_first_one_is_gone() {
        let home = tempfile::tempdir().unwrap();
        let first = DataDir::open(Some(home.path())).unwrap();
        let error = DataDir::open(Some(home.path())).unwrap_err();
        assert!(matches!(error, DataDirError::InUse { .. }), "{error}");
        assert!(error.to_string().contains("already running"), "{error}");
        drop(first);
        DataDir::open(Some(home.path())).unwrap();
    }

    #[test]
    fn two_people_on_one_machine_have_two_directories() {
        let home = tempfile::tempdir().unwrap();
        let _ann = DataDir::open(Some(&home.path().join("ann"))).unwrap();
        let _bob = DataDir::open(Some(&home.path().join("bob"))).unwrap();
    }

    #[test]
    fn a_place_that_is_no_directory_is_told_with_a_way_out() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("file");
        fs::write(&file, "").unwrap();
        let error = DataDir::open(Some(&file.join("below"))).unwrap_err();
        assert!(matches!(error, DataDirError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains("--data-dir"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn others_on_the_machine_are_kept_out() {
        use std::os::unix::fs::PermissionsExt as _;
        let home = tempfile::tempdir().unwrap();
        let chosen = home.path().join("parlor");
        let _dir = DataDir::open(Some(&chosen)).unwrap();
        assert_eq!(fs::metadata(chosen).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
