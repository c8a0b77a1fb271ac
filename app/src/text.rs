//! Every sentence that people read in the window, in every language that Parlor speaks.
//!
//! The sentences live in `assets/locales/*.toml` and are part of the program. A locale that lacks a sentence, or has one
//! too many, fails a test; so does one whose placeholders differ from the English ones.

mod locale;
mod sentences;

use std::sync::LazyLock;

use parlor_media::{DeviceKind, Problem, ScreenProblem};
use parlor_net::{Status, Via};

use self::locale::{Entry, Source};
pub use self::sentences::*;
use crate::{
    call::EndReason,
    engine::Quality,
    link::LinkError,
    name::NameError,
    room::{MAX_SECRET_CHARS, RoomError},
    settings::{Language, MAX_NAME_CHARS},
};

static ENGLISH: LazyLock<Text> = LazyLock::new(|| Text::parse(include_str!("../../assets/locales/en.toml")));
static CHINESE: LazyLock<Text> = LazyLock::new(|| Text::parse(include_str!("../../assets/locales/zh-CN.toml")));

impl Text {
    /// The sentences in this language; [`Language::System`] is looked up.
    pub fn of(language: Language) -> &'static Self {
        match language {
            Language::System => Self::of(language_of_locale(sys_locale::get_locale().as_deref())),
            Language::English => &ENGLISH,
            Language::Chinese => &CHINESE,
        }
    }

    /// Why a call with `name` is over.
    pub fn ended(&self, reason: EndReason, name: &str) -> String {
        let sentences = &self.ended;
        let sentence = match reason {
            EndReason::HungUp => &sentences.hung_up,
            EndReason::RemoteHungUp => &sentences.remote_hung_up,
            EndReason::Cancelled => &sentences.cancelled,
            EndReason::RemoteCancelled => &sentences.remote_cancelled,
            EndReason::Declined => &sentences.declined,
            EndReason::RemoteDeclined => &sentences.remote_declined,
            EndReason::Busy => &sentences.busy,
            EndReason::NoAnswer => &sentences.no_answer,
            EndReason::Missed => &sentences.missed,
            EndReason::Unreachable => &sentences.unreachable,
            EndReason::ConnectionLost => &sentences.connection_lost,
            EndReason::MediaFailed => &sentences.media_failed,
            EndReason::Incompatible => &sentences.incompatible,
        };
        sentence.with("name", name)
    }

    /// What is wrong with a device, and what to do.
    pub fn device_problem(&self, device: DeviceKind, problem: Problem) -> &str {
        let sentences = match device {
            DeviceKind::Camera => &self.device.camera,
            DeviceKind::Microphone => &self.device.microphone,
            DeviceKind::Speaker => &self.device.speaker,
            DeviceKind::VideoOut => &self.device.video_out,
        };
        match problem {
            Problem::Missing => &sentences.missing,
            Problem::Busy => &sentences.busy,
            Problem::Denied => &sentences.denied,
            Problem::Lost => &sentences.lost,
            Problem::Replaced => &sentences.replaced,
            Problem::BadFile => &sentences.bad_file,
            Problem::Failed => &sentences.failed,
        }
    }

    /// Why no screen is shared, and what to do.
    pub fn screen_problem(&self, problem: &ScreenProblem) -> &str {
        match problem {
            ScreenProblem::NoDisplay => &self.share.no_display,
            ScreenProblem::Wayland => &self.share.wayland,
            ScreenProblem::NoPortal => &self.share.no_portal,
            ScreenProblem::Forbidden => &self.share.forbidden,
            ScreenProblem::Unsupported => &self.share.unsupported,
            ScreenProblem::NotTaken => &self.share.not_taken,
            ScreenProblem::Gone => &self.share.gone,
            ScreenProblem::Failed(_) => &self.share.failed,
        }
    }

    /// There are no such devices: one sentence for all that are missing. `None` when nothing is.
    pub fn missing_devices(&self, missing: &[DeviceKind]) -> Option<&str> {
        let has = |device| missing.contains(&device);
        match (has(DeviceKind::Camera), has(DeviceKind::Microphone), has(DeviceKind::Speaker)) {
            (true, true, true) => Some(&self.device.missing.all),
            (true, true, false) => Some(&self.device.missing.camera_and_microphone),
            (true, false, true) => Some(&self.device.missing.camera_and_speaker),
            (false, true, true) => Some(&self.device.missing.microphone_and_speaker),
            (true, false, false) | (false, true, false) | (false, false, true) | (false, false, false) => {
                missing.first().map(|device| self.device_problem(*device, Problem::Missing))
            }
        }
    }

    /// What is wrong with a name.
    pub fn name_error(&self, error: NameError) -> String {
        match error {
            NameError::Empty => self.name_error.empty.clone(),
            NameError::TooLong => self.name_error.too_long.with("max", &MAX_NAME_CHARS.to_string()),
            NameError::ControlCharacter => self.name_error.control_character.clone(),
        }
    }

    /// What is wrong with a link.
    pub fn link_error(&self, error: &LinkError) -> String {
        let sentences = &self.link_error;
        match error {
            LinkError::Scheme => sentences.scheme.clone(),
            LinkError::TooLong => sentences.too_long.clone(),
            LinkError::Encoding => sentences.encoding.clone(),
            LinkError::Peer => sentences.peer.clone(),
            LinkError::Address(address) => sentences.address.with("address", address),
            LinkError::NamelessNode(address) => sentences.nameless_node.with("address", address),
            LinkError::TooManyAddresses => sentences.too_many_addresses.clone(),
            LinkError::NoAddress => sentences.no_address.clone(),
            LinkError::Room(error) => self.room_error(*error),
        }
    }

    /// What is wrong with a room.
    pub fn room_error(&self, error: RoomError) -> String {
        match error {
            RoomError::Name(error) => self.name_error(error),
            RoomError::NoSecret => self.room_error.no_secret.clone(),
            RoomError::Secret => self.room_error.secret.with("max", &MAX_SECRET_CHARS.to_string()),
        }
    }

    /// How a call feels.
    pub fn quality(&self, quality: Quality) -> &str {
        match quality {
            Quality::Unknown => &self.quality.unknown,
            Quality::Good => &self.quality.good,
            Quality::Fair => &self.quality.fair,
            Quality::Poor => &self.quality.poor,
        }
    }

    /// Whether somebody can be called.
    pub fn status(&self, status: Status) -> &str {
        match status {
            Status::Free => &self.people.free,
            Status::InCall => &self.people.in_call,
        }
    }

    /// How somebody is reached.
    pub fn via(&self, via: Via) -> &str {
        match via {
            Via::Lan => &self.people.via_lan,
            Via::Node => &self.people.via_node,
        }
    }

    /// The locales are part of the program, and tests see to it that they are whole.
    fn parse(locale: &str) -> Self {
        let mut source = Source::parse(locale);
        let text = Self::read(&mut source);
        let problems = source.problems();
        debug_assert!(problems.is_empty(), "{problems:?}");
        text
    }
}

/// The language to speak to somebody whose system says `locale`, such as `zh-Hans-CN` or `de_DE.UTF-8`.
fn language_of_locale(locale: Option<&str>) -> Language {
    let is_chinese = locale.is_some_and(|locale| {
        let language = locale.split(['-', '_', '.', '@']).next().unwrap_or_default();
        language.eq_ignore_ascii_case("zh")
    });
    if is_chinese { Language::Chinese } else { Language::English }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LOCALES: [(&str, &str); 2] = [
        ("en", include_str!("../../assets/locales/en.toml")),
        ("zh-CN", include_str!("../../assets/locales/zh-CN.toml")),
    ];

    /// Every sentence of a locale with its path, such as `people.title`.
    fn sentences(locale: &str) -> Vec<(String, String)> {
        fn collect(path: &str, value: &toml::Value, into: &mut Vec<(String, String)>) {
            match value {
                toml::Value::Table(table) => {
                    for (key, value) in table {
                        collect(&format!("{path}.{key}"), value, into);
                    }
                }
                toml::Value::String(text) => into.push((path.to_owned(), text.clone())),
                other => panic!("{path} is not a sentence: {other}"),
            }
        }
        let mut all = Vec::new();
        collect("", &locale.parse::<toml::Table>().unwrap().into(), &mut all);
        all
    }

    fn problems(locale: &str) -> Vec<String> {
        let mut source = Source::parse(locale);
        let _text = Text::read(&mut source);
        source.problems()
    }

    fn placeholders(sentence: &str) -> BTreeSet<&str> {
        sentence.split('{').skip(1).map(|rest| rest.split_once('}').expect("a closed brace").0).collect()
    }

    #[test]
    fn every_language_has_exactly_the_sentences_that_the_window_needs() {
        for (name, locale) in LOCALES {
            assert_eq!(problems(locale), [""; 0], "{name}");
        }
        let superfluous = format!("{}\n[extra]\nkey = \"x\"\n", LOCALES[0].1);
        assert_eq!(problems(&superfluous), [".extra is superfluous"]);
        let start = LOCALES[0].1.lines().find(|line| line.starts_with("start = ")).unwrap();
        assert_eq!(problems(&LOCALES[0].1.replacen(start, "", 1)), ["welcome.start is not there"]);
        assert!(!problems("[welcome").is_empty());
    }

    #[test]
    fn placeholders_are_the_same_in_every_language() {
        let english = sentences(LOCALES[0].1);
        for (name, locale) in &LOCALES[1..] {
            for ((key, ours), (other_key, theirs)) in english.iter().zip(sentences(locale)) {
                assert_eq!(*key, other_key, "{name}");
                assert_eq!(placeholders(ours), placeholders(&theirs), "{name}: {key}");
            }
        }
    }

    #[test]
    fn no_sentence_is_empty_or_padded() {
        for (name, locale) in LOCALES {
            for (key, sentence) in sentences(locale) {
                assert!(!sentence.is_empty() && sentence.trim() == sentence, "{name}: {key}");
            }
        }
    }

    #[test]
    fn a_name_that_looks_like_a_placeholder_stays_a_name() {
        let text = Text::of(Language::English);
        assert_eq!(text.ended(EndReason::NoAnswer, "{name}"), "{name} did not answer.");
    }

    #[test]
    fn chinese_systems_get_chinese_and_all_others_english() {
        for locale in ["zh", "zh-CN", "zh_CN.UTF-8", "zh-Hans-SG", "ZH-TW"] {
            assert_eq!(language_of_locale(Some(locale)), Language::Chinese, "{locale}");
        }
        for locale in [None, Some("en-GB"), Some("de_DE.UTF-8"), Some("C"), Some("zha"), Some("")] {
            assert_eq!(language_of_locale(locale), Language::English, "{locale:?}");
        }
    }
}
