//! From ringing to hanging up.

use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;

use super::*;

#[test]
fn the_caller_sees_calling_then_ringing_and_can_cancel_by_mouse_and_keyboard() {
    for language in LANGUAGES {
        let mut harness = open(in_call(language, outgoing(false)), PHONE);
        let text = harness.state().text();
        harness.get_by_label(&text.ringing.calling);
        harness.state_mut().snapshot.call = outgoing(true);
        harness.run_steps(2);
        harness.get_by_label(&text.ringing.ringing);
        harness.get_by_label(&text.ringing.cancel).click();
        assert_eq!(commands(&mut harness), [Command::HangUp]);
        harness.key_press(Key::Escape);
        assert_eq!(commands(&mut harness), [Command::HangUp]);
    }
}

#[test]
fn a_call_is_accepted_and_declined_by_mouse_and_keyboard() {
    for language in LANGUAGES {
        for size in [PHONE, DESKTOP] {
            for kind in [CallKind::Video, CallKind::Audio] {
                let mut harness = open(in_call(language, incoming(kind)), size);
                let text = harness.state().text();
                harness.get_by_label(&text.ringing.incoming_title.with("name", "Ada"));
                harness.get_by_label(&text.ringing.accept).click();
                assert_eq!(commands(&mut harness), [Command::Accept]);
                harness.get_by_label(&text.ringing.decline).click();
                assert_eq!(commands(&mut harness), [Command::Decline]);
                harness.key_press(Key::Enter);
                assert_eq!(commands(&mut harness), [Command::Accept]);
                harness.key_press(Key::Escape);
                assert_eq!(commands(&mut harness), [Command::Decline]);
            }
        }
    }
}

#[test]
fn what_is_pressed_in_the_moment_that_a_call_appears_does_not_answer_it() {
    let mut harness = open(snapshot(Language::English), PHONE);
    harness.state_mut().snapshot.call = incoming(CallKind::Video);
    harness.step();
    harness.key_down(Key::Enter);
    harness.step();
    assert_eq!(std::mem::take(&mut harness.state_mut().commands), []);
}

#[test]
fn a_key_that_is_held_down_since_before_the_call_answers_nothing() {
    let mut harness = open(snapshot(Language::English), PHONE);
    harness.key_down(Key::Enter);
    harness.run_steps(2);
    harness.state_mut().snapshot.call = incoming(CallKind::Video);
    harness.run_steps(4);
    harness.key_down(Key::Enter);
    assert_eq!(commands(&mut harness), [], "a repeated key");
    harness.key_up(Key::Enter);
    harness.key_down(Key::Enter);
    assert_eq!(commands(&mut harness), [Command::Accept]);
}

#[test]
fn microphone_camera_and_call_are_controlled_by_mouse_and_keyboard() {
    for language in LANGUAGES {
        for size in [PHONE, DESKTOP] {
            let mut harness = open(in_call(language, connected(active(CallKind::Video))), size);
            let text = &harness.state().text().call;
            harness.get_by_label(&text.mute).click();
            assert_eq!(commands(&mut harness), [Command::SetMicrophone(false)]);
            harness.get_by_label(&text.camera_off).click();
            assert_eq!(commands(&mut harness), [Command::SetCamera(false)]);
            harness.get_by_label(&text.hang_up).click();
            assert_eq!(commands(&mut harness), [Command::HangUp]);
            harness.key_press(Key::M);
            assert_eq!(commands(&mut harness), [Command::SetMicrophone(false)]);
            harness.key_press(Key::V);
            assert_eq!(commands(&mut harness), [Command::SetCamera(false)]);
            harness.key_press_modifiers(Modifiers::CTRL, Key::H);
            assert_eq!(commands(&mut harness), [Command::HangUp]);
            harness.key_press(Key::H);
            assert_eq!(commands(&mut harness), [], "hanging up takes two keys");
        }
    }
}

#[test]
fn what_is_off_can_be_turned_on_again() {
    let mut muted = active(CallKind::Video);
    muted.ours = Sending { camera: false, microphone: false, screen: false };
    muted.camera = CameraState::Closed;
    let mut harness = open(in_call(Language::English, connected(muted)), PHONE);
    harness.get_by_label("Unmute").click();
    assert_eq!(commands(&mut harness), [Command::SetMicrophone(true)]);
    harness.get_by_label("Start video").click();
    assert_eq!(commands(&mut harness), [Command::SetCamera(true)]);
}

#[test]
fn both_pictures_have_names_and_are_gone_after_the_call() {
    let mut harness = open(in_call(Language::English, connected(active(CallKind::Video))), DESKTOP);
    harness.get_by_label("Waiting for the picture…");
    harness.state_mut().ui.remote_frame(frame());
    harness.state_mut().ui.preview_frame(frame());
    harness.run_steps(2);
    let (remote, own) =
        (harness.get_by_label("Picture of Ada").rect(), harness.get_by_label("Your own picture").rect());
    assert!(remote.contains_rect(own) && remote.width() > 4.0 * own.width());
    assert!((remote.aspect_ratio() - 16.0 / 9.0).abs() < 0.01, "not distorted");

    harness.state_mut().snapshot.call = CallView::Idle;
    harness.run_steps(2);
    let mut next = active(CallKind::Video);
    next.call = CallId::from_bits(8);
    harness.state_mut().snapshot.call = connected(next);
    harness.run_steps(2);
    assert!(harness.query_by_label("Picture of Ada").is_none(), "the next call starts from nothing");
}

#[test]
fn a_camera_that_is_off_shows_the_name_instead_of_a_frozen_picture() {
    for language in LANGUAGES {
        let mut hidden = active(CallKind::Video);
        hidden.theirs = Sending { camera: false, microphone: false, screen: false };
        let mut harness = open(in_call(language, connected(hidden)), PHONE);
        harness.state_mut().ui.remote_frame(frame());
        harness.run_steps(2);
        let text = &harness.state().text().call;
        assert!(harness.query_by_label(&text.remote_picture.with("name", "Ada")).is_none());
        harness.get_by_label(&text.their_camera_off.with("name", "Ada"));
        harness.get_by_label(&text.their_mic_off.with("name", "Ada"));
    }
}

#[test]
fn a_voice_call_has_no_camera_button() {
    let harness = open(in_call(Language::English, connected(active(CallKind::Audio))), PHONE);
    harness.get_by_label("Voice call");
    assert!(harness.query_by_label("Stop video").is_none() && harness.query_by_label("Start video").is_none());
}

#[test]
fn duration_and_quality_are_said_in_words() {
    for language in LANGUAGES {
        let harness = open(in_call(language, connected(active(CallKind::Video))), PHONE);
        let text = harness.state().text();
        harness.get_by_label_contains(&text.call.duration.with("time", "4:05"));
        harness.get_by_label(&text.quality.good);
    }
}

#[test]
fn connecting_and_reconnecting_are_shown_and_can_be_left() {
    let since = SystemTime::UNIX_EPOCH;
    let views = [
        CallView::Connecting(active(CallKind::Video)),
        CallView::Reconnecting { active: active(CallKind::Video), since },
    ];
    for (view, sentence) in views.into_iter().zip(["Connecting.", "Connection interrupted. Reconnecting…"]) {
        let mut harness = open(in_call(Language::English, view), PHONE);
        harness.get_by_label_contains(sentence);
        harness.get_by_label("Hang up").click();
        assert_eq!(commands(&mut harness), [Command::HangUp]);
    }
}
