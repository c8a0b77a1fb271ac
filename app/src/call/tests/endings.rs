//! Every way in which a call ends, what each side is told, and that nothing is left open.

use parlor_net::{OfflineReason, signalling::Body, signalling::CallKind};

use super::world::{ANN, BOB, GARBAGE, World, id, ms, secs};
use crate::call::{EndReason, Input, MediaInput, State};

/// Ann calls Bob; `how` ends it at the named moment. Both hear why, both are clean, and can call again.
fn ends(moment: Moment, how: impl Fn(&mut World), ann: &[EndReason], bob: &[EndReason]) {
    let mut world = match moment {
        Moment::BeforeTheInvitation => {
            let mut world = World::pair();
            world.call(ANN, BOB, 1, CallKind::Video);
            world
        }
        Moment::OnItsWay => {
            let mut world = World::pair();
            world.call(ANN, BOB, 1, CallKind::Video);
            world.run(ms(4));
            assert!(world.people[BOB].machine.is_free());
            world
        }
        Moment::Ringing => {
            let mut world = World::pair();
            world.call(ANN, BOB, 1, CallKind::Video);
            world.run(secs(1));
            assert!(matches!(world.state(BOB), State::Ringing(_)));
            world
        }
        Moment::Negotiating => {
            let mut world = World::pair();
            world.cut_media();
            world.call(ANN, BOB, 1, CallKind::Video);
            world.run(secs(1));
            world.input(BOB, Input::Accept);
            world.run(ms(100));
            assert!(matches!(world.state(ANN), State::Negotiating(_)));
            world
        }
        Moment::Talking => World::talking(),
        Moment::Reconnecting => {
            let mut world = World::talking();
            world.cut_media();
            world.run(secs(4));
            assert!(matches!(world.state(ANN), State::Reconnecting(_)));
            world
        }
    };
    how(&mut world);
    world.run(secs(60));
    assert_eq!((world.reasons(ANN).as_slice(), world.reasons(BOB).as_slice()), (ann, bob));
    world.assert_clean();

    world.mend_signalling();
    world.mend_media();
    for who in [ANN, BOB] {
        if world.people[who].dead {
            world.revive(who);
        }
    }
    world.call(BOB, ANN, 2, CallKind::Audio);
    world.run(secs(1));
    world.input(ANN, Input::Accept);
    world.run(secs(1));
    assert!(matches!(world.state(BOB), State::Connected(_)), "the next call starts clean: {:?}", world.state(BOB));
}

#[derive(Clone, Copy)]
enum Moment {
    BeforeTheInvitation,
    OnItsWay,
    Ringing,
    Negotiating,
    Talking,
    Reconnecting,
}

use Moment::{BeforeTheInvitation, Negotiating, OnItsWay, Reconnecting, Ringing, Talking};

#[test]
fn the_caller_takes_the_invitation_back() {
    let hang_up = |world: &mut World| world.input(ANN, Input::HangUp);
    ends(BeforeTheInvitation, hang_up, &[EndReason::Cancelled], &[]);
    ends(OnItsWay, hang_up, &[EndReason::Cancelled], &[EndReason::RemoteCancelled]);
    ends(Ringing, hang_up, &[EndReason::Cancelled], &[EndReason::RemoteCancelled]);
}

#[test]
fn the_callee_declines() {
    for input in [Input::Decline, Input::HangUp, Input::Shutdown] {
        let decline = |world: &mut World| world.input(BOB, input.clone());
        ends(Ringing, decline, &[EndReason::RemoteDeclined], &[EndReason::Declined]);
    }
}

#[test]
fn the_callee_changes_their_mind_before_the_answer_is_written() {
    let accept_and_hang_up = |world: &mut World| {
        world.run(ms(5));
        world.input(BOB, Input::Accept);
        world.input(BOB, Input::HangUp);
    };
    ends(OnItsWay, accept_and_hang_up, &[EndReason::RemoteDeclined], &[EndReason::HungUp]);
}

#[test]
fn nobody_answers() {
    ends(Ringing, |_| {}, &[EndReason::NoAnswer], &[EndReason::Missed]);
}

#[test]
fn the_callers_patience_ends_first_and_after_thirty_seconds() {
    let mut world = World::pair();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.run(ms(29_990));
    assert!(matches!(world.state(ANN), State::Inviting(_)));
    world.run(ms(20));
    assert_eq!(world.reasons(ANN), [EndReason::NoAnswer]);
    assert_eq!(world.sent(BOB, |body| matches!(body, Body::Decline { .. })), 0);
}

#[test]
fn ringing_ends_by_itself_when_the_caller_falls_silent() {
    let die = |world: &mut World| world.kill(ANN);
    ends(Ringing, die, &[], &[EndReason::Missed]);
}

#[test]
fn either_hangs_up() {
    for input in [Input::HangUp, Input::Shutdown] {
        for moment in [Negotiating, Talking, Reconnecting] {
            let ann = |world: &mut World| world.input(ANN, input.clone());
            ends(moment, ann, &[EndReason::HungUp], &[EndReason::RemoteHungUp]);
            let bob = |world: &mut World| world.input(BOB, input.clone());
            ends(moment, bob, &[EndReason::RemoteHungUp], &[EndReason::HungUp]);
        }
    }
}

#[test]
fn the_callee_can_not_be_reached() {
    let cut = |world: &mut World| world.cut_signalling();
    ends(BeforeTheInvitation, cut, &[EndReason::Unreachable], &[]);
    let die = |world: &mut World| world.kill(BOB);
    ends(BeforeTheInvitation, die, &[EndReason::Unreachable], &[]);
}

#[test]
fn an_invitation_that_is_not_answered_by_ringing_is_given_up_after_five_seconds() {
    let mut world = World::pair();
    world.call(ANN, BOB, 1, CallKind::Video);
    world.run(ms(4));
    world.people[BOB].dead = true;
    world.run(ms(4_990));
    assert!(matches!(world.state(ANN), State::Inviting(_)));
    world.run(ms(20));
    assert_eq!(world.reasons(ANN), [EndReason::Unreachable]);
}

#[test]
fn a_callee_who_goes_offline_is_unreachable_at_once() {
    for reason in [OfflineReason::Left, OfflineReason::Lost] {
        let gone = |world: &mut World| {
            world.kill(BOB);
            world.offline(ANN, BOB, reason);
            assert_eq!(world.reasons(ANN), [EndReason::Unreachable]);
        };
        ends(Ringing, gone, &[EndReason::Unreachable], &[]);
    }
}

#[test]
fn a_caller_who_goes_offline_stops_ringing_at_once() {
    for (reason, told) in
        [(OfflineReason::Left, EndReason::RemoteCancelled), (OfflineReason::Lost, EndReason::Unreachable)]
    {
        let gone = |world: &mut World| {
            world.kill(ANN);
            world.offline(BOB, ANN, reason);
            assert_eq!(world.reasons(BOB), [told]);
        };
        ends(Ringing, gone, &[], &[told]);
    }
}

#[test]
fn an_offer_that_can_not_be_used_is_declined_as_incompatible() {
    let refuse = |world: &mut World| world.media_event(BOB, 1, MediaInput::Refused(GARBAGE.into()));
    ends(Ringing, refuse, &[EndReason::Incompatible], &[EndReason::Incompatible]);

    let mut world = World::pair();
    let garbage = Body::Invite { name: "Ann".into(), kind: CallKind::Video, offer: GARBAGE.into() };
    world.forge(ANN, BOB, 1, garbage);
    world.input(BOB, Input::Accept);
    world.run(secs(1));
    assert_eq!(world.reasons(BOB), [EndReason::Incompatible]);
    world.assert_clean();
}

#[test]
fn an_answer_that_can_not_be_used_ends_the_call() {
    let garbage = |world: &mut World| world.forge(BOB, ANN, 1, Body::Accept { answer: GARBAGE.into() });
    ends(Ringing, garbage, &[EndReason::Incompatible], &[EndReason::MediaFailed]);
}

#[test]
fn media_fails_on_either_side() {
    let fail = |who: usize| move |world: &mut World| world.media_event(who, 1, MediaInput::Failed("broken".into()));
    ends(BeforeTheInvitation, fail(ANN), &[EndReason::MediaFailed], &[]);
    for moment in [Ringing, Negotiating, Talking] {
        ends(moment, fail(ANN), &[EndReason::MediaFailed], &[EndReason::MediaFailed]);
        ends(moment, fail(BOB), &[EndReason::MediaFailed], &[EndReason::MediaFailed]);
    }
    ends(Reconnecting, fail(BOB), &[EndReason::ConnectionLost], &[EndReason::ConnectionLost]);
}

#[test]
fn a_media_engine_that_never_answers_is_given_up() {
    let mut world = World::pair();
    let call = Input::Call {
        call: id(1),
        peer: world.peer(BOB),
        name: "Bob".into(),
        my_name: "Ann".into(),
        kind: CallKind::Video,
    };
    let mut silent = crate::call::CallMachine::new(world.peer(ANN));
    silent.handle(world.now, call);
    silent.handle_timeout(silent.poll_timeout().unwrap());
    assert!(silent.is_free());

    world.forge(
        ANN,
        BOB,
        2,
        Body::Invite { name: "Ann".into(), kind: CallKind::Video, offer: "description #0".into() },
    );
    let mut silent = crate::call::CallMachine::new(world.peer(ANN));
    let invite = Body::Invite { name: "Bob".into(), kind: CallKind::Video, offer: String::new() };
    silent.handle(world.now, Input::Signal { peer: world.peer(BOB), call: id(3), body: invite });
    silent.handle(world.now, Input::Accept);
    silent.handle_timeout(silent.poll_timeout().unwrap());
    assert!(silent.is_free());
}

#[test]
fn media_that_finds_no_path_fails_after_fifteen_seconds() {
    ends(Negotiating, |_| {}, &[EndReason::MediaFailed], &[EndReason::MediaFailed]);
}

#[test]
fn somebody_who_says_goodbye_to_everyone_has_hung_up() {
    for moment in [Negotiating, Talking, Reconnecting] {
        let leave = |world: &mut World| {
            world.kill(BOB);
            world.offline(ANN, BOB, OfflineReason::Left);
        };
        ends(moment, leave, &[EndReason::RemoteHungUp], &[]);
    }
}

#[test]
fn a_path_that_does_not_come_back_is_a_lost_connection_for_both() {
    let cut = |world: &mut World| world.cut_media();
    ends(Talking, cut, &[EndReason::ConnectionLost], &[EndReason::ConnectionLost]);
}

#[test]
fn a_cable_that_is_pulled_ends_the_call_on_both_sides_in_a_few_seconds() {
    let pull = |world: &mut World| {
        world.cut_signalling();
        world.cut_media();
        world.run(ms(1500));
        world.offline(ANN, BOB, OfflineReason::Lost);
        world.offline(BOB, ANN, OfflineReason::Lost);
        world.run(ms(3600));
        assert!(world.people[ANN].machine.is_free() && world.people[BOB].machine.is_free());
    };
    ends(Talking, pull, &[EndReason::ConnectionLost], &[EndReason::ConnectionLost]);
    ends(Negotiating, pull, &[EndReason::ConnectionLost], &[EndReason::ConnectionLost]);
}

#[test]
fn a_process_that_is_killed_ends_the_call_in_a_few_seconds() {
    let die = |world: &mut World| {
        world.kill(BOB);
        world.run(ms(1500));
        world.offline(ANN, BOB, OfflineReason::Lost);
        world.run(ms(3600));
        assert!(world.people[ANN].machine.is_free());
    };
    ends(Talking, die, &[EndReason::ConnectionLost], &[]);
}

#[test]
fn whoever_calls_again_has_left_the_old_call_even_if_their_word_for_it_comes_late() {
    let again = || Body::Invite { name: "again".into(), kind: CallKind::Audio, offer: "description #0".into() };
    for (who, other) in [(ANN, BOB), (BOB, ANN)] {
        let mut world = World::talking();
        world.forge(other, who, 2, again());
        assert!(matches!(world.state(who), State::Ringing(_)), "{:?}", world.state(who));
        assert_eq!(world.reasons(who), [EndReason::RemoteHungUp]);
    }

    // To the caller, a smaller id may be that of an invitation that crossed theirs and lost; but not for long.
    let mut world = World::talking();
    world.forge(BOB, ANN, 0, again());
    assert!(matches!(world.state(ANN), State::Connected(_)), "{:?}", world.state(ANN));
    let mut world = World::talking();
    world.run(secs(5));
    world.forge(BOB, ANN, 0, again());
    assert!(matches!(world.state(ANN), State::Ringing(_)), "{:?}", world.state(ANN));
    assert_eq!(world.reasons(ANN), [EndReason::RemoteHungUp]);
}

#[test]
fn the_last_status_is_free_and_a_new_call_may_start_while_the_old_one_closes() {
    let mut world = World::talking();
    world.input(ANN, Input::HangUp);
    world.call(ANN, BOB, 2, CallKind::Video);
    world.run(ms(100));
    assert!(world.state(ANN).is_call(id(2)) && world.state(BOB).is_call(id(2)), "{:?}", world.state(BOB));
    world.input(BOB, Input::Accept);
    world.run(secs(1));
    assert!(matches!(world.state(ANN), State::Connected(_)));
}
