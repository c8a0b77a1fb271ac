use proptest::prelude::*;

use super::*;
use crate::signalling::{ByeReason, CallKind};

const CALL: CallId = CallId::from_bits(7);

fn invite() -> Body {
    Body::Invite { name: "Ann".into(), kind: CallKind::Video, offer: "v=0".into() }
}

fn candidate(n: usize) -> Body {
    Body::Candidate { candidate: n.to_string() }
}

fn link(n: usize) -> ConnectionId {
    ConnectionId::new_unchecked(n)
}

/// One direction of a stream in flight.
#[derive(Debug)]
enum Wire {
    Frame(StreamId, Vec<u8>),
    End(StreamId),
}

struct Side {
    calls: Calls,
    me: PeerId,
    /// What is on its way to this side.
    inbound: VecDeque<Wire>,
    events: Vec<Event>,
}

/// Two sides over connections that keep order and can be cut. Stream ids of the other side are odd, as in the handler.
struct Pair {
    sides: [Side; 2],
    connections: Vec<ConnectionId>,
    connections_made: usize,
    now: Instant,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let side =
            || Side { calls: Calls::new(now), me: PeerId::random(), inbound: VecDeque::new(), events: Vec::new() };
        Self { sides: [side(), side()], connections: Vec::new(), connections_made: 0, now }
    }

    fn connected() -> Self {
        let mut pair = Self::new();
        pair.connect();
        pair
    }

    fn connect(&mut self) -> ConnectionId {
        self.connect_by(Path::Direct)
    }

    fn connect_by(&mut self, path: Path) -> ConnectionId {
        self.connections_made += 1;
        let connection = link(self.connections_made);
        self.connections.push(connection);
        for i in 0..2 {
            let other = self.sides[1 - i].me;
            self.sides[i].calls.connected(other, connection, path);
        }
        self.carry_out();
        connection
    }

    /// What is on its way is lost.
    fn cut(&mut self, connection: ConnectionId) {
        self.connections.retain(|c| *c != connection);
        for i in 0..2 {
            let other = self.sides[1 - i].me;
            self.sides[i].inbound.retain(|wire| match wire {
                Wire::Frame(stream, _) | Wire::End(stream) => stream.connection != connection,
            });
            self.sides[i].calls.disconnected(other, connection);
        }
        self.carry_out();
    }

    fn send(&mut self, from: usize, call: CallId, body: Body) {
        let to = self.sides[1 - from].me;
        let now = self.now;
        self.sides[from].calls.send(now, to, call, body);
        self.carry_out();
    }

    fn close(&mut self, from: usize, call: CallId) {
        let to = self.sides[1 - from].me;
        let now = self.now;
        self.sides[from].calls.close(now, to, call);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        for i in 0..2 {
            while let Some(effect) = self.sides[i].calls.poll_effect() {
                match effect {
                    Effect::Write { stream, bytes, .. } if self.connections.contains(&stream.connection) => {
                        self.sides[1 - i].inbound.push_back(Wire::Frame(mirror(stream), bytes));
                    }
                    Effect::Close { stream, .. } if self.connections.contains(&stream.connection) => {
                        self.sides[1 - i].inbound.push_back(Wire::End(mirror(stream)));
                    }
                    Effect::Write { .. } | Effect::Close { .. } | Effect::Open { .. } | Effect::Reach { .. } => {}
                    Effect::Event(event) => self.sides[i].events.push(event),
                }
            }
        }
    }

    /// One thing arrives at `to`.
    fn deliver(&mut self, to: usize) -> bool {
        let from = self.sides[1 - to].me;
        let now = self.now;
        match self.sides[to].inbound.pop_front() {
            None => return false,
            Some(Wire::Frame(stream, bytes)) => self.sides[to].calls.received(now, from, stream, &bytes),
            Some(Wire::End(stream)) => self.sides[to].calls.stream_ended(from, stream, StreamEnd::Closed),
        }
        self.carry_out();
        true
    }

    fn settle(&mut self) {
        while self.deliver(0) || self.deliver(1) {}
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        let now = self.now;
        for side in &mut self.sides {
            side.calls.handle_timeout(now);
        }
        self.carry_out();
    }

    fn signals(&self, to: usize) -> Vec<Body> {
        self.sides[to]
            .events
            .iter()
            .filter_map(|event| match event {
                Event::Signal { body, .. } => Some(body.clone()),
                _ => None,
            })
            .collect()
    }

    fn failures(&self, of: usize) -> usize {
        self.sides[of].events.iter().filter(|event| matches!(event, Event::SignalFailed { .. })).count()
    }
}

/// The same stream as the other end numbers it.
fn mirror(stream: StreamId) -> StreamId {
    StreamId { number: stream.number ^ 1, ..stream }
}

#[test]
fn messages_go_both_ways_on_one_stream() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    pair.settle();
    pair.send(1, CALL, Body::Ringing);
    pair.send(1, CALL, Body::Accept { answer: "v=0".into() });
    pair.send(0, CALL, candidate(1));
    pair.settle();
    assert_eq!(pair.signals(1), [invite(), candidate(1)]);
    assert_eq!(pair.signals(0), [Body::Ringing, Body::Accept { answer: "v=0".into() }]);
    assert!(pair.sides.iter().all(|side| side.calls.is_idle() && side.calls.bound.len() == 1));
}

#[test]
fn a_direct_way_is_preferred_to_a_newer_one_through_a_relay() {
    let mut pair = Pair::new();
    pair.connect_by(Path::Relayed);
    let direct = pair.connect();
    pair.connect_by(Path::Relayed);
    pair.send(0, CALL, invite());
    pair.settle();
    assert_eq!(pair.signals(1), [invite()]);
    assert!(pair.sides[1].calls.bound.keys().all(|stream| stream.connection == direct));
    pair.cut(direct);
    pair.send(0, CALL, candidate(1));
    pair.settle();
    assert_eq!(pair.signals(1), [invite(), candidate(1)], "and without it the call goes on through the relay");
}

#[test]
fn a_call_leaves_a_relayed_way_that_is_dead_before_anybody_says_so() {
    for silenced in [0, 1] {
        let mut pair = Pair::new();
        pair.connect_by(Path::Relayed);
        pair.send(0, CALL, invite());
        pair.settle();
        // What is sent from now on is lost, and nobody is told.
        pair.connections.clear();
        pair.send(silenced, CALL, candidate(1));
        let (now, other) = (pair.now + NUDGE_AFTER, pair.sides[1 - silenced].me);
        pair.sides[silenced].calls.handle_timeout(now);
        assert_eq!(pair.sides[silenced].calls.poll_effect(), Some(Effect::Reach { peer: other }));
        assert_eq!(pair.sides[silenced].calls.poll_effect(), None);
        pair.connect_by(Path::Relayed);
        pair.settle();
        assert_eq!(pair.signals(1 - silenced).last(), Some(&candidate(1)));
        pair.pass(DELIVER_WITHIN);
        assert_eq!(pair.failures(0) + pair.failures(1), 0);
    }
}

#[test]
fn only_an_invitation_opens_a_call() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, Body::Ringing);
    assert_eq!((pair.failures(0), pair.sides[1].inbound.len()), (1, 0));
    // Nor from a peer who tries it all the same.
    let (eve, now) = (pair.sides[0].me, pair.now);
    for body in [Body::Bye { reason: ByeReason::HungUp }, Body::Accept { answer: String::new() }, Body::Unknown] {
        let envelope = Envelope::Message { call: CALL, seq: 1, ack: 0, body };
        let stream = StreamId { connection: link(1), number: 99 };
        pair.sides[1].calls.received(now, eve, stream, &envelope.encode());
    }
    pair.carry_out();
    assert!(pair.sides[1].events.is_empty() && pair.sides[1].calls.calls.is_empty());
}

#[test]
fn nobody_can_speak_in_a_call_of_others() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    pair.settle();
    let (eve, now) = (PeerId::random(), pair.now);
    pair.sides[1].calls.connected(eve, link(50), Path::Direct);
    let envelope = Envelope::Message { call: CALL, seq: 2, ack: 0, body: Body::Bye { reason: ByeReason::HungUp } };
    pair.sides[1].calls.received(now, eve, StreamId { connection: link(50), number: 1 }, &envelope.encode());
    pair.carry_out();
    pair.settle();
    assert_eq!(pair.signals(1), [invite()]);
}

#[test]
fn messages_that_a_lost_connection_swallowed_are_repeated_on_another() {
    let mut pair = Pair::connected();
    let second = pair.connect();
    pair.send(0, CALL, invite());
    pair.settle();
    pair.send(0, CALL, candidate(1));
    pair.send(1, CALL, Body::Ringing);
    pair.cut(second);
    pair.send(0, CALL, candidate(2));
    pair.settle();
    assert_eq!(pair.signals(1), [invite(), candidate(1), candidate(2)]);
    assert_eq!(pair.signals(0), [Body::Ringing]);
}

#[test]
fn messages_wait_for_a_new_connection_until_the_deadline() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    pair.settle();
    pair.cut(link(1));
    pair.send(0, CALL, candidate(1));
    pair.pass(DELIVER_WITHIN - Duration::from_millis(1));
    assert_eq!(pair.failures(0), 0);
    pair.connect();
    pair.settle();
    assert_eq!(pair.signals(1), [invite(), candidate(1)]);

    pair.cut(link(2));
    pair.send(0, CALL, candidate(2));
    pair.send(1, CALL, candidate(3));
    pair.pass(DELIVER_WITHIN);
    assert_eq!((pair.failures(0), pair.failures(1)), (1, 1));
}

#[test]
fn who_was_called_looks_for_a_way_when_the_stream_breaks_under_their_words() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    pair.settle();
    let (caller, connection) = (pair.sides[0].me, link(1));
    let breaks = |pair: &mut Pair| {
        let callee = &mut pair.sides[1].calls;
        callee.disconnected(caller, connection);
        std::iter::from_fn(|| callee.poll_effect()).collect::<Vec<_>>()
    };
    pair.send(1, CALL, Body::RestartPlease);
    assert_eq!(breaks(&mut pair), [Effect::Reach { peer: caller }]);
    assert_eq!(breaks(&mut pair), [], "once");

    let mut silent = Pair::connected();
    silent.send(0, CALL, invite());
    silent.settle();
    let callee = &mut silent.sides[1].calls;
    callee.disconnected(silent.sides[0].me, connection);
    assert_eq!(callee.poll_effect(), None, "there is nothing to say");
}

#[test]
fn who_is_offline_fails_at_once_and_only_once() {
    let mut pair = Pair::new();
    let peer = pair.sides[1].me;
    pair.send(0, CALL, invite());
    pair.sides[0].calls.unreachable(peer);
    pair.carry_out();
    assert_eq!(pair.failures(0), 1);
    pair.send(0, CALL, Body::Bye { reason: ByeReason::Cancelled });
    pair.pass(DELIVER_WITHIN);
    assert_eq!(pair.failures(0), 1);
}

#[test]
fn the_last_word_is_delivered_before_a_closed_call_ends() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    pair.settle();
    pair.send(0, CALL, Body::Bye { reason: ByeReason::HungUp });
    pair.close(0, CALL);
    pair.send(0, CALL, candidate(9));
    pair.settle();
    pair.close(1, CALL);
    pair.settle();
    assert_eq!(pair.signals(1), [invite(), Body::Bye { reason: ByeReason::HungUp }]);
    for side in &pair.sides {
        assert!(side.calls.calls.is_empty() && side.calls.bound.is_empty());
        assert_eq!(side.calls.poll_timeout(), None);
    }
}

#[test]
fn a_closed_call_that_nobody_acknowledges_ends_all_the_same() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    pair.close(0, CALL);
    pair.pass(LINGER);
    assert!(pair.sides[0].calls.calls.is_empty());
    assert_eq!(pair.failures(0), 0);
}

#[test]
fn who_speaks_in_a_call_that_the_other_side_has_closed_is_told_so() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    pair.settle();
    pair.close(1, CALL);
    pair.settle();
    pair.send(0, CALL, candidate(1));
    pair.settle();
    assert_eq!(pair.signals(1), [invite()]);
    assert_eq!(pair.failures(0), 1);
}

#[test]
fn a_hundred_invitations_in_a_second_are_cut_down_and_another_peer_still_gets_through() {
    let mut pair = Pair::connected();
    for n in 0..100 {
        pair.send(0, CallId::from_bits(n), invite());
        pair.pass(Duration::from_millis(10));
        pair.settle();
    }
    assert_eq!(pair.signals(1).len(), INVITATION_BURST as usize);
    assert_eq!(pair.failures(0), 100 - INVITATION_BURST as usize);
    let (other, now) = (PeerId::random(), pair.now);
    pair.sides[1].calls.connected(other, link(60), Path::Direct);
    let envelope = Envelope::Message { call: CALL, seq: 1, ack: 0, body: invite() };
    pair.sides[1].calls.received(now, other, StreamId { connection: link(60), number: 1 }, &envelope.encode());
    pair.carry_out();
    assert_eq!(pair.signals(1).len(), INVITATION_BURST as usize + 1);
}

#[test]
fn whose_invitations_are_accepted_does_not_run_out_of_them() {
    let mut pair = Pair::connected();
    for n in 0..10 * u128::from(INVITATION_BURST) {
        let call = CallId::from_bits(n);
        pair.send(0, call, invite());
        pair.settle();
        pair.send(1, call, Body::Accept { answer: "v=0".into() });
        pair.settle();
        pair.close(0, call);
        pair.close(1, call);
        pair.settle();
    }
    assert_eq!(pair.failures(0), 0);
}

#[test]
fn one_peer_can_have_only_so_many_calls_open() {
    let mut pair = Pair::connected();
    for n in 0..50 {
        pair.send(0, CallId::from_bits(n), invite());
        pair.settle();
        pair.pass(Duration::from_secs(60));
    }
    assert_eq!(pair.signals(1).len(), MAX_CALLS_FROM_PEER);
    pair.close(1, CallId::from_bits(0));
    pair.settle();
    pair.send(0, CallId::from_bits(100), invite());
    pair.settle();
    assert_eq!(pair.signals(1).len(), MAX_CALLS_FROM_PEER + 1);
}

#[test]
fn a_flood_of_messages_ends_the_call_on_both_sides() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    pair.settle();
    for n in 0..MESSAGE_BURST as usize + 10 {
        pair.send(0, CALL, candidate(n));
        pair.settle();
    }
    assert_eq!((pair.failures(0), pair.failures(1)), (1, 1));
    assert_eq!(pair.signals(1).len(), MESSAGE_BURST as usize);
}

#[test]
fn what_can_not_be_delivered_does_not_pile_up() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    pair.settle();
    for n in 0..1000 {
        pair.send(0, CALL, candidate(n));
    }
    assert_eq!(pair.failures(0), 1);
    assert!(pair.sides[0].inbound.len() + pair.sides[1].inbound.len() <= MAX_UNACKNOWLEDGED + 1);
}

#[test]
fn a_message_that_is_too_long_fails_the_call_at_once() {
    let mut pair = Pair::connected();
    let offer = "x".repeat(MAX_MESSAGE_BYTES);
    pair.send(0, CALL, Body::Invite { name: String::new(), kind: CallKind::Audio, offer });
    assert_eq!((pair.failures(0), pair.sides[1].inbound.len()), (1, 0));
}

#[test]
fn a_later_version_of_the_envelope_is_turned_away_in_words() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    // What the callee gets is of a version it does not know.
    let Some(Wire::Frame(stream, _)) = pair.sides[1].inbound.pop_front() else { panic!("an invitation is on its way") };
    let text = format!(r#"{{"v":9,"call":"{CALL}"}}"#);
    pair.sides[1].inbound.push_back(Wire::Frame(stream, text.into_bytes()));
    pair.settle();
    let failed = Event::SignalFailed {
        peer: pair.sides[1].me,
        call: CALL,
        error: "the other side speaks another version".into(),
    };
    assert_eq!(pair.sides[0].events, [failed]);
}

#[test]
fn an_unknown_kind_of_message_is_acknowledged_and_ignored() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    pair.settle();
    pair.send(0, CALL, Body::Unknown);
    pair.send(0, CALL, candidate(1));
    pair.settle();
    assert_eq!(pair.signals(1), [invite(), candidate(1)]);
    assert!(pair.sides[0].calls.is_idle());
}

#[test]
fn a_peer_that_breaks_every_stream_is_given_up() {
    let mut pair = Pair::connected();
    pair.send(0, CALL, invite());
    let mut opened = 0;
    while let Some(Wire::Frame(stream, _)) = pair.sides[1].inbound.pop_front() {
        opened += 1;
        let other = pair.sides[1].me;
        pair.sides[0].calls.stream_ended(other, mirror(stream), StreamEnd::Broken);
        pair.carry_out();
    }
    assert_eq!((opened, pair.failures(0)), (MAX_REOPENINGS + 1, 1));
}

#[test]
fn the_memory_of_ended_calls_is_bounded() {
    let mut pair = Pair::connected();
    for n in 0..10_000 {
        pair.close(0, CallId::from_bits(n));
    }
    assert_eq!((pair.sides[0].calls.ended.len(), pair.sides[0].calls.ended_set.len()), (MAX_ENDED, MAX_ENDED));
}

#[derive(Clone, Debug)]
enum Step {
    Send(usize),
    Deliver(usize),
    Connect(bool),
    Cut(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2_usize).prop_map(Step::Send),
        8 => (0..2_usize).prop_map(Step::Deliver),
        1 => any::<bool>().prop_map(Step::Connect),
        1 => any::<prop::sample::Index>().prop_map(Step::Cut),
    ]
}

proptest! {
    /// However connections come and go under a call: each side gets what the other said, in order, each once.
    #[test]
    fn every_message_arrives_in_order_and_once(steps in prop::collection::vec(step(), 0..120)) {
        let mut pair = Pair::connected();
        pair.send(0, CALL, invite());
        pair.settle();
        let mut said = [vec![invite()], Vec::new()];
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                Step::Send(from) => {
                    pair.send(from, CALL, candidate(n));
                    said[from].push(candidate(n));
                }
                Step::Deliver(to) => {
                    pair.deliver(to);
                }
                Step::Connect(relayed) if pair.connections.len() < 3 => {
                    pair.connect_by(if relayed { Path::Relayed } else { Path::Direct });
                }
                Step::Cut(which) if !pair.connections.is_empty() => {
                    let connection = pair.connections[which.index(pair.connections.len())];
                    pair.cut(connection);
                }
                Step::Connect(_) | Step::Cut(_) => {}
            }
        }
        prop_assume!(said.iter().all(|said| said.len() < MAX_UNACKNOWLEDGED));
        pair.connect();
        pair.settle();
        if pair.failures(0) + pair.failures(1) == 0 {
            prop_assert_eq!(&pair.signals(1), &said[0]);
            prop_assert_eq!(&pair.signals(0), &said[1]);
            prop_assert!(pair.sides.iter().all(|side| side.calls.is_idle()));
        } else {
            // Given up after too many broken streams: even then what arrived is what was said first.
            prop_assert!(said[0].starts_with(&pair.signals(1)));
            prop_assert!(said[1].starts_with(&pair.signals(0)));
        }
    }

    #[test]
    fn whatever_a_peer_sends_state_stays_bounded(frames in prop::collection::vec((0..40_u64, any::<u8>(), 0..4_u64, 0..6_u8), 0..300)) {
        let now = Instant::now();
        let (mut calls, peer) = (Calls::new(now), PeerId::random());
        calls.connected(peer, link(1), Path::Direct);
        for (number, call, seq, kind) in frames {
            let call = CallId::from_bits(u128::from(call));
            let bytes = match kind {
                0 => Envelope::Message { call, seq, ack: seq, body: invite() }.encode(),
                1 => Envelope::Message { call, seq, ack: u64::MAX, body: Body::Ringing }.encode(),
                2 => Envelope::Ack { call, ack: seq }.encode(),
                3 => Envelope::Reject { call, reason: RejectReason::UnknownCall }.encode(),
                4 => b"{\"v\":2}".to_vec(),
                _ => vec![0; seq as usize],
            };
            calls.received(now, peer, StreamId { connection: link(1), number: 2 * number + 1 }, &bytes);
            while calls.poll_effect().is_some() {}
            prop_assert!(calls.calls.len() <= MAX_CALLS_FROM_PEER);
            prop_assert!(calls.bound.len() <= calls.calls.len());
        }
    }
}
