//! What sentences there are: the tables of the locale files.

use super::locale::{Entry, Source};

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
        share: Share,
        quality: Qualities,
        ended: Ended,
        notice: Notices,
        device: DeviceProblems,
        devices: DevicesText,
        numbers: NumbersText,
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
    /// Sharing a screen.
    Share {
        start: String,
        stop: String,
        start_tooltip: String,
        stop_tooltip: String,
        choose: String,
        explain: String,
        close: String,
        look_again: String,
        looking: String,
        screens: String,
        windows: String,
        nothing: String,
        portal: String,
        portal_explain: String,
        size: Template,
        sharing: Template,
        chosen: String,
        theirs: Template,
        picture: Template,
        no_display: String,
        wayland: String,
        no_portal: String,
        forbidden: String,
        unsupported: String,
        not_taken: String,
        gone: String,
        failed: String,
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
        replaced: String,
        bad_file: String,
        failed: String,
    }
    /// Choosing devices, trying them, and what is plugged in.
    DevicesText {
        menu: String,
        menu_short: String,
        menu_tooltip: String,
        close_menu: String,
        nothing: String,
        numbers: String,
        refused: Template,
        now_used: Template,
        new: Template,
        use_new: String,
        not_now: String,
        when_new: String,
        when_new_use: String,
        when_new_ask: String,
        when_new_ignore: String,
        test: String,
        test_title: String,
        picture: String,
        picture_played: String,
        no_picture: String,
        camera_starts: String,
        level: Template,
        level_name: String,
        record: String,
        record_again: String,
        recording: Template,
        playing: Template,
        record_body: String,
        heard_voice: String,
        heard_quiet: String,
        heard_silence: String,
    }
    /// The figures of a call.
    NumbersText {
        close: String,
        bitrate: String,
        loss: String,
        round_trip: String,
        delay: String,
        fps: String,
        up: Template,
        down: Template,
        kbit: Template,
        percent: Template,
        ms: Template,
        per_second: Template,
        picture_delay: Template,
        voice_delay: Template,
        sent: String,
        received: String,
        screen_sent: String,
        screen_received: String,
        format: Template,
        no_picture: String,
        unknown: String,
        limit_none: String,
        limit_network: String,
        limit_cpu: String,
        limit_voice: String,
        limit_unknown: String,
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
        node_in_reach: Template,
        node_out_of_reach: Template,
        node_out_of_reach_do: String,
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
