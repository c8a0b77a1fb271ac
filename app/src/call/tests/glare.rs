//! Two people call each other: one call comes of it, and nobody clicks again.

use parlor_net::signalling::{Body, CallKind};

use super::world::{ANN, BOB, CLEO, Network, World, id, ms, secs};
use crate::call::{CallNotice, EndReason, MediaCommand, Sending, State};

/// Both are in the one call with this id, and nothing was said of the other.
fn assert_one_call(world: &World, call: u128) {
    for who in [ANN, BOB] {
        let State::Connected(connected) = world.state(who) else { panic!("person {who}: {:?}", world.state(who)) };
        assert_eq!(connected.active.call.id, id(call), "person {who}");
        assert_eq!(world.reasons(who), [], "person {who}");
        let bothered =
            |notice: &CallNotice| matches!(notice, CallNotice::Incoming { .. } | CallNotice::MissedWhileBusy { .. });
        assert!(!world.people[who].notices.iter().any(bothered), "person {who}: {:?}", world.people[who].notices);
    }
}

#[test]
fn two_who_call_at_the_same_moment_are_connected_by_the_greater_id() {
    for (ann, bob) in [(1, 2), (2, 1)] {
        let mut world = World::pair();
        world.call(ANN, BOB, ann, CallKind::Video);
        world.call(BOB, ANN, bob, CallKind::Video);
        world.run(secs(1));
        assert_one_call(&world, 2);
        world.input(ANN, crate::call::Input::HangUp);
        world.run(secs(1));
        world.assert_clean();
    }
}

#[test]
fn two_who_call_within_any_interval_and_any_delay_are_connected() {
    for delay in [1, 5, 50, 400, 1500] {
        for later in [0, 2, 4, 10, 60, 500, 1600] {
            for (ann, bob) in [(1, 2), (2, 1)] {
                let mut world = World::new(2, Network { delay: (ms(delay), ms(delay)), duplicates: 2 }, 7);
                world.call(ANN, BOB, ann, CallKind::Video);
                world.run(ms(later));
                world.call(BOB, ANN, bob, CallKind::Video);
                world.run(secs(10));
                let what = format!("delay {delay} ms, {later} ms later, ids {ann} and {bob}");
                for who in [ANN, BOB] {
                    assert!(matches!(world.state(who), State::Connected(_)), "{what}: {:?}", world.state(who));
                    assert_eq!(world.reasons(who), [], "{what}");
                }
                assert_eq!(world.state(ANN).call().unwrap().id, world.state(BOB).call().unwrap().id, "{what}");
            }
        }
    }
}

#[test]
fn offers_that_are_delayed_unequally_still_make_one_call() {
    for seed in 0..200 {
        let mut world = World::new(2, Network { delay: (ms(0), ms(1500)), duplicates: 3 }, seed * 2 + 1);
        world.call(ANN, BOB, u128::from(seed % 2) + 1, CallKind::Video);
        world.run(ms(10));
        world.call(BOB, ANN, u128::from((seed + 1) % 2) + 1, CallKind::Video);
        world.run(secs(12));
        for who in [ANN, BOB] {
            assert!(matches!(world.state(who), State::Connected(_)), "seed {seed}: {:?}", world.state(who));
            assert_eq!(world.reasons(who), [], "seed {seed}");
        }
        assert_eq!(world.state(ANN).call().unwrap().id, world.state(BOB).call().unwrap().id, "seed {seed}");
    }
}

#[test]
fn an_invitation_that_lost_and_comes_after_the_winner_was_accepted_changes_nothing() {
    let mut world = World::pair();
    world.call(ANN, BOB, 2, CallKind::Video);
    world.run(ms(50));
    world.input(BOB, crate::call::Input::Accept);
    world.run(ms(200));
    let late = Body::Invite { name: "Bob".into(), kind: CallKind::Video, offer: "description #0".into() };
    world.forge(BOB, ANN, 1, late);
    world.run(secs(1));
    let State::Connected(connected) = world.state(ANN) else { panic!("{:?}", world.state(ANN)) };
    assert_eq!(connected.active.call.id, id(2));
}

#[test]
fn an_invitation_that_lost_does_not_ring_when_it_comes_after_the_call() {
    let mut world = World::pair();
    world.network.delay = (secs(3), secs(3));
    world.call(BOB, ANN, 1, CallKind::Video);
    world.run(ms(10));
    world.network.delay = (ms(5), ms(5));
    world.call(ANN, BOB, 2, CallKind::Video);
    world.run(secs(1));
    assert_one_call(&world, 2);
    world.input(ANN, crate::call::Input::HangUp);
    world.run(secs(1));
    world.assert_clean();
    world.run(ms(1100));
    world.assert_clean();
    assert_eq!(world.reasons(ANN), [EndReason::HungUp, EndReason::RemoteCancelled]);
}

#[test]
fn an_invitation_that_was_not_sent_yet_gives_way() {
    let mut world = World::pair();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.run(ms(6));
    world.call(BOB, ANN, 2, CallKind::Video);
    assert!(matches!(world.state(BOB), State::Inviting(_)));
    world.run(ms(2));
    assert!(world.state(BOB).is_call(id(1)), "{:?}", world.state(BOB));
    world.run(secs(1));
    assert_one_call(&world, 1);
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::Invite { .. } | Body::Bye { .. })), 0);
}

#[test]
fn the_winners_kind_counts_and_nobody_sends_more_than_they_asked_for() {
    let sending = |camera| Sending { camera, microphone: true, screen: false };
    for (ann, bob, kind, anns, bobs) in [
        (CallKind::Video, CallKind::Audio, CallKind::Audio, sending(false), sending(false)),
        (CallKind::Audio, CallKind::Video, CallKind::Video, sending(false), sending(true)),
        (CallKind::Video, CallKind::Video, CallKind::Video, sending(true), sending(true)),
    ] {
        let mut world = World::pair();
        world.call(ANN, BOB, 1, ann);
        world.call(BOB, ANN, 2, bob);
        world.run(secs(1));
        assert_one_call(&world, 2);
        for (who, ours, theirs) in [(ANN, anns, bobs), (BOB, bobs, anns)] {
            let active = world.state(who).active().unwrap();
            assert_eq!((active.call.kind, active.ours, active.theirs), (kind, ours, theirs));
        }
        let off = world.people[ANN].commands.contains(&(id(2), MediaCommand::SetCamera(false)));
        assert_eq!(off, kind == CallKind::Video && !anns.camera);
    }
}

#[test]
fn a_third_caller_is_turned_away_from_a_glare() {
    let mut world = World::trio();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.call(BOB, ANN, 2, CallKind::Video);
    world.call(CLEO, ANN, 3, CallKind::Video);
    world.run(secs(1));
    assert_eq!(world.reasons(CLEO), [EndReason::Busy]);
    assert!(world.state(ANN).is_call(id(2)) && world.state(BOB).is_call(id(2)));
}

#[test]
fn three_who_call_in_a_circle_all_come_to_an_end() {
    let mut world = World::trio();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.call(BOB, CLEO, 2, CallKind::Video);
    world.call(CLEO, ANN, 3, CallKind::Video);
    world.run(secs(60));
    for who in [ANN, BOB, CLEO] {
        assert_eq!(world.reasons(who), [EndReason::Busy]);
    }
    world.assert_clean();
}
