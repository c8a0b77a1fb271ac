//! The key pair that a person is known by: created once, kept in a file that only they can read.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use libp2p::identity::{KeyType, Keypair};

use crate::{Error, IdentityStep};

/// How many damaged files may lie beside each other. Then somebody has to look.
const MAX_SET_ASIDE: u32 = 1000;

/// A key pair, and where it comes from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The key pair.
    pub keypair: Keypair,
    /// Where it comes from.
    pub outcome: Outcome,
}

/// Where a key pair comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was there.
    Existing,
    /// There was none: this is a new person.
    Created,
    /// The file that was there can't be used. It was set aside, and this is a new person, whom others do not recognise.
    Replaced {
        /// Where the old file is now.
        damaged: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
}

/// Loads the key pair from `path`, or creates it there. Creates the folder as well.
///
/// The file is written whole or not at all, and readable by its owner only. One that can't be used is renamed to
/// `<name>.damaged-<n>` and never overwritten.
pub fn load_or_create(path: &Path) -> Result<Loaded, Error> {
    let reason = match fs::read(path) {
        Ok(bytes) => match decode(&bytes) {
            Ok(keypair) => {
                protect(path).map_err(|source| failed(IdentityStep::Protect, path, source))?;
                return Ok(Loaded { keypair, outcome: Outcome::Existing });
            }
            Err(reason) => reason,
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Loaded { keypair: create(path)?, outcome: Outcome::Created });
        }
        Err(error) => error.to_string(),
    };
    let damaged = set_aside(path).map_err(|source| failed(IdentityStep::SetAside, path, source))?;
    tracing::warn!(damaged = %damaged.display(), reason, "the identity file is damaged and was set aside");
    Ok(Loaded { keypair: create(path)?, outcome: Outcome::Replaced { damaged, reason } })
}

fn decode(bytes: &[u8]) -> Result<Keypair, String> {
    let keypair = Keypair::from_protobuf_encoding(bytes).map_err(|error| error.to_string())?;
    match keypair.key_type() {
        KeyType::Ed25519 => Ok(keypair),
        other => Err(format!("a key of type {other:?}")),
    }
}

fn create(path: &Path) -> Result<Keypair, Error> {
    let keypair = Keypair::generate_ed25519();
    let bytes = keypair.to_protobuf_encoding().expect("an ed25519 key can be encoded");
    write_atomically(path, &bytes).map_err(|source| failed(IdentityStep::Write, path, source))?;
    Ok(keypair)
}

fn failed(step: IdentityStep, path: &Path, source: io::Error) -> Error {
    Error::Identity { step, path: path.to_owned(), source }
}

/// Writes beside `path`, syncs, and renames: after a crash there is the whole file or none.
fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let temporary = with_suffix(path, &format!("new-{}", std::process::id()));
    let written = create_private(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        // Nothing of it is needed, and nothing can be done if it stays.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    // The name, too, must survive a crash. Not every file system can sync a folder.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

#[cfg(unix)]
fn create_private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).open(path)
}

/// Takes the rights of others away from a file that was copied carelessly.
#[cfg(unix)]
fn protect(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::metadata(path)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o600))
}

#[cfg(not(unix))]
fn protect(_: &Path) -> io::Result<()> {
    Ok(())
}

fn set_aside(path: &Path) -> io::Result<PathBuf> {
    for n in 1..=MAX_SET_ASIDE {
        let aside = with_suffix(path, &format!("damaged-{n}"));
        if fs::symlink_metadata(&aside).is_err() {
            fs::rename(path, &aside)?;
            return Ok(aside);
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "too many damaged files lie beside it"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_person_stays_the_same_from_start_to_start() {
        let folder = folder();
        let path = folder.path().join("new/identity");
        let first = load_or_create(&path).unwrap();
        let second = load_or_create(&path).unwrap();
        assert_eq!((first.outcome, second.outcome), (Outcome::Created, Outcome::Existing));
        assert_eq!(first.keypair.public(), second.keypair.public());
        assert_eq!(fs::read_dir(folder.path().join("new")).unwrap().count(), 1, "nothing else is left behind");
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_can_read_the_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = folder();
        let path = folder.path().join("identity");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        load_or_create(&path).unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        load_or_create(&path).unwrap();
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn a_damaged_file_is_set_aside_and_never_overwritten() {
        let folder = folder();
        let path = folder.path().join("identity");
        for (n, content) in [&b""[..], b"not a key", &[8, 1, 18, 64, 1, 2, 3]].into_iter().enumerate() {
            fs::write(&path, content).unwrap();
            let aside = folder.path().join(format!("identity.damaged-{}", n + 1));
            match load_or_create(&path).unwrap().outcome {
                Outcome::Replaced { damaged, .. } => assert_eq!(damaged, aside),
                other => panic!("{other:?}"),
            }
            assert_eq!(fs::read(&aside).unwrap(), content);
            assert_eq!(load_or_create(&path).unwrap().outcome, Outcome::Existing);
        }
    }

    #[test]
    fn a_folder_in_the_way_is_set_aside_too() {
        let folder = folder();
        let path = folder.path().join("identity");
        fs::create_dir(&path).unwrap();
        assert!(matches!(load_or_create(&path).unwrap().outcome, Outcome::Replaced { .. }));
    }

    #[test]
    fn a_place_that_cannot_be_written_is_an_error_that_names_it_and_says_what_to_do() {
        let folder = folder();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let error = load_or_create(&file.join("identity")).unwrap_err().to_string();
        assert!(error.contains("file/identity"), "{error}");
    }
}
