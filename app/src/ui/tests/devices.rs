//! Choosing devices in a call and before, what is plugged in, and the figures of a call.

use egui::{Key, Modifiers, accesskit::Role};
use egui_kittest::kittest::{NodeT as _, Queryable as _};
use parlor_media::{AudioSource, Device, DeviceChoice, DeviceKind, TrialPhase, VideoSource};

use super::*;
use crate::{
    engine::{Heard, History, NewDevice, Sample, TrialView},
    settings::NewDevices,
    ui::theme,
};

fn device(id: &str, name: &str) -> Device {
    Device { id: id.to_owned(), name: name.to_owned() }
}

fn with_devices(mut snapshot: Snapshot) -> Snapshot {
    snapshot.devices = Devices {
        cameras: vec![device("cam-1", "Desk camera"), device("cam-2", "Document camera with quite a long name")],
        microphones: vec![device("mic-1", "Headset microphone")],
        speakers: vec![device("out-1", "Headset")],
    };
    snapshot
}

fn a_call(language: Language, kind: CallKind) -> Snapshot {
    with_devices(in_call(language, connected(active(kind))))
}

fn plugged(language: Language) -> Snapshot {
    let mut snapshot = a_call(language, CallKind::Video);
    let headset = device("usb", "Acme Headset, model with a name that is long enough to need two lines");
    for kind in [DeviceKind::Microphone, DeviceKind::Speaker] {
        snapshot.new_devices.push(NewDevice { kind, device: headset.clone() });
    }
    snapshot
}

fn with_figures(language: Language) -> Snapshot {
    let mut snapshot = a_call(language, CallKind::Video);
    let CallView::Connected { stats, history, .. } = &mut snapshot.call else { unreachable!("it is") };
    (stats.send_bps, stats.recv_bps, stats.rtt_ms) = (1_500_000, 1_200_000, Some(23.0));
    (stats.video_send.width, stats.video_send.height, stats.video_send.codec) = (1280, 720, "H264");
    (stats.video_send.target_bps, stats.video_send.frames, stats.video_send.fps) = (400_000, 100, 30.0);
    stats.video_send.limit = parlor_media::Limit::Network;
    let mut minute = History::default();
    for _ in 0..90 {
        minute.push(Sample::from(&**stats));
    }
    *history = Arc::new(minute);
    snapshot
}

fn trying(language: Language, phase: TrialPhase, heard: Option<Heard>) -> Snapshot {
    let mut snapshot = with_devices(snapshot(language));
    snapshot.trial = Some(TrialView { camera: CameraState::Open, level_dbfs: -20.0, phase, heard });
    snapshot
}

/// Settings, then the page where camera and sound are tried.
fn try_devices(harness: &mut Harness<'static, Surface>) {
    let text = harness.state().text();
    harness.get_by_label(&text.people.settings).click();
    harness.run_steps(2);
    press_below(harness, &text.devices.test);
}

/// Scrolls to something with this name, and clicks it.
fn press_below(harness: &mut Harness<'static, Surface>, label: &str) {
    harness.get_by_label(label).scroll_to_me();
    harness.run_steps(20);
    harness.get_by_label(label).click();
    harness.run_steps(3);
}

#[test]
fn another_device_is_chosen_in_the_call_by_mouse_and_keyboard() {
    for language in LANGUAGES {
        for size in [PHONE, DESKTOP] {
            let mut harness = open(a_call(language, CallKind::Video), size);
            let text = harness.state().text();
            harness.get_by_label(&text.devices.menu_short).click();
            assert_eq!(commands(&mut harness), [Command::RefreshDevices], "what was plugged in just now is there, too");
            harness.get_by_label("Desk camera").click();
            let chosen = DeviceChoice::Camera(VideoSource::Device("cam-1".to_owned()));
            assert_eq!(commands(&mut harness), [Command::UseDevice(chosen)]);
            assert!(harness.query_by_label("Desk camera").is_none(), "the menu is closed");
            harness.key_press(Key::D);
            harness.run_steps(2);
            harness.get_by_label("Headset microphone").focus();
            harness.key_press(Key::Enter);
            let chosen = DeviceChoice::Microphone(AudioSource::Device("mic-1".to_owned()));
            assert_eq!(commands(&mut harness), [Command::RefreshDevices, Command::UseDevice(chosen)]);
        }
    }
}

#[test]
fn the_menu_is_closed_without_a_choice_by_its_key_by_escape_and_by_its_button() {
    let mut harness = open(a_call(Language::English, CallKind::Video), PHONE);
    for close in [Some(Key::D), Some(Key::Escape), None] {
        harness.key_press(Key::D);
        harness.run_steps(2);
        harness.get_by_label("Headset microphone");
        match close {
            Some(key) => harness.key_press(key),
            None => harness.get_by_label("Close the menu").click(),
        }
        harness.run_steps(2);
        assert!(harness.query_by_label("Headset microphone").is_none(), "{close:?}");
    }
}

#[test]
fn a_voice_call_offers_no_camera_and_what_is_unplugged_stays_the_choice() {
    let mut snapshot = a_call(Language::English, CallKind::Audio);
    snapshot.settings.microphone = AudioSource::Device("gone".to_owned());
    let mut harness = open(snapshot, PHONE);
    harness.key_press(Key::D);
    harness.run_steps(2);
    assert!(harness.query_by_label("Desk camera").is_none());
    harness.get_by_label("gone");
}

#[test]
fn what_is_plugged_in_is_offered_in_the_call_and_before_until_it_is_decided() {
    for language in LANGUAGES {
        let mut before = snapshot(language);
        before.new_devices = plugged(language).new_devices;
        for snapshot in [plugged(language), before] {
            let mut harness = open(snapshot, PHONE);
            let text = &harness.state().text().devices;
            harness.get_by_label_contains("Acme Headset");
            harness.get_by_label(&text.use_new).click();
            assert_eq!(commands(&mut harness), [Command::AnswerNewDevices(true)]);
            harness.get_by_label(&text.not_now).click();
            assert_eq!(commands(&mut harness), [Command::AnswerNewDevices(false)]);
            harness.state_mut().snapshot.new_devices.clear();
            harness.run_steps(2);
            assert!(harness.query_by_label(&text.use_new).is_none());
        }
    }
}

#[test]
fn the_figures_come_and_go_with_a_key_and_from_the_menu_and_name_the_limit() {
    for language in LANGUAGES {
        for size in [PHONE, DESKTOP] {
            let mut harness = open(with_figures(language), size);
            let text = harness.state().text();
            harness.key_press_modifiers(Modifiers::CTRL, Key::I);
            harness.run_steps(2);
            harness.get_by_label(&text.numbers.limit_network);
            harness.get_by_label_contains("1500");
            harness.get_by_label_contains("1280 × 720");
            harness.key_press_modifiers(Modifiers::CTRL, Key::I);
            harness.run_steps(2);
            assert!(harness.query_by_label(&text.numbers.limit_network).is_none());
            harness.key_press(Key::D);
            harness.run_steps(2);
            let entry = format!("{}  (Ctrl+I)", text.devices.numbers);
            press_below(&mut harness, &entry);
            harness.get_by_label(&text.numbers.close).click();
            harness.run_steps(2);
            assert!(harness.query_by_label(&text.numbers.limit_network).is_none());
        }
    }
}

#[test]
fn camera_and_sound_are_tried_before_a_call_and_released_when_one_leaves() {
    for language in LANGUAGES {
        let mut harness = open(trying(language, TrialPhase::Watching, None), DESKTOP);
        try_devices(&mut harness);
        let text = &harness.state().text().devices;
        assert_eq!(commands(&mut harness), [Command::Try(true)]);
        harness.state_mut().ui.preview_frame(frame());
        harness.run_steps(2);
        harness.get_by_label(&text.picture);
        harness.get_by_label(&text.record).click();
        assert_eq!(commands(&mut harness), [Command::RecordTrial]);
        harness.state_mut().snapshot = trying(language, TrialPhase::Recording(Duration::from_millis(2_400)), None);
        harness.run_steps(2);
        harness.get_by_label(&text.recording.with("seconds", "3"));
        harness.state_mut().snapshot = trying(language, TrialPhase::Playing(Duration::from_secs(1)), None);
        harness.state_mut().ui.remote_frame(frame());
        harness.run_steps(2);
        harness.get_by_label(&text.picture_played);
        for (heard, sentence) in [
            (Heard::Voice, &text.heard_voice),
            (Heard::TooQuiet, &text.heard_quiet),
            (Heard::Silence, &text.heard_silence),
        ] {
            harness.state_mut().snapshot = trying(language, TrialPhase::Watching, Some(heard));
            harness.run_steps(2);
            harness.get_by_label(sentence);
        }
        harness.key_press(Key::Escape);
        assert_eq!(commands(&mut harness), [Command::Try(false)]);
        harness.get_by_label(&text.test);
    }
}

#[test]
fn a_call_ends_the_trial() {
    let mut harness = open(trying(Language::English, TrialPhase::Watching, None), DESKTOP);
    try_devices(&mut harness);
    harness.state_mut().snapshot.call = incoming(CallKind::Video);
    harness.run_steps(2);
    (harness.state_mut().snapshot.call, harness.state_mut().snapshot.trial) = (CallView::Idle, None);
    harness.run_steps(2);
    assert!(harness.query_by_label("Level of the microphone").is_none());
    harness.get_by_label("Test camera and sound…");
}

#[test]
fn what_becomes_of_new_devices_is_a_setting() {
    let mut harness = open(snapshot(Language::English), DESKTOP);
    harness.get_by_label("Settings").click();
    harness.run_steps(2);
    press_below(&mut harness, "Ignore it");
    let [Command::SetSettings(settings)] = &commands(&mut harness)[..] else { panic!("one change of the settings") };
    assert_eq!(settings.new_devices, NewDevices::Ignore);
}

#[test]
fn everything_of_devices_fits_a_phone_and_a_finger() {
    let window = egui::Rect::from_min_size(egui::Pos2::ZERO, PHONE.into());
    for language in LANGUAGES {
        let menu = open(a_call(language, CallKind::Video), PHONE);
        menu.key_press(Key::D);
        let numbers = open(with_figures(language), PHONE);
        numbers.key_press_modifiers(Modifiers::CTRL, Key::I);
        let offer = open(plugged(language), PHONE);
        let mut trial = open(trying(language, TrialPhase::Watching, Some(Heard::Voice)), PHONE);
        try_devices(&mut trial);
        for (screen, mut harness) in [("menu", menu), ("numbers", numbers), ("offer", offer), ("trial", trial)] {
            harness.run_steps(4);
            for node in harness.root().children_recursive() {
                let accesskit = node.accesskit_node();
                if !matches!(accesskit.role(), Role::Button | Role::Label | Role::ComboBox) {
                    continue;
                }
                let (label, rect) = (accesskit.label(), node.rect());
                // What can be scrolled to is below.
                let inside = rect.left() >= 0.0 && rect.right() <= window.right();
                assert!(inside, "{screen} {language:?}: {label:?} at {rect:?}");
                let is_small = accesskit.role() != Role::Label && rect.size().min_elem() < theme::TOUCH;
                assert!(!is_small, "{screen} {language:?}: {label:?} is {rect:?}");
            }
        }
    }
}
