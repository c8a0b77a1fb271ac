//! How what is shared is named, in commands and on the command line.

use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::ParseSourceError;

/// What is shared: `screen`, `screen:NAME`, `window:0xID`, `portal`, or `file:CLIP.y4m`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum ScreenSource {
    /// The main screen.
    #[default]
    Default,
    /// A screen by its name.
    Screen(String),
    /// A window by its number.
    Window(u32),
    /// What the person chooses when the desktop asks, as Wayland desktops do.
    Portal,
    /// A YUV4MPEG2 file, played in a loop as if it were a screen.
    File(PathBuf),
}

impl FromStr for ScreenSource {
    type Err = ParseSourceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        };
        let parsed = match text.split_once(':') {
            None if text == "screen" => Some(Self::Default),
            None if text == "portal" => Some(Self::Portal),
            Some(("screen", name)) if !name.is_empty() => Some(Self::Screen(name.to_owned())),
            Some(("window", id)) => number(id).map(Self::Window),
            Some(("file", path)) if !path.is_empty() => Some(Self::File(path.into())),
            Some(_) | None => None,
        };
        parsed.ok_or_else(|| ParseSourceError::new(text, "screen, screen:NAME, window:0xID, portal or file:CLIP.y4m"))
    }
}

impl fmt::Display for ScreenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("screen"),
            Self::Screen(name) => write!(f, "screen:{name}"),
            Self::Portal => f.write_str("portal"),
            Self::Window(id) => write!(f, "window:{id:#x}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl Serialize for ScreenSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ScreenSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_what_it_was_written_from() {
        for text in ["screen", "screen:HDMI-1", "screen:a:b", "window:0x1c00003", "portal", "file:/a/b.y4m"] {
            assert_eq!(text.parse::<ScreenSource>().unwrap().to_string(), text);
        }
        assert_eq!("window:17".parse(), Ok(ScreenSource::Window(17)));
        for wrong in
            ["", "screens", "portal:", "screen:", "window:", "window:0xyz", "window:-1", "window:0x1ffffffff", "file:"]
        {
            assert!(wrong.parse::<ScreenSource>().is_err(), "{wrong}");
        }
    }
}
