//! Sharing a screen, at both ends.

use std::sync::Arc;

use egui::{Key, Modifiers};
use egui_kittest::kittest::Queryable as _;
use parlor_media::{ScreenInfo, ScreenProblem, ScreenSource, Thumbnail};
use parlor_net::signalling::CallKind;

use super::{DESKTOP, LANGUAGES, PHONE, active, commands, connected, frame, in_call, open};
use crate::{
    engine::{Command, Notice, Screens},
    settings::Language,
    text::Text,
};

fn found() -> Screens {
    let thumbnail = |width, height| Thumbnail { width, height, rgb: vec![90; (width * height * 3) as usize].into() };
    let info = |source, name: &str, width, height| ScreenInfo {
        source,
        name: name.to_owned(),
        width,
        height,
        thumbnail: Some(thumbnail(width / 10, height / 10)),
    };
    Screens::Found(Ok(Arc::from([
        info(ScreenSource::Screen("HDMI-1".to_owned()), "HDMI-1", 1920, 1080),
        info(ScreenSource::Window(7), "幻灯片 – Slides", 800, 600),
    ])))
}

#[test]
fn a_window_is_chosen_from_a_list_that_is_looked_for_when_it_is_wanted() {
    for (language, size, kind) in LANGUAGES
        .into_iter()
        .flat_map(|language| [(language, PHONE, CallKind::Audio), (language, DESKTOP, CallKind::Video)])
    {
        let text = &Text::of(language).share;
        let mut harness = open(in_call(language, connected(active(kind))), size);
        harness.get_by_label(&text.start).click();
        assert_eq!(commands(&mut harness), [Command::ListScreens]);
        harness.state_mut().snapshot.screens = Screens::Looking;
        harness.run_steps(2);
        harness.get_by_label(&text.looking);
        harness.state_mut().snapshot.screens = found();
        harness.run_steps(4);
        harness.get_by_label("HDMI-1, 1920 × 1080");
        harness.get_by_label("幻灯片 – Slides, 800 × 600").click();
        assert_eq!(commands(&mut harness), [Command::Share(ScreenSource::Window(7)), Command::ForgetScreens]);
        assert!(harness.query_by_label("HDMI-1, 1920 × 1080").is_none(), "the list is closed");
    }
}

#[test]
fn where_the_desktop_asks_itself_there_is_one_thing_to_choose() {
    for (language, size) in LANGUAGES.into_iter().flat_map(|language| [(language, PHONE), (language, DESKTOP)]) {
        let text = &Text::of(language).share;
        let mut harness = open(in_call(language, connected(active(CallKind::Video))), size);
        harness.key_press(Key::S);
        commands(&mut harness);
        let portal =
            ScreenInfo { source: ScreenSource::Portal, name: String::new(), width: 0, height: 0, thumbnail: None };
        harness.state_mut().snapshot.screens = Screens::Found(Ok(Arc::from([portal])));
        harness.run_steps(4);
        assert!(harness.query_by_label(&text.screens).is_none(), "it may be a window as well");
        harness.get_by_label(&format!("{}, {}", text.portal, text.portal_explain)).click();
        assert_eq!(commands(&mut harness), [Command::Share(ScreenSource::Portal), Command::ForgetScreens]);

        let mut sharing = active(CallKind::Video);
        sharing.sharing = Some(String::new());
        harness.state_mut().snapshot.call = connected(sharing);
        harness.run_steps(2);
        harness.get_by_label(&text.sharing.with("what", &text.chosen));
    }
}

#[test]
fn the_key_opens_the_list_and_escape_closes_it_without_sharing() {
    let mut harness = open(in_call(Language::English, connected(active(CallKind::Video))), DESKTOP);
    harness.key_press(Key::S);
    assert_eq!(commands(&mut harness), [Command::ListScreens]);
    harness.state_mut().snapshot.screens = found();
    harness.run_steps(2);
    harness.key_press(Key::Escape);
    assert_eq!(commands(&mut harness), [Command::ForgetScreens]);
    harness.key_press_modifiers(Modifiers::CTRL, Key::S);
    assert_eq!(commands(&mut harness), []);
}

#[test]
fn where_nothing_can_be_shared_it_is_said_why() {
    for language in LANGUAGES {
        let text = Text::of(language);
        for problem in [
            ScreenProblem::NoDisplay,
            ScreenProblem::Wayland,
            ScreenProblem::NoPortal,
            ScreenProblem::Forbidden,
            ScreenProblem::Unsupported,
            ScreenProblem::Failed("x".to_owned()),
        ] {
            let mut harness = open(in_call(language, connected(active(CallKind::Video))), PHONE);
            harness.key_press(Key::S);
            commands(&mut harness);
            harness.state_mut().snapshot.screens = Screens::Found(Err(problem.clone()));
            harness.run_steps(2);
            harness.get_by_label(text.screen_problem(&problem));
        }
    }
}

#[test]
fn who_shares_is_told_all_the_time_and_can_stop_at_once() {
    for (language, size) in LANGUAGES.into_iter().flat_map(|language| [(language, PHONE), (language, DESKTOP)]) {
        let text = &Text::of(language).share;
        let mut sharing = active(CallKind::Video);
        sharing.sharing = Some("幻灯片 – Slides".to_owned());
        sharing.ours.screen = true;
        let mut harness = open(in_call(language, connected(sharing)), size);
        harness.get_by_label(&text.sharing.with("what", "幻灯片 – Slides"));
        harness.get_by_label(&text.stop_tooltip).click();
        assert_eq!(commands(&mut harness), [Command::StopSharing]);
        harness.get_by_label(&text.stop).click();
        assert_eq!(commands(&mut harness), [Command::StopSharing]);
        harness.key_press(Key::S);
        assert_eq!(commands(&mut harness), [Command::StopSharing]);
    }
}

#[test]
fn what_was_closed_is_said_to_be() {
    let snapshot = in_call(Language::English, connected(active(CallKind::Video)));
    let mut harness = open(snapshot, PHONE);
    let call = super::CALL;
    harness.state_mut().ui.notice(Notice::SharingOver { call, problem: Some(ScreenProblem::Gone) });
    harness.state_mut().ui.notice(Notice::SharingOver { call, problem: None });
    harness.run_steps(2);
    harness.get_by_label(&Text::of(Language::English).share.gone);
}

#[test]
fn the_others_screen_is_large_with_both_faces_beside_it_and_is_gone_when_it_ends() {
    for (language, size) in LANGUAGES.into_iter().flat_map(|language| [(language, PHONE), (language, DESKTOP)]) {
        let text = Text::of(language);
        let (screen, face) = (text.share.picture.with("name", "Ada"), text.call.remote_picture.with("name", "Ada"));
        let mut shown = active(CallKind::Video);
        shown.theirs.screen = true;
        let mut harness = open(in_call(language, connected(shown.clone())), size);
        harness.state_mut().ui.remote_frame(frame());
        harness.state_mut().ui.preview_frame(frame());
        harness.run_steps(2);
        harness.get_by_label(&text.share.theirs.with("name", "Ada"));
        assert!(harness.query_by_label(&screen).is_none(), "before its first picture the face stays large");
        harness.state_mut().ui.screen_frame(frame());
        harness.run_steps(2);
        let rect = |label: &str| harness.get_by_label(label).rect();
        let (large, faces) = (rect(&screen), [rect(&face), rect(&text.call.own_picture)]);
        assert!(faces.iter().all(|face| large.width() > 3.0 * face.width()), "{large:?} {faces:?}");
        assert!(!faces[0].intersects(faces[1]), "{faces:?}");

        shown.theirs.screen = false;
        harness.state_mut().snapshot.call = connected(shown.clone());
        harness.run_steps(2);
        assert!(harness.query_by_label(&screen).is_none());
        // A late picture of the old one is not the beginning of the next.
        harness.state_mut().ui.screen_frame(frame());
        harness.run_steps(2);
        shown.theirs.screen = true;
        harness.state_mut().snapshot.call = connected(shown);
        harness.run_steps(2);
        assert!(harness.query_by_label(&screen).is_none());
    }
}
