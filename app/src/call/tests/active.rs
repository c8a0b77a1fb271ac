//! Paths that break and come back.

use parlor_net::{OfflineReason, signalling::Body, signalling::CallKind};

use super::world::{ANN, BOB, World, id, ms, secs};
use crate::call::{CallNotice, EndReason, Input, MediaCommand, MediaInput, State};

fn count(world: &World, who: usize, notice: &CallNotice) -> usize {
    world.people[who].notices.iter().filter(|&heard| heard == notice).count()
}

fn restarts(world: &World) -> usize {
    world.commanded(ANN, &MediaCommand::RestartIce)
}

#[test]
fn a_broken_path_is_restored_by_an_ice_restart_that_the_caller_offers() {
    let mut world = World::talking();
    world.cut_media();
    world.run(ms(2100));
    for who in [ANN, BOB] {
        assert!(matches!(world.state(who), State::Reconnecting(_)), "{:?}", world.state(who));
    }
    world.mend_media();
    world.run(secs(4));
    for who in [ANN, BOB] {
        assert!(matches!(world.state(who), State::Connected(_)), "{:?}", world.state(who));
        assert_eq!(count(&world, who, &CallNotice::Reconnecting { call: id(1) }), 1);
        assert_eq!(count(&world, who, &CallNotice::Reconnected { call: id(1) }), 1);
    }
    assert!(restarts(&world) >= 1);
    assert_eq!(world.commanded(BOB, &MediaCommand::RestartIce), 0);
}

#[test]
fn a_restart_is_tried_again_every_few_seconds_while_the_path_is_broken() {
    let mut world = World::talking();
    world.cut_media();
    world.run(secs(2 + 13));
    assert!((4..=6).contains(&restarts(&world)), "{}", restarts(&world));
    world.mend_media();
    world.run(secs(4));
    assert!(matches!(world.state(ANN), State::Connected(_)), "{:?}", world.state(ANN));
}

#[test]
fn a_callee_who_alone_sees_the_path_break_asks_for_a_restart() {
    let mut world = World::talking();
    world.media_event(BOB, 1, MediaInput::Disconnected);
    world.run(ms(100));
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::RestartPlease)), 1);
    assert_eq!(restarts(&world), 1);
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::RestartAnswer { .. })), 1);
}

#[test]
fn a_peer_that_begs_for_restarts_gets_one_every_few_seconds() {
    let mut world = World::talking();
    for _ in 0..1000 {
        world.forge(BOB, ANN, 1, Body::RestartPlease);
        world.run(ms(10));
    }
    assert!((2..=4).contains(&restarts(&world)), "{}", restarts(&world));
}

#[test]
fn a_peer_that_floods_restarts_has_one_answered_at_a_time() {
    let mut world = World::talking();
    for _ in 0..1000 {
        world.forge(ANN, BOB, 1, Body::Restart { offer: "description #1".into() });
    }
    assert_eq!(world.commanded(BOB, &MediaCommand::AcceptOffer("description #1".into())), 1);
}

#[test]
fn candidates_for_a_restart_follow_its_descriptions_on_both_sides() {
    let mut world = World::talking();
    let already = [world.people[ANN].sent.len(), world.people[BOB].sent.len()];
    world.media_event(ANN, 1, MediaInput::Disconnected);
    world.run(ms(100));
    for (who, description) in [
        (ANN, Body::Restart { offer: "description #1".into() }),
        (BOB, Body::RestartAnswer { answer: "description #1".into() }),
    ] {
        let sent: Vec<_> = world.people[who].sent[already[who]..].iter().map(|(_, _, body)| body.clone()).collect();
        let candidate = |n: u32| Body::Candidate { candidate: format!("candidate {n} #1") };
        assert_eq!(sent, [description, candidate(1), candidate(2)]);
    }
}

#[test]
fn a_restart_gives_the_other_side_new_candidates_to_add() {
    let mut world = World::talking();
    let flood = |world: &mut World| {
        for n in 0..100 {
            world.forge(BOB, ANN, 1, Body::Candidate { candidate: format!("{n} #0") });
        }
        let added = |(_, command): &&(_, MediaCommand)| matches!(command, MediaCommand::AddCandidate(_));
        world.people[ANN].commands.iter().filter(added).count()
    };
    assert_eq!(flood(&mut world), 48);
    world.media_event(ANN, 1, MediaInput::Disconnected);
    world.run(ms(100));
    assert_eq!(flood(&mut world), 96);
}

#[test]
fn a_restart_that_can_not_be_used_ends_the_call() {
    let mut world = World::talking();
    world.forge(ANN, BOB, 1, Body::Restart { offer: super::world::GARBAGE.into() });
    world.run(secs(1));
    assert_eq!(world.reasons(BOB), [EndReason::MediaFailed]);
    assert_eq!(world.reasons(ANN), [EndReason::MediaFailed]);
}

#[test]
fn a_change_of_network_is_survived() {
    let mut world = World::talking();
    world.cut_signalling();
    world.cut_media();
    world.run(ms(1500));
    world.offline(ANN, BOB, OfflineReason::Lost);
    world.offline(BOB, ANN, OfflineReason::Lost);
    world.run(ms(2500));
    for who in [ANN, BOB] {
        assert!(matches!(world.state(who), State::Reconnecting(_)), "{:?}", world.state(who));
    }
    world.mend_signalling();
    world.mend_media();
    world.online(ANN, BOB);
    world.online(BOB, ANN);
    world.run(ms(500));
    for who in [ANN, BOB] {
        assert!(matches!(world.state(who), State::Connected(_)), "{:?}", world.state(who));
    }
    world.run(secs(60));
    assert!(matches!(world.state(ANN), State::Connected(_)), "nothing old ends it later");
}

#[test]
fn messages_that_do_not_get_through_do_not_end_a_call_whose_media_flows() {
    let mut world = World::talking();
    world.cut_signalling();
    world.offline(ANN, BOB, OfflineReason::Lost);
    world.offline(BOB, ANN, OfflineReason::Lost);
    world.input(ANN, Input::SetCamera(false));
    world.run(secs(120));
    for who in [ANN, BOB] {
        assert!(matches!(world.state(who), State::Connected(_)), "{:?}", world.state(who));
    }
}

#[test]
fn a_message_from_a_peer_who_was_lost_shows_that_they_are_back() {
    let mut world = World::talking();
    world.offline(ANN, BOB, OfflineReason::Lost);
    world.input(BOB, Input::SetCamera(false));
    world.run(ms(100));
    world.cut_media();
    world.run(secs(2 + 10));
    assert!(matches!(world.state(ANN), State::Reconnecting(_)), "{:?}", world.state(ANN));
}

#[test]
fn a_peer_that_died_and_came_back_knows_nothing_of_the_old_call_which_ends_soon() {
    let mut world = World::talking();
    world.kill(BOB);
    world.run(secs(1));
    world.revive(BOB);
    world.online(ANN, BOB);
    world.run(ms(4100));
    assert_eq!(world.reasons(ANN), [EndReason::ConnectionLost]);
    assert_eq!(world.people[BOB].notices, []);
    world.assert_clean();
}

#[test]
fn no_restart_is_said_to_somebody_who_can_not_hear_it() {
    let mut world = World::talking();
    world.offline(ANN, BOB, OfflineReason::Lost);
    world.media_event(ANN, 1, MediaInput::Disconnected);
    world.run(ms(2900));
    assert_eq!(restarts(&world), 0);
    world.online(ANN, BOB);
    assert_eq!(restarts(&world), 1);
}

#[test]
fn presence_does_not_revive_a_call_whose_messages_were_given_up() {
    let mut world = World::talking();
    let failed = Input::SignalFailed { peer: world.peer(BOB), call: id(1) };
    world.input(ANN, failed);
    world.online(ANN, BOB);
    world.media_event(ANN, 1, MediaInput::Disconnected);
    world.run(ms(3100));
    assert_eq!(world.reasons(ANN), [EndReason::ConnectionLost]);
}

#[test]
fn the_path_may_change_without_a_word() {
    let mut world = World::talking();
    let relayed = parlor_media::Path { kind: parlor_media::PathKind::Relayed, ..super::world::direct() };
    let notices = world.people[ANN].notices.len();
    world.media_event(ANN, 1, MediaInput::Connected(relayed.clone()));
    let State::Connected(connected) = world.state(ANN) else { panic!("{:?}", world.state(ANN)) };
    assert_eq!(connected.path, relayed);
    assert_eq!(world.people[ANN].notices.len(), notices);
}

#[test]
fn how_long_a_call_lasts_is_counted_from_its_first_connection() {
    let mut world = World::talking();
    let State::Connected(connected) = world.state(ANN) else { panic!("{:?}", world.state(ANN)) };
    let since = connected.since;
    world.media_event(ANN, 1, MediaInput::Disconnected);
    world.run(secs(1));
    world.media_event(ANN, 1, MediaInput::Connected(super::world::direct()));
    let State::Connected(connected) = world.state(ANN) else { panic!("{:?}", world.state(ANN)) };
    assert_eq!(connected.since, since);
}

#[test]
fn an_audio_call_is_restored_like_a_video_call() {
    let mut world = World::pair();
    world.call(BOB, ANN, 1, CallKind::Audio);
    world.run(secs(1));
    world.input(ANN, Input::Accept);
    world.run(secs(1));
    world.cut_media();
    world.run(secs(3));
    world.mend_media();
    world.run(secs(4));
    assert!(matches!(world.state(ANN), State::Connected(_)), "{:?}", world.state(ANN));
}

#[test]
fn a_change_of_the_callers_network_restarts_ice_at_once_without_a_word_to_the_person() {
    let mut world = World::talking();
    world.input(ANN, Input::NetworkChanged);
    world.run(ms(200));
    assert_eq!(restarts(&world), 1);
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::RestartAnswer { .. })), 1);
    assert!(matches!(world.state(ANN), State::Connected(_)), "{:?}", world.state(ANN));
    assert_eq!(count(&world, ANN, &CallNotice::Reconnecting { call: id(1) }), 0);
    world.run(ms(1500));
    assert_eq!(restarts(&world), 1, "once is enough");
    assert_eq!(world.people[ANN].machine.poll_timeout(), None);
}

#[test]
fn a_change_of_the_callees_network_asks_the_caller_for_a_restart() {
    let mut world = World::talking();
    world.input(BOB, Input::NetworkChanged);
    world.run(ms(200));
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::RestartPlease)), 1);
    assert_eq!(restarts(&world), 1);
    world.run(ms(1500));
    assert_eq!((world.sent(BOB, |body| matches!(body, Body::RestartPlease)), restarts(&world)), (1, 1));
}

#[test]
fn a_second_change_during_a_restart_is_followed_by_another_restart() {
    // Down, and up again with another address: the restart in between looked at the wrong moment.
    for (who, asked) in [(ANN, 0), (BOB, 1)] {
        let mut world = World::talking();
        world.input(who, Input::NetworkChanged);
        world.run(ms(1));
        world.input(who, Input::NetworkChanged);
        world.run(ms(500));
        assert!(restarts(&world) > usize::from(who == ANN), "person {who}: {}", restarts(&world));
        assert!(world.sent(BOB, |body| matches!(body, Body::RestartPlease)) >= asked);
        assert!(matches!(world.state(who), State::Connected(_)), "{:?}", world.state(who));
        assert_eq!(world.people[who].machine.poll_timeout(), None, "all is done");
    }
}

#[test]
fn a_change_while_the_other_side_can_not_be_reached_is_followed_up_when_it_can() {
    let mut world = World::talking();
    world.offline(ANN, BOB, OfflineReason::Lost);
    world.input(ANN, Input::NetworkChanged);
    world.run(secs(5));
    assert_eq!(restarts(&world), 0);
    world.online(ANN, BOB);
    world.run(ms(100));
    assert_eq!(restarts(&world), 1);
}

#[test]
fn a_change_while_the_call_is_being_set_up_restarts_it_when_it_stands() {
    let mut world = World::pair();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.run(ms(100));
    world.input(ANN, Input::NetworkChanged);
    world.input(BOB, Input::NetworkChanged);
    assert!(matches!(world.state(BOB), State::Ringing(_)), "ringing goes on");
    world.input(BOB, Input::Accept);
    world.input(BOB, Input::NetworkChanged);
    world.run(secs(2));
    assert_eq!(restarts(&world), 1);
    assert!(matches!(world.state(ANN), State::Connected(_)), "{:?}", world.state(ANN));
}

#[test]
fn a_callee_whose_network_changes_twice_gets_a_second_restart_within_seconds() {
    let mut world = World::talking();
    world.input(BOB, Input::NetworkChanged);
    world.run(secs(1));
    world.input(BOB, Input::NetworkChanged);
    world.run(ms(100));
    assert!(matches!(world.state(ANN), State::Connected(_)), "{:?}", world.state(ANN));
    assert!(world.people[ANN].machine.poll_timeout().is_some(), "the caller does not forget the second wish");
    world.run(ms(2400));
    assert_eq!(restarts(&world), 2);
}

#[test]
fn a_path_that_is_not_found_at_first_is_looked_for_again_while_the_call_is_being_set_up() {
    let mut world = World::pair();
    world.cut_media();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.run(secs(1));
    world.input(BOB, Input::Accept);
    world.run(ms(4900));
    assert_eq!(restarts(&world), 0, "the first attempt has its time");
    world.run(secs(1));
    assert_eq!(restarts(&world), 1);
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::RestartAnswer { .. })), 1);
    assert!(matches!(world.state(ANN), State::Negotiating(_)), "{:?}", world.state(ANN));
    world.mend_media();
    world.run(ms(100));
    for who in [ANN, BOB] {
        assert!(matches!(world.state(who), State::Connected(_)), "{:?}", world.state(who));
    }
    assert_eq!(world.commanded(BOB, &MediaCommand::RestartIce), 0);
}

#[test]
fn a_call_that_finds_no_path_restarts_ice_twice_and_gives_up_in_the_same_time() {
    let mut world = World::pair();
    world.cut_media();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.run(secs(1));
    world.input(BOB, Input::Accept);
    world.run(ms(14_900));
    assert_eq!((restarts(&world), world.reasons(ANN)), (2, vec![]));
    world.run(secs(1));
    assert_eq!((world.reasons(ANN), world.reasons(BOB)), (vec![EndReason::MediaFailed], vec![EndReason::MediaFailed]));
}

#[test]
fn no_path_is_looked_for_again_with_somebody_who_can_not_be_told() {
    let mut world = World::pair();
    world.cut_media();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.run(secs(1));
    world.input(BOB, Input::Accept);
    world.run(ms(4000));
    world.offline(ANN, BOB, OfflineReason::Lost);
    world.run(secs(2));
    assert_eq!(restarts(&world), 0);
    world.online(ANN, BOB);
    world.run(ms(100));
    assert_eq!(restarts(&world), 1);
}

fn shares(world: &World, who: usize) -> (bool, bool) {
    let State::Connected(connected) = world.state(who) else { panic!("{:?}", world.state(who)) };
    (connected.active.ours.screen, connected.active.theirs.screen)
}

#[test]
fn a_shared_screen_is_told_when_it_is_captured_and_when_it_is_no_more() {
    let mut world = World::talking();
    let source = parlor_media::ScreenSource::Default;
    for on in [true, false, true] {
        world.input(ANN, if on { Input::Share(source.clone()) } else { Input::StopSharing });
        world.run(ms(50));
        assert_eq!((shares(&world, ANN), shares(&world, BOB)), ((on, false), (false, on)));
        assert!(count(&world, BOB, &CallNotice::TheirScreen { call: id(1), on }) >= 1);
    }
    // The window was closed.
    world.media_event(ANN, 1, MediaInput::Screen(false));
    world.run(ms(50));
    assert_eq!((shares(&world, ANN), shares(&world, BOB)), ((false, false), (false, false)));
    assert_eq!(count(&world, BOB, &CallNotice::TheirScreen { call: id(1), on: false }), 2);
}

#[test]
fn no_screen_is_captured_before_both_agreed_or_after_the_call() {
    let share = || Input::Share(parlor_media::ScreenSource::Default);
    let mut world = World::pair();
    world.input(ANN, share());
    world.call(ANN, BOB, 1, CallKind::Video);
    world.run(ms(20));
    world.input(ANN, share());
    world.input(BOB, share());
    world.input(BOB, Input::Accept);
    world.run(secs(1));
    world.input(ANN, Input::HangUp);
    world.input(ANN, share());
    world.run(secs(1));
    for who in [ANN, BOB] {
        let commands = &world.people[who].commands;
        assert!(!commands.iter().any(|(_, command)| matches!(command, MediaCommand::Share(_))), "{commands:?}");
    }
}
