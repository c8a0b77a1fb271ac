use std::{fmt, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Where pictures come from: `default`, `none`, `test-card`, `file:CLIP.y4m`, or a device id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum VideoSource {
    /// The first camera; the test card when there is none.
    #[default]
    Default,
    /// No picture is sent.
    None,
    /// The built-in moving test card, 1280 x 720 at 30 frames/s.
    TestCard,
    /// A camera, by the id that the list of devices gives.
    Device(String),
    /// A YUV4MPEG2 file (4:2:0, 8 bit), played in a loop at its own rate.
    File(PathBuf),
}

/// Where sound comes from: `default`, `none`, `tone`, `file:A.wav`, or a device id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum AudioSource {
    /// The system's default microphone; silence when there is none.
    #[default]
    Default,
    /// Silence.
    None,
    /// A 440 Hz tone.
    Tone,
    /// A microphone, by the id that the list of devices gives.
    Device(String),
    /// A WAV file, played in a loop.
    File(PathBuf),
}

/// Where sound goes: `default`, `none`, `file:OUT.wav`, or a device id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum AudioSink {
    /// The system's default loudspeaker; nowhere when there is none.
    #[default]
    Default,
    /// Decoded and thrown away.
    None,
    /// A loudspeaker, by the id that the list of devices gives.
    Device(String),
    /// A WAV file, 48 kHz mono 16 bit.
    File(PathBuf),
}

/// Where the remote picture goes besides the screen: `none`, `file:OUT.y4m`, or `samples:OUT.y4m`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum VideoSink {
    /// Nowhere.
    #[default]
    None,
    /// A YUV4MPEG2 file.
    File(PathBuf),
    /// One picture of [`VideoSink::ONE_IN`] to a YUV4MPEG2 file: what it looks like, for little work.
    Samples(PathBuf),
}

impl VideoSink {
    /// One picture of so many is a sample: two a second.
    pub const ONE_IN: usize = 15;
}

/// A text that names no source or sink.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not one of {expected}")]
pub struct ParseSourceError {
    text: String,
    expected: &'static str,
}

impl ParseSourceError {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.to_owned(), expected }
    }
}

macro_rules! as_text {
    ($type:ident, $expected:literal, [$($word:literal => $variant:ident),+], [$($prefix:literal => $file:ident),+], $($device:ident)?) => {
        impl FromStr for $type {
            type Err = ParseSourceError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => return Ok(Self::$variant),)+
                    _ => {}
                }
                $(if let Some(path) = text.strip_prefix($prefix).filter(|path| !path.is_empty()) {
                    return Ok(Self::$file(path.into()));
                })+
                $(if !text.is_empty() && !text.starts_with("file:") {
                    return Ok(Self::$device(text.to_owned()));
                })?
                Err(ParseSourceError { text: text.to_owned(), expected: $expected })
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$variant => f.write_str($word),)+
                    $(Self::$file(path) => write!(f, "{}{}", $prefix, path.display()),)+
                    $(Self::$device(id) => f.write_str(id),)?
                }
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

as_text!(VideoSource, "default, none, test-card, file:CLIP.y4m, or a camera id",
    ["default" => Default, "none" => None, "test-card" => TestCard], ["file:" => File], Device);
as_text!(AudioSource, "default, none, tone, file:A.wav, or a microphone id",
    ["default" => Default, "none" => None, "tone" => Tone], ["file:" => File], Device);
as_text!(AudioSink, "default, none, file:OUT.wav, or a loudspeaker id",
    ["default" => Default, "none" => None], ["file:" => File], Device);
as_text!(VideoSink, "none, file:OUT.y4m, or samples:OUT.y4m",
    ["none" => None], ["file:" => File, "samples:" => Samples],);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_what_it_was_written_from() {
        for text in ["default", "none", "test-card", "file:/a/b.y4m", "/dev/video0"] {
            assert_eq!(text.parse::<VideoSource>().unwrap().to_string(), text);
        }
        for text in ["default", "none", "tone", "file:a.wav", "alsa:hw:0"] {
            assert_eq!(text.parse::<AudioSource>().unwrap().to_string(), text);
        }
        for text in ["none", "file:a.y4m", "samples:a.y4m"] {
            assert_eq!(text.parse::<VideoSink>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_name_says_what_would_be_right() {
        let error = "screen".parse::<VideoSink>().unwrap_err();
        assert_eq!(error.to_string(), r#""screen" is not one of none, file:OUT.y4m, or samples:OUT.y4m"#);
        assert!("file:".parse::<VideoSource>().is_err());
        assert!("samples:".parse::<VideoSink>().is_err());
        assert!("".parse::<AudioSink>().is_err());
    }
}
