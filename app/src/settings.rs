//! What a person chose, kept between starts.
//!
//! A file that can't be understood is never overwritten: it is set aside, and the person is told where.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use parlor_media::{AudioSink, AudioSource, VideoSource};
use serde::{Deserialize, Deserializer, Serialize, de};

pub use crate::name::MAX_NAME_CHARS;
use crate::{atomic_file, name::validate_name};

/// What a person chose. Written as TOML; unknown keys are kept out, missing ones take their defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The name that others see; `None` until it was typed.
    #[serde(deserialize_with = "valid_name")]
    pub name: Option<String>,
    /// The language of the window.
    pub language: Language,
    /// Light or dark.
    pub theme: Theme,
    /// Where pictures come from.
    pub camera: VideoSource,
    /// Where sound comes from.
    pub microphone: AudioSource,
    /// Where sound goes.
    pub speaker: AudioSink,
}

impl Settings {
    /// Reads the settings. Without a file they are the defaults; with a damaged one too, and the second value says
    /// what became of it.
    pub fn load(path: &Path) -> (Self, Option<Damage>) {
        let problem = match fs::read_to_string(path) {
            Ok(text) => match toml::from_str(&text) {
                Ok(settings) => return (settings, None),
                Err(error) => error.to_string().trim().to_owned(),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (Self::default(), None),
            Err(error) => storage_problem(&error),
        };
        let fate = match set_aside(path) {
            Ok(kept) => Fate::SetAside(kept),
            Err(error) => Fate::Left(storage_problem(&error)),
        };
        (Self::default(), Some(Damage { file: path.to_owned(), problem, fate }))
    }

    /// Writes the settings, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        let written =
            toml::to_string(self).map_err(io::Error::other).and_then(|text| atomic_file::write(path, text.as_bytes()));
        written.map_err(|error| SaveError { file: path.to_owned(), problem: storage_problem(&error), source: error })
    }
}

/// A settings file that could not be used; the defaults are used instead.
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
            Fate::SetAside(kept) => write!(f, "It is kept as {}; the settings start anew.", kept.display()),
            Fate::Left(why) => write!(f, "The defaults are used. It could not be set aside: {why}."),
        }
    }
}

/// The settings could not be written; those of the last time are still there.
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

fn valid_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    name.map(|name| validate_name(&name)).transpose().map_err(de::Error::custom)
}

/// The language of the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// As the system's, English if Parlor does not speak it.
    #[default]
    #[serde(rename = "system")]
    System,
    /// English.
    #[serde(rename = "en")]
    English,
    /// Simplified Chinese.
    #[serde(rename = "zh-CN")]
    Chinese,
}

/// Light or dark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    /// As the system's.
    #[default]
    System,
    /// Dark text on light.
    Light,
    /// Light text on dark.
    Dark,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen() -> Settings {
        Settings {
            name: Some("李伟".into()),
            language: Language::Chinese,
            theme: Theme::Dark,
            camera: VideoSource::File("clip.y4m".into()),
            microphone: AudioSource::Tone,
            speaker: AudioSink::Device("hw:0".into()),
        }
    }

    #[test]
    fn settings_survive_being_saved_and_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        for settings in [Settings::default(), chosen()] {
            settings.save(&file).unwrap();
            assert_eq!(Settings::load(&file), (settings, None));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing but the settings is left behind");
    }

    #[test]
    fn the_first_start_has_the_defaults_and_no_complaint() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(Settings::load(&directory.path().join("settings.toml")), (Settings::default(), None));
    }

    #[test]
    fn missing_keys_are_defaults_and_unknown_ones_are_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        fs::write(&file, "theme = \"dark\"\nfrom_the_future = 7\n").unwrap();
        let expected = Settings { theme: Theme::Dark, ..Settings::default() };
        assert_eq!(Settings::load(&file), (expected, None));
    }

    #[test]
    fn a_damaged_file_is_set_aside_whole_and_none_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        let damaged: [&[u8]; 5] =
            [b"name = ", b"theme = \"mauve\"", b"name = \"a\\u202eb\"", b"camera = 7", b"\xff\xfe\0"];
        for (n, content) in damaged.into_iter().enumerate() {
            fs::write(&file, content).unwrap();
            let (settings, damage) = Settings::load(&file);
            let kept = directory.path().join(format!("settings.damaged-{}.toml", n + 1));
            let damage = damage.expect("the damage is told");
            assert_eq!(damage.fate, Fate::SetAside(kept.clone()));
            assert!(damage.to_string().contains(&kept.display().to_string()), "{damage}");
            assert_eq!(fs::read(kept).unwrap(), content);
            assert_eq!(settings, Settings::default());
        }
        assert!(!file.exists());
    }

    #[test]
    fn a_save_that_fails_says_why_and_keeps_the_old_settings() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        Settings::default().save(&file).unwrap();
        // A directory where the new file is to be written: nobody can write there, not even root.
        fs::create_dir(directory.path().join("settings.toml.new")).unwrap();
        let error = chosen().save(&file).unwrap_err();
        assert!(error.to_string().contains("settings.toml could not be saved: "), "{error}");
        assert_eq!(Settings::load(&file), (Settings::default(), None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_called_a_full_disk() {
        use io::Write as _;
        let error = fs::OpenOptions::new().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
        assert_eq!(storage_problem(&error), "the disk is full");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_the_settings() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("settings.toml");
        chosen().save(&file).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
