//! From the click to the connected call, and all that must not happen before consent.

use parlor_media::CameraState;
use parlor_net::signalling::{Body, CallKind, DeclineReason};

use super::world::{ANN, BOB, CLEO, World, direct, id, ms, secs};
use crate::call::{CallNotice, EndReason, Input, MediaCommand, MediaInput, Role, Sending, State};

fn invite(name: &str) -> Body {
    Body::Invite { name: name.into(), kind: CallKind::Video, offer: "description #0".into() }
}

fn candidate(n: usize) -> Body {
    Body::Candidate { candidate: format!("forged {n} #0") }
}

/// Ann calls Bob, and it rings there.
fn ringing() -> World {
    let mut world = World::pair();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.run(secs(1));
    world
}

#[test]
fn a_call_is_invited_rings_is_accepted_and_connects() {
    let mut world = ringing();
    assert!(matches!(world.state(BOB), State::Ringing(_)));
    world.input(BOB, Input::Accept);
    world.run(secs(1));

    let (call, ann, bob) = (id(1), world.peer(ANN), world.peer(BOB));
    let connected = |notices: &[CallNotice]| match notices.last() {
        Some(CallNotice::Connected { call, path, setup }) => {
            *call == id(1) && *path == direct() && *setup > ms(0) && *setup < ms(100)
        }
        _ => false,
    };
    assert_eq!(
        world.people[ANN].notices[..3],
        [
            CallNotice::Inviting { call, peer: bob },
            CallNotice::RingingThere { call, peer: bob },
            CallNotice::Accepted { call, peer: bob },
        ]
    );
    assert_eq!(
        world.people[BOB].notices[..2],
        [
            CallNotice::Incoming { call, peer: ann, name: "person 0".into(), kind: CallKind::Video },
            CallNotice::Accepted { call, peer: ann },
        ]
    );
    assert!(connected(&world.people[ANN].notices), "{:?}", world.people[ANN].notices);
    assert!(connected(&world.people[BOB].notices), "{:?}", world.people[BOB].notices);
    assert_eq!((world.people[ANN].role(), world.people[BOB].role()), (Role::Caller, Role::Callee));
}

#[test]
fn before_acceptance_only_the_invitation_and_its_echo_are_on_the_wire_and_the_callee_opens_nothing() {
    let world = ringing();
    assert_eq!(world.people[ANN].sent.len(), 1);
    assert_eq!(world.sent(ANN, |body| matches!(body, Body::Invite { .. })), 1);
    assert_eq!(world.people[BOB].sent, [(world.peer(ANN), id(1), Body::Ringing)]);
    let prepared = [
        (id(1), MediaCommand::Open { kind: CallKind::Video }),
        (id(1), MediaCommand::AcceptOffer("description #0".into())),
    ];
    assert_eq!(world.people[BOB].commands, prepared);
    assert!(!world.people[BOB].media[&id(1)].devices_open);
}

#[test]
fn what_was_gathered_before_acceptance_follows_it() {
    let mut world = ringing();
    world.input(BOB, Input::Accept);
    let sent: Vec<_> = world.people[BOB].sent.iter().map(|(_, _, body)| body.clone()).collect();
    let candidate = |n: u32| Body::Candidate { candidate: format!("candidate {n} #0") };
    let accept = Body::Accept { answer: "description #0".into() };
    let media = Body::Media { camera: true, microphone: true, screen: false };
    assert_eq!(sent, [Body::Ringing, accept, candidate(1), candidate(2), media]);
    world.run(ms(10));
    assert_eq!(world.sent(ANN, |body| matches!(body, Body::Candidate { .. })), 2);
}

#[test]
fn accepting_before_the_answer_is_written_waits_for_it() {
    let mut world = World::pair();
    world.forge(ANN, BOB, 1, invite("Ann"));
    world.input(BOB, Input::Accept);
    assert!(matches!(world.state(BOB), State::Answering(_)));
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::Accept { .. })), 0);
    assert_eq!(world.commanded(BOB, &MediaCommand::Start), 0);
    world.run(ms(10));
    assert!(matches!(world.state(BOB), State::Negotiating(_)));
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::Accept { .. })), 1);
    assert_eq!(world.commanded(BOB, &MediaCommand::Start), 1);
}

#[test]
fn the_caller_sees_their_own_picture_while_it_rings_but_not_in_a_voice_call() {
    for (kind, previews) in [(CallKind::Video, 1), (CallKind::Audio, 0)] {
        let mut world = World::pair();
        world.call(ANN, BOB, 1, kind);
        assert_eq!(world.commanded(ANN, &MediaCommand::StartPreview), previews);
        assert_eq!(world.commanded(ANN, &MediaCommand::Start), 0);
    }
}

#[test]
fn candidates_that_come_before_acceptance_are_held_up_to_a_bound() {
    let mut world = ringing();
    for n in 0..100 {
        world.forge(ANN, BOB, 1, candidate(n));
        world.forge(BOB, ANN, 1, candidate(n));
    }
    let added = |world: &World, who: usize| {
        let commands = world.people[who].commands.iter();
        commands.filter(|(_, command)| matches!(command, MediaCommand::AddCandidate(_))).count()
    };
    assert_eq!((added(&world, ANN), added(&world, BOB)), (0, 0));
    world.input(BOB, Input::Accept);
    assert_eq!(added(&world, BOB), 48);
    world.run(ms(6));
    assert!(added(&world, ANN) <= 48 + 2, "{}", added(&world, ANN));
}

#[test]
fn a_peer_cannot_add_candidates_without_end() {
    let mut world = World::talking();
    for n in 0..1000 {
        world.forge(ANN, BOB, 1, candidate(n));
    }
    let commands = world.people[BOB].commands.iter();
    let added = commands.filter(|(_, command)| matches!(command, MediaCommand::AddCandidate(_))).count();
    assert_eq!(added, 48);
}

#[test]
fn own_candidates_without_end_are_bounded_too() {
    let mut world = ringing();
    for n in 0..1000 {
        world.media_event(BOB, 1, MediaInput::LocalCandidate(format!("{n} #0")));
    }
    world.input(BOB, Input::Accept);
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::Candidate { .. })), 48);
}

#[test]
fn calling_the_one_who_calls_is_accepting_and_sends_no_more_than_asked_for() {
    for (kind, camera) in [(CallKind::Video, true), (CallKind::Audio, false)] {
        let mut world = ringing();
        world.call(BOB, ANN, 2, kind);
        world.run(secs(1));
        let State::Connected(connected) = world.state(BOB) else { panic!("{:?}", world.state(BOB)) };
        assert_eq!(connected.active.call.id, id(1));
        assert_eq!(connected.active.ours, Sending { camera, microphone: true, screen: false });
        assert_eq!(world.commanded(BOB, &MediaCommand::SetCamera(false)), usize::from(!camera));
        let State::Connected(connected) = world.state(ANN) else { panic!("{:?}", world.state(ANN)) };
        assert_eq!(connected.active.theirs.camera, camera, "the other side shows the name instead");
    }
}

#[test]
fn a_camera_switched_off_while_it_rings_stays_off_after_accepting() {
    let mut world = ringing();
    world.input(BOB, Input::SetCamera(false));
    world.input(BOB, Input::SetMicrophone(false));
    assert_eq!(world.people[BOB].commands.len(), 2, "the media engine hears of nothing before consent");
    world.input(BOB, Input::Accept);
    let after: Vec<_> = world.people[BOB].commands[2..].iter().map(|(_, command)| command.clone()).collect();
    assert_eq!(after, [MediaCommand::SetCamera(false), MediaCommand::SetMicrophone(false), MediaCommand::Start]);
    let quiet = Body::Media { camera: false, microphone: false, screen: false };
    assert_eq!(world.sent(BOB, |body| *body == quiet), 1);
}

#[test]
fn switching_camera_and_microphone_is_told_to_the_other_side_once() {
    let mut world = World::talking();
    let told = world.sent(ANN, |body| matches!(body, Body::Media { .. }));
    for on in [false, false, true] {
        world.input(ANN, Input::SetCamera(on));
        world.run(ms(10));
        let State::Connected(connected) = world.state(BOB) else { panic!("{:?}", world.state(BOB)) };
        assert_eq!(connected.active.theirs, Sending { camera: on, microphone: true, screen: false });
    }
    world.input(ANN, Input::SetMicrophone(false));
    assert_eq!(world.sent(ANN, |body| matches!(body, Body::Media { .. })) - told, 3);
    assert_eq!(world.commanded(ANN, &MediaCommand::SetMicrophone(false)), 1);
}

#[test]
fn a_camera_that_dies_is_told_to_the_other_side_and_so_is_its_return() {
    let mut world = World::talking();
    for (camera, shows) in [(CameraState::Closed, false), (CameraState::TestCard, true), (CameraState::Open, true)] {
        world.media_event(ANN, 1, MediaInput::Camera(camera));
        world.run(ms(10));
        let State::Connected(connected) = world.state(BOB) else { panic!("{:?}", world.state(BOB)) };
        assert_eq!(connected.active.theirs.camera, shows, "{camera:?}");
        let State::Connected(connected) = world.state(ANN) else { panic!("{:?}", world.state(ANN)) };
        assert_eq!(connected.active.camera, camera);
        assert!(connected.active.ours.camera, "what the person wants has not changed");
    }
}

#[test]
fn a_voice_call_has_no_camera_to_switch() {
    let mut world = World::pair();
    world.call(ANN, BOB, 1, CallKind::Audio);
    world.input(ANN, Input::SetCamera(true));
    assert_eq!(world.commanded(ANN, &MediaCommand::SetCamera(true)), 0);
    world.run(secs(1));
    world.input(BOB, Input::Accept);
    world.run(secs(1));
    world.forge(ANN, BOB, 1, Body::Media { camera: true, microphone: true, screen: false });
    let State::Connected(connected) = world.state(BOB) else { panic!("{:?}", world.state(BOB)) };
    assert!(!connected.active.theirs.camera);
}

#[test]
fn a_callers_name_is_made_fit_for_display() {
    let mut world = World::pair();
    world.forge(ANN, BOB, 1, invite(&format!(" \u{202E}Ann\n{}", "x".repeat(10_000))));
    let State::Ringing(ringing) = world.state(BOB) else { panic!("{:?}", world.state(BOB)) };
    assert_eq!(ringing.call.name, format!("Ann{}", "x".repeat(37)));
}

#[test]
fn callee_busy_declines_second_invite_and_tells_the_person_once_in_a_while() {
    let mut world = World::trio();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.run(secs(1));
    for n in 0..5 {
        world.forge(CLEO, BOB, 100 + n, invite("Cleo"));
    }
    world.call(CLEO, BOB, 2, CallKind::Video);
    world.run(secs(1));
    assert_eq!(world.reasons(CLEO), [EndReason::Busy]);
    let missed = CallNotice::MissedWhileBusy { peer: world.peer(CLEO), name: "Cleo".into() };
    assert_eq!(world.people[BOB].notices.iter().filter(|&notice| *notice == missed).count(), 1);
    assert!(matches!(world.state(BOB), State::Ringing(_)), "the first call is not disturbed");

    world.run(secs(5));
    world.forge(CLEO, BOB, 200, invite("Cleo"));
    assert_eq!(world.people[BOB].notices.iter().filter(|&notice| *notice == missed).count(), 2);
}

#[test]
fn everyone_in_a_call_is_busy_from_the_first_moment_on() {
    let mut world = World::trio();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.call(CLEO, ANN, 2, CallKind::Video);
    world.run(secs(1));
    assert_eq!(world.reasons(CLEO), [EndReason::Busy]);
    assert!(matches!(world.state(ANN), State::Inviting(_)));
}

#[test]
fn an_invitation_that_comes_again_is_ignored_during_the_call_and_after_it() {
    let mut world = World::talking();
    let before = (world.people[BOB].sent.len(), world.state(BOB).clone());
    world.forge(ANN, BOB, 1, invite("Ann"));
    assert_eq!((world.people[BOB].sent.len(), world.state(BOB).clone()), before);
    world.input(BOB, Input::HangUp);
    world.run(secs(1));
    world.forge(ANN, BOB, 1, invite("Ann"));
    world.assert_clean();
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::Ringing)), 1);
}

#[test]
fn messages_of_another_call_or_another_peer_change_nothing() {
    let bodies = || {
        [
            Body::Ringing,
            Body::Accept { answer: "description #0".into() },
            Body::Decline { reason: DeclineReason::Declined },
            candidate(1),
            Body::RestartAnswer { answer: "description #0".into() },
            Body::Media { camera: false, microphone: false, screen: false },
            Body::Bye { reason: parlor_net::signalling::ByeReason::HungUp },
            Body::Unknown,
        ]
    };
    let mut world = World::trio();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.run(secs(1));
    for accepted in [false, true] {
        let before = (world.state(ANN).clone(), world.state(BOB).clone());
        let count = |world: &World| -> usize { world.people.iter().map(|p| p.sent.len() + p.commands.len()).sum() };
        let effects = count(&world);
        for body in bodies() {
            world.forge(CLEO, BOB, 1, body.clone());
            world.forge(CLEO, ANN, 1, body.clone());
            world.forge(ANN, BOB, 7, body.clone());
            world.forge(BOB, ANN, 7, body);
        }
        for event in [MediaInput::Failed(String::new()), MediaInput::Disconnected, MediaInput::Connected(direct())] {
            world.media_event(ANN, 7, event.clone());
            world.media_event(BOB, 7, event);
        }
        assert_eq!((world.state(ANN).clone(), world.state(BOB).clone()), before);
        assert_eq!(count(&world), effects);
        if !accepted {
            world.input(BOB, Input::Accept);
            world.run(secs(1));
        }
    }
}

#[test]
fn nobody_calls_themselves_or_two_people_at_once() {
    let mut world = World::trio();
    world.call(ANN, ANN, 1, CallKind::Video);
    world.assert_clean();
    world.call(ANN, BOB, 2, CallKind::Video);
    world.run(secs(1));
    world.call(ANN, CLEO, 3, CallKind::Video);
    world.call(ANN, BOB, 4, CallKind::Video);
    world.run(secs(1));
    assert!(world.state(ANN).is_call(id(2)));
    assert!(world.people[CLEO].machine.is_free());
}

#[test]
fn a_hundred_invitations_in_a_second_ring_ten_times_and_the_peace_ends_by_itself() {
    let mut world = World::trio();
    let cancelled = || Body::Bye { reason: parlor_net::signalling::ByeReason::Cancelled };
    for n in 0..100 {
        world.forge(ANN, BOB, n, invite("Ann"));
        world.forge(ANN, BOB, n, cancelled());
        world.run(ms(10));
    }
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::Ringing)), 10);
    let busy = Body::Decline { reason: DeclineReason::Busy };
    assert_eq!(world.sent(BOB, |body| *body == busy), 90);
    world.assert_clean();

    world.run(secs(10));
    world.call(CLEO, BOB, 1000, CallKind::Video);
    world.run(secs(1));
    assert!(matches!(world.state(BOB), State::Ringing(_)));
}

#[test]
fn calls_that_are_accepted_may_follow_each_other_as_fast_as_people_like() {
    let mut world = World::pair();
    for n in 0..50 {
        world.call(ANN, BOB, n, CallKind::Video);
        world.run(ms(30));
        world.input(BOB, Input::Accept);
        world.run(ms(50));
        assert!(matches!(world.state(ANN), State::Connected(_)), "call {n}: {:?}", world.state(ANN));
        world.input(BOB, Input::HangUp);
        world.run(ms(20));
        world.assert_clean();
    }
}
