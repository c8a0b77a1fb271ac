//! The bookkeeping of all calls' messages: numbers, acknowledgements, repetition, limits. Pure: time and what streams
//! bring go in, effects come out.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::{Duration, Instant},
};

use libp2p::{PeerId, swarm::ConnectionId};

use super::{
    Body, MAX_MESSAGE_BYTES,
    envelope::{Envelope, EnvelopeError, RejectReason},
};
use crate::{CallId, Event, token_bucket::TokenBucket};

/// How long a message may stay unacknowledged.
const DELIVER_WITHIN: Duration = Duration::from_secs(4);

/// How long a message may stay unacknowledged on a relayed connection before another way is looked for: that the one
/// through the node is dead may show late.
const NUDGE_AFTER: Duration = Duration::from_millis(1200);

/// How long a closed call waits for its last acknowledgements.
const LINGER: Duration = Duration::from_secs(1);

/// How much of one call may be unacknowledged. More: the call fails.
const MAX_UNACKNOWLEDGED: usize = 64;
const MAX_UNACKNOWLEDGED_BYTES: usize = 4 * MAX_MESSAGE_BYTES;

/// How often the stream of one call may break without a message getting through. Then the call fails.
const MAX_REOPENINGS: u32 = 8;

/// How many calls one peer, and all together, may have opened to us. More: the invitation is turned away.
const MAX_CALLS_FROM_PEER: usize = 8;
const MAX_CALLS_FROM_ALL: usize = 64;

/// How many invitations one peer, and all together, may send at once, and per second in the long run.
const INVITATION_BURST: u32 = 5;
const INVITATIONS_PER_SECOND: f64 = 0.5;
const TOTAL_INVITATION_BURST: u32 = 30;
const TOTAL_INVITATIONS_PER_SECOND: f64 = 10.0;

/// How many inviting peers are remembered. Full: whoever may invite again in full is forgotten, or else the newcomer
/// is turned away.
const MAX_INVITERS: usize = 1000;

/// How many messages of one call may come in at once, and per second in the long run. More: the call fails.
const MESSAGE_BURST: u32 = 200;
const MESSAGES_PER_SECOND: f64 = 50.0;

/// How many ended calls are remembered, so that stragglers do not open them again. Full: the oldest is forgotten.
const MAX_ENDED: usize = 256;

/// Names a stream: its number is unique on its connection, even where we opened it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StreamId {
    pub(super) connection: ConnectionId,
    pub(super) number: u64,
}

/// How a connection leads to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// Through a node that relays it.
    Relayed,
    Direct,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamEnd {
    /// The other side closed it.
    Closed,
    /// It broke.
    Broken,
    /// The other side does not speak the protocol.
    Unsupported,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Open {
        peer: PeerId,
        stream: StreamId,
    },
    Write {
        peer: PeerId,
        stream: StreamId,
        bytes: Vec<u8>,
    },
    Close {
        peer: PeerId,
        stream: StreamId,
    },
    /// Something waits for a connection to this peer.
    Reach {
        peer: PeerId,
    },
    Event(Event),
}

type Key = (PeerId, CallId);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// We invited: we open the stream, and open it again.
    Caller,
    /// We were invited.
    Callee,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// Closed by our side. Waits for the last acknowledgements; what comes in is acknowledged and dropped.
    Closing {
        until: Instant,
    },
}

#[derive(Debug)]
struct Unacknowledged {
    seq: u64,
    body: Body,
    bytes: usize,
    since: Instant,
}

#[derive(Debug)]
struct Call {
    role: Role,
    phase: Phase,
    stream: Option<StreamId>,
    /// How the stream's connection leads there.
    path: Path,
    /// The last message for which another way was looked for.
    nudged_for: u64,
    reopenings: u32,
    last_sent: u64,
    last_received: u64,
    unacknowledged: VecDeque<Unacknowledged>,
    budget: TokenBucket,
}

/// All calls' messages.
pub(super) struct Calls {
    calls: HashMap<Key, Call>,
    /// Which call speaks on which stream. A stream that was opened to us is bound by its first message.
    bound: HashMap<StreamId, Key>,
    /// Live connections, the newest last.
    connections: HashMap<PeerId, Vec<(Path, ConnectionId)>>,
    ended: VecDeque<Key>,
    ended_set: HashSet<Key>,
    inviters: HashMap<PeerId, TokenBucket>,
    all_inviters: TokenBucket,
    streams_opened: u64,
    effects: VecDeque<Effect>,
}

impl Calls {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            calls: HashMap::new(),
            bound: HashMap::new(),
            connections: HashMap::new(),
            ended: VecDeque::new(),
            ended_set: HashSet::new(),
            inviters: HashMap::new(),
            all_inviters: TokenBucket::new(TOTAL_INVITATION_BURST, TOTAL_INVITATIONS_PER_SECOND, now),
            streams_opened: 0,
            effects: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Calls::handle_timeout`] wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.calls.values().filter_map(Call::deadline).min()
    }

    /// Whether nothing waits for an acknowledgement.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.values().all(|call| call.unacknowledged.is_empty())
    }

    /// Whether a call speaks on this connection.
    pub(super) fn uses(&self, connection: ConnectionId) -> bool {
        self.bound.keys().any(|stream| stream.connection == connection)
    }

    /// Our side says something. Only an invitation opens a call.
    pub(super) fn send(&mut self, now: Instant, peer: PeerId, id: CallId, body: Body) {
        let key = (peer, id);
        if self.ended_set.contains(&key) {
            tracing::debug!(%peer, call = %id, "a message for an ended call is dropped");
            return;
        }
        if !self.calls.contains_key(&key) {
            if !matches!(body, Body::Invite { .. }) {
                self.event_failed(key, "only an invitation opens a call");
                return;
            }
            self.calls.insert(key, Call::new(Role::Caller, now));
        }
        let Some(call) = self.calls.get_mut(&key) else { return };
        if call.phase != Phase::Running {
            tracing::debug!(%peer, call = %id, "a message for a closed call is dropped");
            return;
        }
        let seq = call.last_sent + 1;
        let bytes = Envelope::Message { call: id, seq, ack: call.last_received, body: body.clone() }.encode();
        // Acknowledgements grow: leave room for the longest number when the message is repeated.
        if bytes.len() + 20 > MAX_MESSAGE_BYTES {
            return self.fail(key, "a message is too long", None);
        }
        let waiting: usize = call.unacknowledged.iter().map(|u| u.bytes).sum();
        if call.unacknowledged.len() >= MAX_UNACKNOWLEDGED || waiting + bytes.len() > MAX_UNACKNOWLEDGED_BYTES {
            return self.fail(key, "too much waits to be delivered", None);
        }
        if call.role == Role::Callee && matches!(body, Body::Accept { .. }) {
            // Who is welcome does not run out of invitations.
            self.inviters.get_mut(&peer).into_iter().chain([&mut self.all_inviters]).for_each(TokenBucket::give_back);
        }
        call.last_sent = seq;
        call.unacknowledged.push_back(Unacknowledged { seq, body, bytes: bytes.len(), since: now });
        match (call.stream, call.role) {
            (Some(stream), _) => self.effects.push_back(Effect::Write { peer, stream, bytes }),
            (None, Role::Caller) => self.open(key),
            // The caller will open the stream again.
            (None, Role::Callee) => self.reach(peer),
        }
    }

    /// Our side is done with a call.
    pub(super) fn close(&mut self, now: Instant, peer: PeerId, id: CallId) {
        let key = (peer, id);
        match self.calls.get_mut(&key) {
            None => self.remember_ended(key),
            Some(call) if call.unacknowledged.is_empty() => self.end(key),
            Some(call) => call.phase = Phase::Closing { until: now + LINGER },
        }
    }

    /// Our side can't keep up with this call's messages.
    pub(super) fn refuse(&mut self, peer: PeerId, id: CallId) {
        if self.calls.contains_key(&(peer, id)) {
            self.fail((peer, id), "messages came faster than they were read", Some(RejectReason::TooMany));
        }
    }

    /// A connection is established.
    pub(super) fn connected(&mut self, peer: PeerId, connection: ConnectionId, path: Path) {
        self.connections.entry(peer).or_default().push((path, connection));
        let waiting: Vec<Key> = self
            .calls_of(peer)
            // A new connection is better than a relayed one before it, which may be dead.
            .filter(|(_, call)| call.role == Role::Caller && (call.stream.is_none() || call.path == Path::Relayed))
            .map(|(key, _)| *key)
            .collect();
        for key in waiting {
            if let Some(before) = self.calls.get_mut(&key).and_then(|call| call.stream.take()) {
                self.bound.remove(&before);
                self.effects.push_back(Effect::Close { peer, stream: before });
            }
            self.open(key);
        }
    }

    /// A connection is closed, or found dead. Both may be reported.
    pub(super) fn disconnected(&mut self, peer: PeerId, connection: ConnectionId) {
        if let Some(connections) = self.connections.get_mut(&peer) {
            connections.retain(|(_, c)| *c != connection);
            if connections.is_empty() {
                self.connections.remove(&peer);
            }
        }
        let broken: Vec<StreamId> = self.bound.keys().filter(|s| s.connection == connection).copied().collect();
        for stream in broken {
            self.stream_ended(peer, stream, StreamEnd::Broken);
        }
    }

    /// There is no way to this peer: what waits for them fails now.
    pub(super) fn unreachable(&mut self, peer: PeerId) {
        let waiting: Vec<Key> =
            self.calls_of(peer).filter(|(_, call)| !call.unacknowledged.is_empty()).map(|(key, _)| *key).collect();
        for key in waiting {
            self.fail(key, "the other side is offline", None);
        }
    }

    /// A stream ended otherwise than by us.
    pub(super) fn stream_ended(&mut self, peer: PeerId, stream: StreamId, end: StreamEnd) {
        let Some(key) = self.bound.remove(&stream) else { return };
        let Some(call) = self.calls.get_mut(&key) else { return };
        call.stream = None;
        tracing::debug!(%peer, call = %key.1, ?end, "a signalling stream ended");
        match (end, call.role) {
            (StreamEnd::Unsupported, _) => self.fail(key, "the other side does not speak this protocol", None),
            // They are done with the call. Whatever else we have to say will get their answer.
            (StreamEnd::Closed, Role::Caller) if call.unacknowledged.is_empty() => {}
            (StreamEnd::Closed | StreamEnd::Broken, Role::Caller) => {
                call.reopenings += 1;
                if call.reopenings > MAX_REOPENINGS {
                    self.fail(key, "the stream breaks again and again", None);
                } else {
                    self.open(key);
                }
            }
            // The caller may not have noticed: they open the stream again once we have a way to them.
            (StreamEnd::Broken, Role::Callee) if !call.unacknowledged.is_empty() => self.reach(peer),
            (StreamEnd::Closed | StreamEnd::Broken, Role::Callee) => {}
        }
    }

    /// A stream brought a message.
    pub(super) fn received(&mut self, now: Instant, peer: PeerId, stream: StreamId, bytes: &[u8]) {
        match Envelope::decode(bytes) {
            Ok(envelope) => self.handle(now, peer, stream, envelope),
            Err(error) => {
                tracing::debug!(%peer, %error, "a signalling stream is closed");
                if let EnvelopeError::UnknownVersion { call: Some(call), .. } = error {
                    self.write(peer, stream, &Envelope::Reject { call, reason: RejectReason::UnknownVersion });
                }
                self.hang_up(peer, stream);
            }
        }
    }

    /// Deadlines.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<(Key, Phase)> = self
            .calls
            .iter()
            .filter(|(_, call)| call.deadline().is_some_and(|deadline| deadline <= now))
            .map(|(key, call)| (*key, call.phase))
            .collect();
        for (key, phase) in due {
            if let Some(call) = self.calls.get_mut(&key)
                && call.nudge_at().is_some_and(|at| at <= now && now < at + (DELIVER_WITHIN - NUDGE_AFTER))
            {
                call.nudged_for = call.last_sent;
                self.effects.push_back(Effect::Reach { peer: key.0 });
                continue;
            }
            match phase {
                Phase::Running => self.fail(key, "the other side did not answer in time", None),
                Phase::Closing { .. } => self.end(key),
            }
        }
    }

    fn handle(&mut self, now: Instant, peer: PeerId, stream: StreamId, envelope: Envelope) {
        let key = (peer, envelope.call());
        if self.bound.get(&stream).is_some_and(|bound| *bound != key) {
            tracing::debug!(%peer, "a stream changed its call");
            return self.hang_up(peer, stream);
        }
        if !self.calls.contains_key(&key) && !self.admit(now, key, stream, &envelope) {
            return;
        }
        if !self.bound.contains_key(&stream) && !self.bind(key, stream) {
            return;
        }
        match envelope {
            Envelope::Message { seq, ack, body, .. } => {
                self.acknowledged(key, ack);
                self.message(now, key, stream, seq, body);
            }
            Envelope::Ack { ack, .. } => self.acknowledged(key, ack),
            Envelope::Reject { reason, .. } => self.fail(key, reason.as_str(), None),
        }
        let Some(call) = self.calls.get(&key) else { return };
        if matches!(call.phase, Phase::Closing { .. }) && call.unacknowledged.is_empty() {
            self.end(key);
        }
    }

    /// Whether a message of a call that is not known opens it. Answers if it does not.
    fn admit(&mut self, now: Instant, key: Key, stream: StreamId, envelope: &Envelope) -> bool {
        let (peer, id) = key;
        let reason = match envelope {
            Envelope::Message { seq: 1, body: Body::Invite { .. }, .. } if !self.ended_set.contains(&key) => {
                if self.may_invite(now, peer) {
                    self.calls.insert(key, Call::new(Role::Callee, now));
                    return true;
                }
                RejectReason::TooMany
            }
            Envelope::Message { .. } => RejectReason::UnknownCall,
            // The caller of an ended call asks whether it still is.
            Envelope::Ack { .. } => RejectReason::UnknownCall,
            Envelope::Reject { .. } => {
                self.hang_up(peer, stream);
                return false;
            }
        };
        tracing::debug!(%peer, call = %id, ?reason, "a message is turned away");
        self.write(peer, stream, &Envelope::Reject { call: id, reason });
        self.hang_up(peer, stream);
        false
    }

    fn may_invite(&mut self, now: Instant, peer: PeerId) -> bool {
        let from_all = self.calls.values().filter(|call| call.role == Role::Callee).count();
        let from_peer = self.calls_of(peer).filter(|(_, call)| call.role == Role::Callee).count();
        if from_all >= MAX_CALLS_FROM_ALL || from_peer >= MAX_CALLS_FROM_PEER {
            return false;
        }
        if !self.inviters.contains_key(&peer) && self.inviters.len() >= MAX_INVITERS {
            self.inviters.retain(|_, bucket| !bucket.is_full(now));
            if self.inviters.len() >= MAX_INVITERS {
                return false;
            }
        }
        let bucket = self
            .inviters
            .entry(peer)
            .or_insert_with(|| TokenBucket::new(INVITATION_BURST, INVITATIONS_PER_SECOND, now));
        bucket.take(now) && self.all_inviters.take(now)
    }

    /// Binds a stream that the other side opened to its call, in place of an older one.
    fn bind(&mut self, key: Key, stream: StreamId) -> bool {
        let Some(call) = self.calls.get_mut(&key).filter(|call| call.role == Role::Callee) else {
            tracing::debug!(peer = %key.0, call = %key.1, "a stream for a call that we opened is closed");
            self.hang_up(key.0, stream);
            return false;
        };
        let connections = self.connections.get(&key.0);
        let path = connections.and_then(|all| all.iter().find(|(_, c)| *c == stream.connection));
        call.path = path.map_or(Path::Direct, |(path, _)| *path);
        let before = call.stream.replace(stream);
        self.bound.insert(stream, key);
        if let Some(before) = before {
            self.bound.remove(&before);
            self.effects.push_back(Effect::Close { peer: key.0, stream: before });
        }
        self.repeat(key, stream);
        true
    }

    fn acknowledged(&mut self, key: Key, ack: u64) {
        let Some(call) = self.calls.get_mut(&key) else { return };
        while call.unacknowledged.front().is_some_and(|first| first.seq <= ack) {
            call.unacknowledged.pop_front();
            call.reopenings = 0;
        }
    }

    fn message(&mut self, now: Instant, key: Key, stream: StreamId, seq: u64, body: Body) {
        let (peer, id) = key;
        let Some(call) = self.calls.get_mut(&key) else { return };
        if !call.budget.take(now) {
            return self.fail(key, "the other side sends too much", Some(RejectReason::TooMany));
        }
        if seq > call.last_received + 1 {
            tracing::debug!(%peer, call = %id, seq, "a message is missing");
            return self.hang_up(peer, stream);
        }
        if seq == call.last_received + 1 {
            call.last_received = seq;
            if call.phase == Phase::Running && body != Body::Unknown {
                self.effects.push_back(Effect::Event(Event::Signal { peer, call: id, body }));
            }
        }
        let ack = call.last_received;
        self.write(peer, stream, &Envelope::Ack { call: id, ack });
    }

    /// Opens a call's stream on the best connection, with all that waits.
    fn open(&mut self, key: Key) {
        let (peer, _) = key;
        // Direct ones before relayed ones; the newest first: when a path has changed, it is the one that works.
        let best = self.connections.get(&peer).and_then(|connections| {
            connections.iter().rfind(|(path, _)| *path == Path::Direct).or(connections.last()).copied()
        });
        let Some((path, connection)) = best else {
            return self.reach(peer);
        };
        let Some(call) = self.calls.get_mut(&key) else { return };
        self.streams_opened += 1;
        let stream = StreamId { connection, number: 2 * self.streams_opened };
        call.stream = Some(stream);
        call.path = path;
        self.bound.insert(stream, key);
        self.effects.push_back(Effect::Open { peer, stream });
        self.repeat(key, stream);
    }

    /// Sends all that is not acknowledged, or at least what shows which call the stream is for.
    fn repeat(&mut self, (peer, id): Key, stream: StreamId) {
        let Some(call) = self.calls.get(&(peer, id)) else { return };
        let ack = call.last_received;
        let mut messages: Vec<Envelope> = call
            .unacknowledged
            .iter()
            .map(|u| Envelope::Message { call: id, seq: u.seq, ack, body: u.body.clone() })
            .collect();
        if messages.is_empty() && call.role == Role::Caller {
            messages.push(Envelope::Ack { call: id, ack });
        }
        for message in messages {
            self.write(peer, stream, &message);
        }
    }

    fn reach(&mut self, peer: PeerId) {
        if !self.connections.contains_key(&peer) {
            self.effects.push_back(Effect::Reach { peer });
        }
    }

    fn write(&mut self, peer: PeerId, stream: StreamId, envelope: &Envelope) {
        self.effects.push_back(Effect::Write { peer, stream, bytes: envelope.encode() });
    }

    /// Closes a stream that misbehaves. Its call is treated as if the stream had broken.
    fn hang_up(&mut self, peer: PeerId, stream: StreamId) {
        self.effects.push_back(Effect::Close { peer, stream });
        self.stream_ended(peer, stream, StreamEnd::Broken);
    }

    fn fail(&mut self, key: Key, error: &str, tell: Option<RejectReason>) {
        let Some(call) = self.calls.get(&key) else { return };
        let (running, stream) = (call.phase == Phase::Running, call.stream);
        if let (Some(reason), Some(stream)) = (tell, stream) {
            self.write(key.0, stream, &Envelope::Reject { call: key.1, reason });
        }
        self.end(key);
        if running {
            self.event_failed(key, error);
        }
    }

    fn event_failed(&mut self, (peer, call): Key, error: &str) {
        self.effects.push_back(Effect::Event(Event::SignalFailed { peer, call, error: error.to_owned() }));
    }

    fn end(&mut self, key: Key) {
        if let Some(stream) = self.calls.remove(&key).and_then(|call| call.stream) {
            self.bound.remove(&stream);
            self.effects.push_back(Effect::Close { peer: key.0, stream });
        }
        self.remember_ended(key);
    }

    fn remember_ended(&mut self, key: Key) {
        if !self.ended_set.insert(key) {
            return;
        }
        self.ended.push_back(key);
        if self.ended.len() > MAX_ENDED
            && let Some(oldest) = self.ended.pop_front()
        {
            self.ended_set.remove(&oldest);
        }
    }

    fn calls_of(&self, peer: PeerId) -> impl Iterator<Item = (&Key, &Call)> {
        self.calls.iter().filter(move |(key, _)| key.0 == peer)
    }
}

impl Call {
    fn new(role: Role, now: Instant) -> Self {
        Self {
            role,
            phase: Phase::Running,
            stream: None,
            path: Path::Direct,
            nudged_for: 0,
            reopenings: 0,
            last_sent: 0,
            last_received: 0,
            unacknowledged: VecDeque::new(),
            budget: TokenBucket::new(MESSAGE_BURST, MESSAGES_PER_SECOND, now),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let last = match self.phase {
            Phase::Running => self.unacknowledged.front().map(|first| first.since + DELIVER_WITHIN),
            Phase::Closing { until } => Some(until),
        };
        last.map(|last| self.nudge_at().map_or(last, |nudge| nudge.min(last)))
    }

    /// When another way is to be looked for.
    fn nudge_at(&self) -> Option<Instant> {
        let first = self.unacknowledged.front()?;
        (self.stream.is_some() && self.path == Path::Relayed && first.seq > self.nudged_for)
            .then(|| first.since + NUDGE_AFTER)
    }
}

impl Envelope {
    const fn call(&self) -> CallId {
        match self {
            Self::Message { call, .. } | Self::Ack { call, .. } | Self::Reject { call, .. } => *call,
        }
    }
}

#[cfg(test)]
mod tests;
