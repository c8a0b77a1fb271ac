//! Who is there, in which places, and who is told. Pure: requests, ends of streams and time go in, effects come out.
//!
//! Owns all that the node knows of people. Never does I/O; the directory server drives it. What a client is to be told
//! is not queued as messages but as marks ("look at this person again"), each at most once: whoever reads slowly gets
//! the last state and not the history, and whoever reads far too slowly is let go.

mod circle;
mod client;
mod outbox;
mod person;
mod sign_on;
mod status;
mod telling;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};

use self::{
    client::{Client, Stage},
    person::{Ix, Link, People},
    status::RoughCount,
};
use crate::{
    directory::{GoneReason, Limits, NodeStatus, Place, Push, Refusal, Request},
    token_bucket::TokenBucket,
};

/// How long somebody whose stream was lost is still taken for present.
const GRACE: Duration = Duration::from_millis(800);

/// How long a stream may be open without a hello.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// How often silent clients are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// After so many beats that did not come a client is gone.
const MISSED_BEATS: u32 = 3;

/// The longest sealed card: a card, a nonce and a tag.
const MAX_SEALED_BYTES: usize = crate::directory::MAX_CARD_BYTES + 28;

/// The length of a room's tag.
const TAG_BYTES: usize = 32;

/// How many sign-ons one address may make per second in the long run, and how many addresses are remembered for it.
/// Full: newcomers from other addresses wait.
const SIGN_ONS_PER_SECOND: f64 = 20.0;
const MAX_ADDRESSES: usize = 100_000;

/// Bytes that are given to a stream at a time, about. It takes more when these are written.
const BATCH_BYTES: usize = 16 * 1024;

/// Names a client: its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct ClientId {
    /// Whose, as authenticated by the connection.
    pub(super) peer: PeerId,
    pub(super) connection: ConnectionId,
    /// Unique on the connection.
    pub(super) number: u32,
}

/// Names a place for as long as the node runs.
type PlaceId = u64;

/// What a client is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ScopeId {
    Place(PlaceId),
    Watched,
}

/// How much the node takes on, and what it offers.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// People online at a time.
    pub(super) users: usize,
    /// People in one place.
    pub(super) place_members: usize,
    /// People who are known of: online, watched or hidden from.
    pub(super) people: usize,
    /// What one client may ask for.
    pub(super) per_client: Limits,
    /// How often clients are to beat.
    pub(super) beat: Duration,
    /// Told to clients.
    pub(super) relay: bool,
    /// Told to clients.
    pub(super) turn: bool,
    /// Told to clients.
    pub(super) stun: Vec<u16>,
    /// Sign-ons that one address may make at once.
    pub(super) sign_on_burst: u32,
}

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Frames for a client. [`Registry::drained`] when they are written.
    Write { client: ClientId, frames: Vec<Vec<u8>> },
    /// Write what is left, then end the stream.
    Close { client: ClientId },
    /// The client is to have access to TURN: answer with [`Registry::tell`].
    GrantTurn { client: ClientId, peer: PeerId },
    /// The client asks how the node is doing: answer with [`Registry::tell`], with the time of day.
    TellStatus { client: ClientId, status: NodeStatus },
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Census {
    /// Streams.
    pub(super) clients: usize,
    /// People online, or lost a moment ago.
    pub(super) users: usize,
    /// Places with somebody in them.
    pub(super) places: usize,
    /// Watches of all clients together.
    pub(super) watches: usize,
}

/// Things that happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// First hellos that were accepted.
    pub(super) sign_ons: u64,
    /// People who left on purpose.
    pub(super) left: u64,
    /// People who were lost.
    pub(super) lost: u64,
    /// Requests that were refused.
    pub(super) refused: u64,
    /// Frames given to clients.
    pub(super) frames: u64,
    /// Clients that were let go since they did not read.
    pub(super) slow: u64,
}

struct Members {
    place: Place,
    /// With the entry that is seen in this place, where it is not that of the hello.
    members: BTreeMap<Ix, Option<Arc<[u8]>>>,
}

/// See the module.
pub(super) struct Registry {
    terms: Terms,
    started: Instant,
    rough_count: RoughCount,
    /// At how many of our addresses other nodes have reached us, and at how many they have not.
    reached: Option<(u32, u32)>,
    /// Other nodes.
    nodes: Vec<Multiaddr>,
    people: People,
    clients: HashMap<ClientId, Client>,
    places: HashMap<Place, PlaceId>,
    members: HashMap<PlaceId, Members>,
    next_place: PlaceId,
    users: usize,
    watches: usize,
    /// In the order of time: somebody whose grace, or whose old places' grace, ends then.
    graces: VecDeque<(Instant, PeerId)>,
    addresses: HashMap<IpAddr, TokenBucket>,
    sweep_at: Instant,
    /// Clients that can take something and may have something to take.
    ready: VecDeque<ClientId>,
    effects: VecDeque<Effect>,
    tally: Tally,
}

impl Registry {
    pub(super) fn new(now: Instant, terms: Terms) -> Self {
        Self {
            terms,
            started: now,
            rough_count: RoughCount::new(now),
            reached: None,
            nodes: Vec::new(),
            people: People::default(),
            clients: HashMap::new(),
            places: HashMap::new(),
            members: HashMap::new(),
            next_place: 0,
            users: 0,
            watches: 0,
            graces: VecDeque::new(),
            addresses: HashMap::new(),
            sweep_at: now + SWEEP_EVERY,
            ready: VecDeque::new(),
            effects: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    /// Of which nodes clients are told who ask.
    pub(super) fn set_nodes(&mut self, nodes: Vec<Multiaddr>) {
        self.nodes = nodes;
    }

    /// A client opened its stream.
    pub(super) fn connected(&mut self, now: Instant, client: ClientId, observed: Multiaddr) {
        self.clients.insert(client, Client::new(now, observed));
    }

    /// A client's stream has ended.
    pub(super) fn disconnected(&mut self, now: Instant, client: ClientId) {
        let Some(Client { stage: Stage::Online(ix), .. }) = self.clients.remove(&client) else { return };
        let peer = self.people.peer(ix);
        let Some(session) = self.people.session_mut(ix) else { return };
        if session.link == Link::Online(client) {
            let until = now + GRACE;
            session.link = Link::Lost;
            session.deadline = Some(until);
            self.graces.push_back((until, peer));
        }
    }

    /// A client says something.
    pub(super) fn handle(&mut self, now: Instant, id: ClientId, request: Request) {
        // It was closed meanwhile.
        let Some(client) = self.clients.get_mut(&id) else { return };
        client.heard = now;
        if !client.requests.take(now) {
            client.offences += 1;
            if client.offences > client::MAX_OFFENCES {
                return self.give_up(id);
            }
            return self.refuse(id, name(&request), Refusal::TooOften);
        }
        let ix = match (&client.stage, &request) {
            (Stage::Online(ix), _) => *ix,
            (Stage::Greeting { .. }, Request::Hello { .. }) => return self.hello_first(now, id, request),
            // Before the hello, so that nobody sees for a moment whom they are to be hidden from.
            (Stage::Greeting { .. }, Request::Hide { from }) => {
                let hide = from.iter().take(self.terms.per_client.hidden as usize).copied().collect();
                client.stage = Stage::Greeting { hide };
                return;
            }
            (
                Stage::Greeting { .. },
                Request::Join { .. }
                | Request::Leave { .. }
                | Request::Watch { .. }
                | Request::Unwatch { .. }
                | Request::Turn {}
                | Request::Nodes {}
                | Request::Beat {}
                | Request::Status {}
                | Request::Bye {}
                | Request::Unknown,
            ) => return self.refuse(id, name(&request), Refusal::HelloFirst),
        };
        match request {
            Request::Hello { v, card } => self.hello_again(now, id, ix, v, &card),
            Request::Join { place, sealed } => self.join(id, ix, place, sealed.as_deref()),
            Request::Leave { place } => {
                if let Some(&place) = self.places.get(&place) {
                    self.leave(ix, place, GoneReason::Left);
                }
            }
            Request::Watch { peers } => self.watch(id, ix, &peers),
            Request::Unwatch { peers } => self.unwatch(ix, &peers),
            Request::Hide { from } => self.hide(id, ix, &from),
            Request::Turn {} => self.turn(now, id, ix),
            Request::Nodes {} => {
                let nodes = Push::Nodes { nodes: self.nodes.clone() };
                self.tell(id, &nodes);
            }
            Request::Beat {} => self.tell(id, &Push::Beat {}),
            Request::Status {} => self.status(now, id),
            Request::Bye {} => {
                self.gone(ix, GoneReason::Left);
                self.close(id);
            }
            Request::Unknown => {}
        }
    }

    /// Says something to a client, besides what it is told of others.
    pub(super) fn tell(&mut self, id: ClientId, push: &Push) {
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.outbox.say(push) {
            self.ready.push_back(id);
        }
    }

    /// A client's stream has written what it was given.
    pub(super) fn drained(&mut self, id: ClientId) {
        if let Some(client) = self.clients.get_mut(&id)
            && client.outbox.drained()
        {
            self.ready.push_back(id);
        }
    }

    /// The node stops: everybody is told, and let go.
    pub(super) fn shut_down(&mut self) {
        let all: Vec<ClientId> = self.clients.keys().copied().collect();
        for id in all {
            self.tell(id, &Push::Bye {});
            self.close(id);
        }
    }

    /// Whether `of` is not there for `viewer`: they hide, or are not there at all as far as is known.
    pub(super) fn is_hidden_from(&self, of: PeerId, viewer: PeerId) -> bool {
        let (Some(of), Some(viewer)) = (self.people.find(of), self.people.find(viewer)) else { return false };
        self.people.session(of).is_some_and(|session| session.hides_from(viewer))
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.graces.front().map_or(self.sweep_at, |(at, _)| self.sweep_at.min(*at))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, peer)) = self.graces.front()
            && at <= now
        {
            self.graces.pop_front();
            self.grace_over(at, peer);
        }
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP_EVERY;
        let silence = self.terms.beat * MISSED_BEATS;
        let silent: Vec<ClientId> =
            self.clients.iter().filter(|(_, c)| c.is_silent(now, silence)).map(|(&id, _)| id).collect();
        for id in silent {
            self.give_up(id);
        }
        self.addresses.retain(|_, bucket| !bucket.is_full(now));
    }

    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        loop {
            if let Some(effect) = self.effects.pop_front() {
                return Some(effect);
            }
            let id = self.ready.pop_front()?;
            if let Some(frames) = self.next_batch(id) {
                self.tally.frames += frames.len() as u64;
                return Some(Effect::Write { client: id, frames });
            }
        }
    }

    pub(super) fn census(&self) -> Census {
        Census { clients: self.clients.len(), users: self.users, places: self.members.len(), watches: self.watches }
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }
}

/// What a request is called on the wire.
fn name(request: &Request) -> &'static str {
    match request {
        Request::Hello { .. } => "hello",
        Request::Join { .. } => "join",
        Request::Leave { .. } => "leave",
        Request::Watch { .. } => "watch",
        Request::Unwatch { .. } => "unwatch",
        Request::Hide { .. } => "hide",
        Request::Turn {} => "turn",
        Request::Nodes {} => "nodes",
        Request::Beat {} => "beat",
        Request::Status {} => "status",
        Request::Bye {} => "bye",
        Request::Unknown => "unknown",
    }
}
