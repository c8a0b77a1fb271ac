//! Every sentence that people read in the window, in every language that Parlor speaks.
//!
//! The sentences live in `assets/locales/*.toml` and are part of the program. A locale that lacks a sentence, or has one
//! too many, fails a test; so does one whose placeholders differ from the English ones.

mod locale;

use std::sync::LazyLock;

use parlor_media::{DeviceKind, Problem};
use parlor_net::{Status, Via};

use self::locale::{Entry, Source};
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

/// A sentence with `{placeholders}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

impl Entry for Template {
    fn read(source: &mut Source) -> Self {
        Self(source.sentence())
    }
}

impl Template {
    /// The sentence with its one placeholder filled in. What is filled in is never itself taken for a template.
    pub fn with(&self, placeholder: &str, value: &str) -> String {
        self.0.replace(&format!("{{{placeholder}}}"), value)
    }

    /// The sentence with its placeholders filled in. What is filled in is never itself taken for a template.
    pub fn fill(&self, values: &[(&str, &str)]) -> String {
        let mut filled = String::with_capacity(self.0.len() + 32);
        let mut rest = self.0.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            let Some((placeholder, after)) = after.split_once('}') else { break };
            filled.push_str(values.iter().find(|(name, _)| *name == placeholder).map_or("", |(_, value)| value));
            rest = after;
        }
        filled.push_str(rest);
        filled
    }
}

/// Declares a table of sentences: each field is one key of the locale files.
macro_rules! sentences {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $kind:ty,)* })*) => { $(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "the English sentence in the locale file says it best")]
        pub struct $name { $(pub $field: $kind,)* }

        impl Entry for $name {
            fn read(source: &mut Source) -> Self {
                let read = Self { $($field: source.read(stringify!($field)),)* };
                source.finish();
                read
            }
        }
    )* };
}

sentences! {
    /// Everything that the window says in one language.
    Text {
        welcome: Welcome,
        name_error: NameErrors,
        people: People,
        ringing: Ringing,
        call: Call,
        quality: Qualities,
        ended: Ended,
        notice: Notices,
        device: DeviceProblems,
        settings: SettingsText,
        network: Network,
        link: Links,
        link_error: LinkErrors,
        room_error: RoomErrors,
        doctor: DoctorText,
        keys: Keys,
    }
    /// The first screen.
    Welcome {
        title: String,
        lead: String,
        name: String,
        name_hint: String,
        explain: String,
        start: String,
    }
    /// What is wrong with a name.
    NameErrors {
        empty: String,
        too_long: Template,
        control_character: String,
    }
    /// The list of people.
    People {
        near: String,
        online: String,
        offline: String,
        is_offline: String,
        says: Template,
        borrowed: String,
        my_link: String,
        add: String,
        more: Template,
        menu_video: String,
        menu_voice: String,
        add_contact: String,
        remove_contact: String,
        rename: String,
        favour: String,
        unfavour: String,
        copy_link: String,
        block: String,
        blocked: Template,
        you: Template,
        free: String,
        in_call: String,
        via_lan: String,
        via_node: String,
        fingerprint: Template,
        call_video: Template,
        call_voice: Template,
        empty_title: String,
        empty_body: String,
        empty_online_body: String,
        add_node: String,
        choose_title: Template,
        choose_body: String,
        offline_title: String,
        offline_body: String,
        visible: String,
        visible_online: String,
        invisible: String,
        settings: String,
    }
    /// Calling and being called.
    Ringing {
        calling: String,
        ringing: String,
        cancel: String,
        incoming_video: String,
        incoming_voice: String,
        incoming_title: Template,
        borrowed: Template,
        accept: String,
        decline: String,
    }
    /// The call itself.
    Call {
        connecting: String,
        reconnecting: String,
        mute: String,
        unmute: String,
        mute_tooltip: String,
        unmute_tooltip: String,
        camera_off: String,
        camera_on: String,
        camera_off_tooltip: String,
        camera_on_tooltip: String,
        hang_up: String,
        hang_up_tooltip: String,
        their_mic_off: Template,
        their_camera_off: Template,
        voice_call: String,
        waiting_for_picture: String,
        remote_picture: Template,
        own_picture: String,
        test_card: String,
        duration: Template,
    }
    /// How a call feels, and the path that it takes.
    Qualities {
        unknown: String,
        good: String,
        fair: String,
        poor: String,
        direct: String,
        relayed: String,
        direct_short: String,
        relayed_short: String,
        round_trip: Template,
    }
    /// Why a call is over.
    Ended {
        hung_up: Template,
        remote_hung_up: Template,
        cancelled: Template,
        remote_cancelled: Template,
        declined: Template,
        remote_declined: Template,
        busy: Template,
        no_answer: Template,
        missed: Template,
        unreachable: Template,
        connection_lost: Template,
        media_failed: Template,
        incompatible: Template,
        dismiss: String,
    }
    /// What happened.
    Notices {
        peer_online: Template,
        peer_left: Template,
        peer_lost: Template,
        missed_while_busy: Template,
        contacts_full: String,
        storage: Template,
        identity_replaced: Template,
        network: String,
    }
    /// What is wrong with a device, by kind.
    DeviceProblems {
        camera: Problems,
        microphone: Problems,
        speaker: Problems,
        video_out: Problems,
        missing: Missing,
    }
    /// There are several devices less than a call could use.
    Missing {
        camera_and_microphone: String,
        camera_and_speaker: String,
        microphone_and_speaker: String,
        all: String,
    }
    /// What is wrong with one kind of device.
    Problems {
        missing: String,
        busy: String,
        denied: String,
        lost: String,
        bad_file: String,
        failed: String,
    }
    /// The settings.
    SettingsText {
        title: String,
        back: String,
        profile: String,
        name: String,
        save: String,
        fingerprint: String,
        appearance: String,
        language: String,
        language_system: String,
        theme: String,
        theme_system: String,
        theme_light: String,
        theme_dark: String,
        devices: String,
        camera: String,
        microphone: String,
        speaker: String,
        default: String,
        no_camera: String,
        test_card: String,
        no_microphone: String,
        tone: String,
        no_speaker: String,
        file: Template,
        voice_processing: String,
        voice_processing_body: String,
        refresh: String,
    }
    /// Nodes, rooms and privacy, in the settings.
    Network {
        nodes: String,
        nodes_body: String,
        node_field: String,
        node_add: String,
        node_connecting: String,
        node_online: Template,
        node_online_without_relay: Template,
        node_failed: Template,
        node_idle: String,
        node_of_this_run: String,
        node_remove: Template,
        rooms: String,
        rooms_body: String,
        room_name: String,
        room_secret: String,
        room_join: String,
        room_leave: Template,
        room_copy: Template,
        privacy: String,
        lobby: String,
        lobby_body: String,
        learn_nodes: String,
        learn_nodes_body: String,
        relay: String,
        relay_auto: String,
        relay_only: String,
        relay_never: String,
        relay_auto_body: String,
        relay_only_body: String,
        relay_never_body: String,
        open_links: String,
        blocked: String,
        nobody_blocked: String,
        unblock: Template,
    }
    /// Links: one's own, and where others' lead.
    Links {
        my_title: String,
        my_body: String,
        my_body_without_node: String,
        my_code: String,
        copy: String,
        copied: String,
        close: String,
        cancel: String,
        add_title: String,
        add_body: String,
        field: String,
        scan: String,
        next: String,
        scan_title: String,
        scan_body: String,
        scan_waiting: String,
        scan_picture: String,
        person_title: String,
        person_body: String,
        person_accept: String,
        person_known: Template,
        person_blocked: String,
        person_borrowed: Template,
        self_title: String,
        self_body: String,
        node_title: String,
        node_body: String,
        node_accept: String,
        room_title: String,
        room_body: String,
        room_known: String,
        room_needs_node: String,
        room_accept: String,
        nodes: String,
        direct: Template,
        error_title: String,
        rename_title: Template,
        rename_body: String,
        rename_field: String,
    }
    /// What is wrong with a link.
    LinkErrors {
        scheme: String,
        too_long: String,
        encoding: String,
        peer: String,
        address: Template,
        nameless_node: Template,
        too_many_addresses: String,
        no_address: String,
    }
    /// What is wrong with a room.
    RoomErrors {
        no_secret: String,
        secret: Template,
    }
    /// What is found of the connection, what it means, and (`_do`) what to do.
    DoctorText {
        title: String,
        open: String,
        explain: String,
        checking: String,
        again: String,
        level_good: String,
        level_warning: String,
        level_broken: String,
        near: String,
        nodes: String,
        devices: String,
        storage_title: String,
        all_good: String,
        some_warnings: String,
        some_broken: String,
        yes: String,
        no: String,
        seconds: Template,
        minutes: Template,
        hours: Template,
        days: Template,
        no_network: String,
        no_network_do: String,
        network: Template,
        lan_sees: Template,
        lan_quiet: Template,
        lan_mute: Template,
        lan_mute_do: String,
        nobody_near: String,
        nobody_near_do: String,
        runs_here: String,
        ports_free: String,
        port_taken: Template,
        port_taken_do: String,
        no_nodes: String,
        no_nodes_do: String,
        node_reached: Template,
        node_unreachable: Template,
        why_unsupported: String,
        why_unsupported_do: String,
        why_name_unknown: String,
        why_name_unknown_do: String,
        why_refused: String,
        why_refused_do: String,
        why_no_route: String,
        why_no_route_do: String,
        why_timed_out: String,
        why_timed_out_do: String,
        why_no_handshake: String,
        why_no_handshake_do: String,
        node_wrong_key: Template,
        node_wrong_key_do: String,
        directory: Template,
        directory_failed: Template,
        directory_silent: String,
        directory_broken: String,
        directory_full: String,
        directory_version: String,
        directory_refused: String,
        directory_owner_do: String,
        directory_full_do: String,
        directory_version_do: String,
        node_tells: Template,
        online_secret: String,
        online_few: String,
        online_about: Template,
        node_offers: Template,
        clock_good: String,
        clock_behind: Template,
        clock_ahead: Template,
        clock_do: String,
        udp_open: Template,
        udp_silent: Template,
        udp_silent_do: Template,
        udp_blocked: String,
        udp_blocked_do: String,
        udp_blocked_all: String,
        udp_blocked_all_do: String,
        nat_none: String,
        nat_same_port: String,
        nat_port_for_each: String,
        nat_port_for_each_do: String,
        nat_unknown: String,
        relay_udp: Template,
        relay_udp_failed: Template,
        relay_tcp: Template,
        relay_tcp_failed: Template,
        relay_no_access: String,
        relay_silent: String,
        relay_refused: Template,
        relay_not_relayed: String,
        relay_no_stream: String,
        relay_failed_do: String,
        relay_not_offered: Template,
        relay_not_offered_do: String,
        cameras: Template,
        microphones: Template,
        speakers: Template,
        no_camera: String,
        no_camera_do: String,
        no_microphone: String,
        no_microphone_do: String,
        no_speaker: String,
        no_speaker_do: String,
        devices_unknown: Template,
        devices_unknown_do: String,
        storage: Template,
        storage_plain: Template,
        storage_full: Template,
        storage_full_do: String,
        storage_denied: Template,
        storage_denied_do: String,
        settings_damaged: Template,
        settings_damaged_do: String,
    }
    /// The names of keys, for the hints on buttons.
    Keys {
        enter: String,
        escape: String,
        control: Template,
    }
}

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
            Problem::BadFile => &sentences.bad_file,
            Problem::Failed => &sentences.failed,
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
