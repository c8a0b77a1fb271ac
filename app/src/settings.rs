//! What a person chose, kept between starts.

use parlor_media::{AudioSink, AudioSource, VideoSource};
use serde::{Deserialize, Serialize};

/// What a person chose. Written as TOML; unknown keys are kept out, missing ones take their defaults.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// The name that others see; `None` until it was typed.
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

/// The longest name, in characters.
pub const MAX_NAME_CHARS: usize = 40;
