//! What holds whatever people, networks and liars do. The world checks consent, sessions, ids and bounds at every effect;
//! what is left for here is that everything ends.

use parlor_media::CameraState;
use parlor_net::{
    OfflineReason,
    signalling::{Body, ByeReason, CallKind, DeclineReason},
};
use proptest::prelude::*;

use super::world::{Network, World, direct, id, ms, secs};
use crate::call::{Input, MediaInput};

const PEOPLE: u8 = 3;

/// Something that may happen in an honest world.
#[derive(Clone, Debug)]
enum Step {
    Call { from: usize, to: usize, kind: CallKind },
    Person { who: usize, input: Input },
    Wait { millis: u64 },
    CutMedia(bool),
    CutSignalling(bool),
    Offline { who: usize, of: usize, reason: OfflineReason },
    Online { who: usize, of: usize },
}

/// Something that a liar, or a broken media engine, may add. The call is one of those that exist, or none.
#[derive(Clone, Debug)]
enum Lie {
    Signal { from: usize, to: usize, call: u128, body: Body },
    SignalFailed { from: usize, to: usize, call: u128 },
    Media { who: usize, call: u128, event: MediaInput },
}

fn person() -> impl Strategy<Value = usize> {
    0..usize::from(PEOPLE)
}

fn kind() -> impl Strategy<Value = CallKind> {
    prop_oneof![Just(CallKind::Video), Just(CallKind::Audio)]
}

fn offline_reason() -> impl Strategy<Value = OfflineReason> {
    prop_oneof![Just(OfflineReason::Left), Just(OfflineReason::Lost)]
}

fn persons_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        6 => Just(Input::Accept),
        1 => Just(Input::Decline),
        2 => Just(Input::HangUp),
        1 => any::<bool>().prop_map(Input::SetCamera),
        1 => any::<bool>().prop_map(Input::SetMicrophone),
        1 => Just(Input::Share(parlor_media::ScreenSource::Default)),
        1 => Just(Input::StopSharing),
        1 => Just(Input::NetworkChanged),
        1 => Just(Input::Shutdown),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (person(), person(), kind()).prop_map(|(from, to, kind)| Step::Call { from, to, kind }),
        8 => (person(), persons_input()).prop_map(|(who, input)| Step::Person { who, input }),
        8 => prop_oneof![0..20_u64, 0..1000_u64, 0..20_000_u64].prop_map(|millis| Step::Wait { millis }),
        1 => any::<bool>().prop_map(Step::CutMedia),
        1 => any::<bool>().prop_map(Step::CutSignalling),
        1 => (person(), person(), offline_reason()).prop_map(|(who, of, reason)| Step::Offline { who, of, reason }),
        1 => (person(), person()).prop_map(|(who, of)| Step::Online { who, of }),
    ]
}

fn body() -> impl Strategy<Value = Body> {
    let text = || prop_oneof![Just("description #0"), Just("description #1"), Just("garbage")].prop_map(str::to_owned);
    prop_oneof![
        3 => (kind(), text()).prop_map(|(kind, offer)| Body::Invite { name: "liar".into(), kind, offer }),
        1 => Just(Body::Ringing),
        1 => text().prop_map(|answer| Body::Accept { answer }),
        1 => Just(Body::Decline { reason: DeclineReason::Busy }),
        2 => text().prop_map(|candidate| Body::Candidate { candidate }),
        1 => text().prop_map(|offer| Body::Restart { offer }),
        1 => text().prop_map(|answer| Body::RestartAnswer { answer }),
        1 => Just(Body::RestartPlease),
        1 => any::<(bool, bool, bool)>()
            .prop_map(|(camera, microphone, screen)| Body::Media { camera, microphone, screen }),
        1 => Just(Body::Bye { reason: ByeReason::HungUp }),
        1 => Just(Body::Bye { reason: ByeReason::NoAnswer }),
        1 => Just(Body::Unknown),
    ]
}

fn media_event() -> impl Strategy<Value = MediaInput> {
    prop_oneof![
        1 => Just(MediaInput::OfferReady("description #0".into())),
        1 => Just(MediaInput::AnswerReady("description #0".into())),
        1 => Just(MediaInput::Refused("no".into())),
        2 => Just(MediaInput::LocalCandidate("candidate #0".into())),
        2 => Just(MediaInput::Connected(direct())),
        2 => Just(MediaInput::Disconnected),
        1 => Just(MediaInput::Failed("no".into())),
        1 => Just(MediaInput::Camera(CameraState::Closed)),
        1 => Just(MediaInput::Camera(CameraState::TestCard)),
        1 => any::<bool>().prop_map(MediaInput::Screen),
    ]
}

fn lie() -> impl Strategy<Value = Lie> {
    let call = || 0..12_u128;
    prop_oneof![
        4 => (person(), person(), call(), body())
            .prop_map(|(from, to, call, body)| Lie::Signal { from, to, call, body }),
        1 => (person(), person(), call()).prop_map(|(from, to, call)| Lie::SignalFailed { from, to, call }),
        2 => (person(), call(), media_event()).prop_map(|(who, call, event)| Lie::Media { who, call, event }),
    ]
}

fn network() -> impl Strategy<Value = Network> {
    let delay = prop_oneof![Just((0, 0)), Just((5, 5)), Just((0, 300)), Just((0, 4000))];
    (delay, prop_oneof![Just(0), Just(2), Just(10)])
        .prop_map(|((shortest, longest), duplicates)| Network { delay: (ms(shortest), ms(longest)), duplicates })
}

/// Calls get ids that are not in the order of time, so that glare goes either way.
fn take(world: &mut World, step: Step, calls: &mut u128) {
    match step {
        Step::Call { from, to, kind } => {
            *calls += 1;
            world.call(from, to, *calls ^ 5, kind);
        }
        Step::Person { who, input } => world.input(who, input),
        Step::Wait { millis } => world.run(ms(millis)),
        Step::CutMedia(true) => world.cut_media(),
        Step::CutMedia(false) => world.mend_media(),
        Step::CutSignalling(true) => world.cut_signalling(),
        Step::CutSignalling(false) => world.mend_signalling(),
        Step::Offline { who, of, reason } => world.offline(who, of, reason),
        Step::Online { who, of } => world.online(who, of),
    }
}

fn tell(world: &mut World, lie: Lie) {
    match lie {
        Lie::Signal { from, to, call, body } => world.forge(from, to, call, body),
        Lie::SignalFailed { from, to, call } => {
            let input = Input::SignalFailed { peer: world.peer(from), call: id(call) };
            world.input(to, input);
        }
        Lie::Media { who, call, event } => world.media_event(who, call, event),
    }
}

/// A regression file would need a place in the tree; a failure prints what is needed to repeat it.
fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(1500))]

    /// When one of two leaves, in whatever way and over whatever network, the other one is free again soon, and nothing
    /// is left open.
    #[test]
    fn both_sides_come_to_an_end(
        network in network(), seed in any::<u64>(), steps in prop::collection::vec(step(), 1..60),
        stays in person(),
    ) {
        let mut world = World::new(PEOPLE, network, seed);
        let mut calls = 0;
        for step in steps {
            take(&mut world, step, &mut calls);
        }
        for who in (0..usize::from(PEOPLE)).filter(|&who| who != stays) {
            world.input(who, Input::HangUp);
        }
        world.run(secs(20));
        // Invitations that were under way may have begun to ring meanwhile; nobody answers.
        world.run(secs(100));
        for who in (0..usize::from(PEOPLE)).filter(|&who| who != stays) {
            prop_assert!(world.people[who].machine.is_free(), "{:?}", world.state(who));
        }
        world.assert_clean();
    }

    /// Liars can annoy. They can't make a machine break an invariant, and hanging up always works.
    #[test]
    fn lies_break_no_invariant(
        network in network(), seed in any::<u64>(),
        steps in prop::collection::vec(prop_oneof![
            2 => step().prop_map(Ok), 3 => lie().prop_map(Err),
        ], 1..80),
    ) {
        let mut world = World::new(PEOPLE, network, seed);
        let mut calls = 0;
        for step in steps {
            match step {
                Ok(step) => take(&mut world, step, &mut calls),
                Err(lie) => tell(&mut world, lie),
            }
        }
        for who in 0..usize::from(PEOPLE) {
            world.input(who, Input::Shutdown);
            prop_assert!(world.people[who].machine.is_free());
        }
    }
}
