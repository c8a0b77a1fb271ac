//! Between calls: the name, the list, what happened, the settings.

use egui::{Key, ViewportCommand};
use egui_kittest::kittest::Queryable as _;
use parlor_media::{DeviceKind, DeviceProblem, Problem};
use parlor_net::OfflineReason;

use super::*;
use crate::{
    engine::{EndReason, Notice},
    fingerprint::Fingerprint,
    settings::Theme,
};

fn welcome(language: Language) -> Harness<'static, Surface> {
    let mut nameless = snapshot(language);
    nameless.me.name = None;
    open(nameless, PHONE)
}

fn type_name(harness: &mut Harness<'static, Surface>, name: &str) {
    let label = &harness.state().text().welcome.name;
    harness.get_by_role_and_label(egui::accesskit::Role::TextInput, label).type_text(name);
    harness.run_steps(2);
}

#[test]
fn a_good_name_is_taken_trimmed_by_button_and_by_enter() {
    for language in LANGUAGES {
        let mut harness = welcome(language);
        type_name(&mut harness, "  林晓 ");
        harness.get_by_label(&harness.state().text().welcome.start).click();
        assert_eq!(commands(&mut harness), [Command::SetName("林晓".to_owned())]);

        let mut harness = welcome(language);
        type_name(&mut harness, "Zoë");
        harness.key_press(Key::Enter);
        assert_eq!(commands(&mut harness), [Command::SetName("Zoë".to_owned())]);
    }
}

#[test]
fn a_bad_name_is_refused_with_a_clear_message() {
    for language in LANGUAGES {
        for (typed, error) in
            [("   ", crate::name::NameError::Empty), (&"x".repeat(41), crate::name::NameError::TooLong)]
        {
            let mut harness = welcome(language);
            type_name(&mut harness, typed);
            harness.get_by_label(&harness.state().text().welcome.start).click();
            assert_eq!(commands(&mut harness), []);
            harness.get_by_label(&harness.state().text().name_error(error));
        }
    }
}

#[test]
fn the_language_can_be_changed_on_the_first_screen() {
    let mut harness = welcome(Language::English);
    harness.get_by_label("简体中文").click();
    let settings = Settings { language: Language::Chinese, ..Settings::default() };
    assert_eq!(commands(&mut harness), [Command::SetSettings(Box::new(settings.clone()))]);
    harness.state_mut().snapshot.settings = settings;
    harness.run_steps(2);
    harness.get_by_label(&Text::of(Language::Chinese).welcome.title);
}

#[test]
fn one_click_on_a_person_calls_with_a_picture_and_the_small_button_without() {
    for size in [PHONE, DESKTOP] {
        for language in LANGUAGES {
            let mut harness = open(snapshot(language), size);
            let people = &harness.state().text().people;
            let (video, voice) = (people.call_video.with("name", "李伟"), people.call_voice.with("name", "李伟"));
            harness.get_by_label_contains(&video).click();
            assert_eq!(commands(&mut harness), [Command::Call { peer: peer(2), kind: CallKind::Video }]);
            harness.get_by_label(&voice).click();
            assert_eq!(commands(&mut harness), [Command::Call { peer: peer(2), kind: CallKind::Audio }]);
        }
    }
}

#[test]
fn a_person_can_be_called_with_the_keyboard_alone() {
    let mut harness = open(snapshot(Language::English), PHONE);
    harness.get_by_label_contains("Video call with Ada").focus();
    harness.run_steps(1);
    harness.key_press(Key::Enter);
    assert_eq!(commands(&mut harness), [Command::Call { peer: peer(1), kind: CallKind::Video }]);
}

#[test]
fn people_with_the_same_name_are_told_apart_by_their_keys() {
    let mut namesakes = snapshot(Language::English);
    namesakes.people = [1, 2].map(|seed| PersonView { has_namesake: true, ..person(seed, "Li Wei") }).into();
    let mut harness = open(namesakes, PHONE);
    let fingerprint = Fingerprint::of(&peer(2)).to_string();
    harness.get_by_label_contains(&fingerprint).click();
    assert_eq!(commands(&mut harness), [Command::Call { peer: peer(2), kind: CallKind::Video }]);
}

#[test]
fn status_is_said_in_words() {
    let mut busy = snapshot(Language::English);
    busy.people[0].presence = Presence::Online { status: Status::InCall, via: Via::Lan };
    let harness = open(busy, PHONE);
    harness.get_by_label("Video call with Ada (In a call · Near you)");
    harness.get_by_label("Video call with 李伟 (Free · Near you)");
}

#[test]
fn an_empty_list_says_what_to_do_and_a_missing_network_is_said() {
    for language in LANGUAGES {
        let mut alone = snapshot(language);
        alone.people.clear();
        let mut harness = open(alone, PHONE);
        harness.get_by_label(&harness.state().text().people.empty_body);
        harness.state_mut().snapshot.me.online = false;
        harness.run_steps(2);
        harness.get_by_label(&harness.state().text().people.offline_body);
    }
}

#[test]
fn arrivals_and_departures_are_announced_and_go_by_themselves() {
    for language in LANGUAGES {
        let mut harness = open(snapshot(language), PHONE);
        let (peer, name) = (peer(1), "Ada".to_owned());
        let text = harness.state().text();
        harness.state_mut().ui.notice(Notice::PeerOnline { peer, name: name.clone(), via: Via::Lan });
        harness.state_mut().ui.notice(Notice::PeerOffline { peer, name, reason: OfflineReason::Lost });
        harness.run_steps(2);
        harness.get_by_label(&text.notice.peer_online.with("name", "Ada"));
        harness.get_by_label(&text.notice.peer_lost.with("name", "Ada"));
        harness.run_steps(30);
        assert!(harness.query_by_label(&text.notice.peer_online.with("name", "Ada")).is_none());
    }
}

#[test]
fn every_way_that_a_call_can_end_is_said() {
    const REASONS: [EndReason; 13] = [
        EndReason::HungUp,
        EndReason::RemoteHungUp,
        EndReason::Cancelled,
        EndReason::RemoteCancelled,
        EndReason::Declined,
        EndReason::RemoteDeclined,
        EndReason::Busy,
        EndReason::NoAnswer,
        EndReason::Missed,
        EndReason::Unreachable,
        EndReason::ConnectionLost,
        EndReason::MediaFailed,
        EndReason::Incompatible,
    ];
    for language in LANGUAGES {
        for reason in REASONS {
            let mut harness = open(snapshot(language), PHONE);
            let notice = Notice::Ended { call: CALL, peer: peer(1), name: "Ada".to_owned(), reason };
            harness.state_mut().ui.notice(notice);
            harness.run_steps(2);
            harness.get_by_label(&harness.state().text().ended(reason, "Ada"));
        }
    }
}

#[test]
fn a_reason_that_was_read_can_be_put_away() {
    let mut harness = open(snapshot(Language::English), DESKTOP);
    let notice = Notice::MissedWhileBusy { peer: peer(1), name: "Ada".to_owned() };
    harness.state_mut().ui.notice(notice);
    harness.run_steps(40);
    harness.get_by_label("Ada called while you were in a call.");
    harness.get_by_label("Dismiss").click();
    harness.run_steps(2);
    assert!(harness.query_by_label("Ada called while you were in a call.").is_none());
}

#[test]
fn device_problems_are_said_in_a_quiet_line() {
    for language in LANGUAGES {
        let mut harness = open(snapshot(language), PHONE);
        let (device, problem) = (DeviceKind::Camera, Problem::Missing);
        harness.state_mut().ui.notice(Notice::Device(DeviceProblem { device, problem, detail: String::new() }));
        harness.run_steps(2);
        harness.get_by_label(harness.state().text().device_problem(device, problem));
    }
}

#[test]
fn a_machine_without_camera_and_sound_is_told_of_in_one_line() {
    for language in LANGUAGES {
        let mut harness = open(snapshot(language), PHONE);
        let missing = [DeviceKind::Speaker, DeviceKind::Camera, DeviceKind::Microphone];
        for device in missing {
            let problem = DeviceProblem { device, problem: Problem::Missing, detail: String::new() };
            harness.state_mut().ui.notice(Notice::Device(problem));
        }
        harness.run_steps(2);
        let text = harness.state().text();
        harness.get_by_label(text.missing_devices(&missing).unwrap());
        for device in missing {
            assert!(harness.query_by_label(text.device_problem(device, Problem::Missing)).is_none());
        }
    }
}

#[test]
fn settings_change_language_and_colours_at_once_and_escape_leads_back() {
    let mut harness = open(snapshot(Language::English), DESKTOP);
    harness.get_by_label("Settings").click();
    harness.run_steps(2);
    harness.get_by_label("Light").click();
    let light = Settings { theme: Theme::Light, language: Language::English, ..Settings::default() };
    assert_eq!(commands(&mut harness), [Command::SetSettings(Box::new(light.clone()))]);
    harness.state_mut().snapshot.settings = light.clone();
    harness.get_by_label("简体中文").click();
    let chinese = Settings { language: Language::Chinese, ..light };
    assert_eq!(commands(&mut harness), [Command::SetSettings(Box::new(chinese.clone()))]);
    harness.state_mut().snapshot.settings = chinese;
    harness.run_steps(2);
    let text = Text::of(Language::Chinese);
    harness.get_by_label(&text.settings.title);
    harness.key_press(Key::Escape);
    harness.run_steps(2);
    harness.get_by_label(&format!("{} (2)", text.people.near));
}

#[test]
fn a_camera_is_chosen_from_those_that_are_plugged_in() {
    let mut with_camera = snapshot(Language::English);
    with_camera.devices.cameras.push(parlor_media::Device { id: "cam-1".to_owned(), name: "Desk camera".to_owned() });
    let mut harness = open(with_camera, DESKTOP);
    harness.get_by_label("Settings").click();
    harness.run_steps(2);
    harness.get_by_role_and_label(egui::accesskit::Role::ComboBox, "Camera").click();
    harness.run_steps(3);
    harness.get_by_label("Desk camera").click();
    let chosen = parlor_media::DeviceChoice::Camera(parlor_media::VideoSource::Device("cam-1".to_owned()));
    assert_eq!(commands(&mut harness), [Command::UseDevice(chosen)]);
}

#[test]
fn the_name_can_be_changed_in_the_settings() {
    let mut harness = open(snapshot(Language::English), DESKTOP);
    harness.get_by_label("Settings").click();
    harness.run_steps(2);
    harness.get_by_role_and_label(egui::accesskit::Role::TextInput, "Your name").focus();
    harness.run_steps(2);
    harness.get_by_role_and_label(egui::accesskit::Role::TextInput, "Your name").type_text(" B.");
    harness.run_steps(2);
    harness.get_by_label("Save").click();
    let [Command::SetName(name)] = &commands(&mut harness)[..] else { panic!("one new name") };
    assert!(name.contains("B.") && name.contains("Alex"), "{name}");
}

#[test]
fn the_title_of_the_window_says_whose_it_is_and_who_calls() {
    let mut harness = open(snapshot(Language::English), DESKTOP);
    harness.state_mut().snapshot.call = incoming(CallKind::Video);
    harness.step();
    let asked = &harness.output().viewport_output[&egui::ViewportId::ROOT].commands;
    assert!(asked.contains(&ViewportCommand::Title("Ada is calling – Parlor".to_owned())), "{asked:?}");
    let attention = ViewportCommand::RequestUserAttention(egui::UserAttentionType::Critical);
    assert!(asked.contains(&attention), "{asked:?}");
}
