//! Who is there, in which places, and who is told. Pure: requests, ends of streams and time go in, effects come out.
//!
//! Owns all that the node knows of people. Never does I/O; the directory server drives it. What a client is to be told
//! is not queued as messages but as marks ("look at this person again"), each at most once: whoever reads slowly gets
//! the last state and not the history, and whoever reads far too slowly is let go.

mod client;
mod outbox;
mod person;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::IpAddr,
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};

use self::{
    client::{Client, Stage},
    outbox::{Item, Outbox},
    person::{Ix, Link, Membership, People, Session},
};
use crate::{
    directory::{Card, GoneReason, Limits, Place, Push, Refusal, Request, VERSION},
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
    /// Told to clients.
    pub(super) nodes: Vec<Multiaddr>,
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
                | Request::Beat {}
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
            Request::Beat {} => self.tell(id, &Push::Beat {}),
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

    /// Whether somebody is signed on.
    pub(super) fn is_online(&self, peer: PeerId) -> bool {
        self.people.find(peer).is_some_and(|ix| self.people.session(ix).is_some())
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

/// Signing on and off.
impl Registry {
    fn hello_first(&mut self, now: Instant, id: ClientId, request: Request) {
        let Request::Hello { v, card } = request else { return };
        let Some(client) = self.clients.get_mut(&id) else { return };
        let peer = id.peer;
        if v != VERSION {
            return self.refuse(id, "hello", Refusal::UnknownVersion);
        }
        if let Some(address) = client.address() {
            if !self.addresses.contains_key(&address) && self.addresses.len() >= MAX_ADDRESSES {
                return self.refuse(id, "hello", Refusal::Full);
            }
            let new = || TokenBucket::new(self.terms.sign_on_burst, SIGN_ONS_PER_SECOND, now);
            if !self.addresses.entry(address).or_insert_with(new).take(now) {
                return self.refuse(id, "hello", Refusal::TooOften);
            }
        }
        let Ok(said) = card.open(peer) else { return self.refuse(id, "hello", Refusal::BadCard) };
        let order = (said.session, said.seq);
        let known = self.people.find(peer).filter(|&ix| self.people.session(ix).is_some());
        if known.is_none() && (self.users >= self.terms.users || self.people.len() >= self.terms.people) {
            return self.refuse(id, "hello", Refusal::Full);
        }
        if known.and_then(|ix| self.people.session(ix)).is_some_and(|session| order < session.order) {
            return self.refuse(id, "hello", Refusal::BadCard);
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        let Stage::Greeting { hide } = &mut client.stage else { return };
        let hide = std::mem::take(hide);
        let observed = client.observed.clone();
        let ix = self.people.intern(peer);
        client.stage = Stage::Online(ix);
        let entry = outbox::entry(peer, card.as_bytes());
        self.tally.sign_ons += 1;
        let changed = match known {
            Some(ix) => self.take_over(now, id, ix, order, entry),
            None => {
                self.users += 1;
                self.people.sign_on(ix, Session::new(now, Link::Online(id), order, entry));
                true
            }
        };
        if !hide.is_empty() {
            self.hide(id, ix, &hide);
        }
        self.tell(id, &self.welcome(observed));
        if changed {
            self.mark_everywhere(ix, GoneReason::Left);
        }
    }

    /// The same person on another stream: what the old stream asked for holds for a moment more, so that others see
    /// nothing of the change. Whether they have something else to see.
    fn take_over(&mut self, now: Instant, id: ClientId, ix: Ix, order: (u64, u64), entry: Arc<[u8]>) -> bool {
        let watches = self.people.session(ix).map(|session| session.watches.clone()).unwrap_or_default();
        self.stop_watching(ix, &watches);
        let peer = self.people.peer(ix);
        let Some(session) = self.people.session_mut(ix) else { return false };
        let before = std::mem::replace(&mut session.link, Link::Online(id));
        for membership in &mut session.memberships {
            membership.stale = true;
        }
        session.hidden_stale = true;
        let until = now + GRACE;
        session.deadline = Some(until);
        self.graces.push_back((until, peer));
        let changed = session.entry != entry;
        session.order = order;
        session.entry = entry;
        if let Link::Online(old) = before {
            self.close(old);
        }
        changed
    }

    fn hello_again(&mut self, now: Instant, id: ClientId, ix: Ix, v: u32, card: &Card) {
        let peer = self.people.peer(ix);
        let Some(session) = self.people.session_mut(ix) else { return };
        if !session.cards.take(now) {
            return self.refuse(id, "hello", Refusal::TooOften);
        }
        let said = match card.open(peer) {
            Ok(said) if v == VERSION => said,
            Ok(_) => return self.refuse(id, "hello", Refusal::UnknownVersion),
            Err(_) => return self.refuse(id, "hello", Refusal::BadCard),
        };
        let order = (said.session, said.seq);
        let entry = outbox::entry(peer, card.as_bytes());
        if order < session.order {
            return self.refuse(id, "hello", Refusal::BadCard);
        }
        let changed = session.entry != entry;
        session.order = order;
        session.entry = entry;
        if changed {
            self.mark_everywhere(ix, GoneReason::Left);
        }
    }

    fn welcome(&self, observed: Multiaddr) -> Push {
        Push::Welcome {
            v: VERSION,
            observed,
            relay: self.terms.relay,
            turn: self.terms.turn,
            stun: self.terms.stun.clone(),
            nodes: self.terms.nodes.clone(),
            beat_ms: self.terms.beat.as_millis() as u32,
            limits: self.terms.per_client,
        }
    }

    /// Somebody is there no more.
    fn gone(&mut self, ix: Ix, reason: GoneReason) {
        let Some(session) = self.people.session(ix) else { return };
        match reason {
            GoneReason::Left => self.tally.left += 1,
            GoneReason::Lost => self.tally.lost += 1,
        }
        let places: Vec<PlaceId> = session.memberships.iter().map(|m| m.place).collect();
        let (watches, hidden) = (session.watches.clone(), session.hidden.clone());
        for place in places {
            self.leave(ix, place, reason);
        }
        self.stop_watching(ix, &watches);
        self.users -= 1;
        let watchers = self.people.sign_off(ix);
        self.mark_watchers(ix, &watchers, reason);
        self.people.forget_hidden(&hidden);
        self.people.release(ix);
    }

    fn grace_over(&mut self, at: Instant, peer: PeerId) {
        let Some(ix) = self.people.find(peer) else { return };
        let Some(session) = self.people.session_mut(ix) else { return };
        if session.deadline != Some(at) {
            return;
        }
        session.deadline = None;
        match session.link {
            Link::Lost => self.gone(ix, GoneReason::Lost),
            Link::Online(id) => {
                let stale: Vec<PlaceId> = session.memberships.iter().filter(|m| m.stale).map(|m| m.place).collect();
                let unhide = session.hidden_stale;
                for place in stale {
                    self.leave(ix, place, GoneReason::Left);
                }
                if unhide {
                    self.hide(id, ix, &[]);
                }
            }
        }
    }

    /// A client that is silent or floods: its person is gone without a grace.
    fn give_up(&mut self, id: ClientId) {
        if let Some(Client { stage: Stage::Online(ix), .. }) = self.clients.get(&id) {
            let ix = *ix;
            if self.people.session(ix).is_some_and(|session| session.link == Link::Online(id)) {
                self.gone(ix, GoneReason::Lost);
            }
        }
        self.close(id);
    }

    /// Ends a client's stream after what it is still to be told.
    fn close(&mut self, id: ClientId) {
        let Some(mut client) = self.clients.remove(&id) else { return };
        let frames = client.outbox.last_words();
        if !frames.is_empty() {
            self.effects.push_back(Effect::Write { client: id, frames });
        }
        self.effects.push_back(Effect::Close { client: id });
    }

    fn refuse(&mut self, id: ClientId, request: &str, why: Refusal) {
        self.tally.refused += 1;
        self.tell(id, &Push::Refused { request: request.to_owned(), why });
    }

    fn turn(&mut self, now: Instant, id: ClientId, ix: Ix) {
        if !self.terms.turn {
            return self.refuse(id, "turn", Refusal::NotOffered);
        }
        let peer = self.people.peer(ix);
        if self.people.session_mut(ix).is_some_and(|session| session.grants.take(now)) {
            self.effects.push_back(Effect::GrantTurn { client: id, peer });
        } else {
            self.refuse(id, "turn", Refusal::TooOften);
        }
    }
}

/// Places, watches, and whom one hides from.
impl Registry {
    fn join(&mut self, id: ClientId, ix: Ix, place: Place, sealed: Option<&[u8]>) {
        let peer = self.people.peer(ix);
        let entry = match (&place, sealed) {
            (Place::Lobby, None) => None,
            (Place::Room(tag), Some(card)) if tag.len() == TAG_BYTES && card.len() <= MAX_SEALED_BYTES => {
                Some(outbox::entry(peer, card))
            }
            (Place::Lobby, Some(_)) | (Place::Room(_), _) => return self.refuse(id, "join", Refusal::Other),
        };
        let known = self.places.get(&place).copied();
        let Some(session) = self.people.session_mut(ix) else { return };
        let place_id = match known.filter(|&place| session.membership_mut(place).is_some()) {
            // Again: another card, or back on another stream.
            Some(place_id) => {
                if let Some(membership) = session.membership_mut(place_id) {
                    membership.stale = false;
                }
                let Some(all) = self.members.get_mut(&place_id) else { return };
                let before = all.members.insert(ix, entry.clone());
                if before.is_some_and(|before| before != entry) {
                    self.mark_members(ix, place_id, GoneReason::Left);
                }
                place_id
            }
            None => {
                if session.memberships.iter().filter(|m| !m.stale).count() >= self.terms.per_client.places as usize {
                    return self.refuse(id, "join", Refusal::TooMany);
                }
                let full = |place| {
                    self.members.get(&place).is_some_and(|all: &Members| all.members.len() >= self.terms.place_members)
                };
                if known.is_some_and(full) {
                    return self.refuse(id, "join", Refusal::Full);
                }
                let place_id = known.unwrap_or(self.next_place);
                session.memberships.push(Membership { place: place_id, stale: false });
                if known.is_none() {
                    self.next_place += 1;
                    self.places.insert(place.clone(), place_id);
                    self.members.insert(place_id, Members { place, members: BTreeMap::new() });
                }
                if let Some(all) = self.members.get_mut(&place_id) {
                    all.members.insert(ix, entry);
                }
                self.mark_members(ix, place_id, GoneReason::Left);
                place_id
            }
        };
        self.list(id, ScopeId::Place(place_id));
    }

    fn leave(&mut self, ix: Ix, place: PlaceId, reason: GoneReason) {
        let Some(session) = self.people.session_mut(ix) else { return };
        session.memberships.retain(|m| m.place != place);
        let Some(all) = self.members.get_mut(&place) else { return };
        if all.members.remove(&ix).is_none() {
            return;
        }
        if all.members.is_empty() {
            if let Some(all) = self.members.remove(&place) {
                self.places.remove(&all.place);
            }
            return;
        }
        self.mark_members(ix, place, reason);
    }

    fn watch(&mut self, id: ClientId, ix: Ix, peers: &[PeerId]) {
        for &peer in peers {
            let Some(session) = self.people.session(ix) else { return };
            let whom = self.people.find(peer);
            if whom.is_some_and(|whom| session.watches.binary_search(&whom).is_ok()) || whom == Some(ix) {
                continue;
            }
            if session.watches.len() >= self.terms.per_client.watches as usize {
                self.refuse(id, "watch", Refusal::TooMany);
                break;
            }
            if whom.is_none() && self.people.len() >= self.terms.people {
                self.refuse(id, "watch", Refusal::Full);
                break;
            }
            let whom = self.people.intern(peer);
            self.people.watch(ix, whom);
            self.watches += 1;
        }
        self.list(id, ScopeId::Watched);
    }

    fn unwatch(&mut self, ix: Ix, peers: &[PeerId]) {
        let whom: Vec<Ix> = peers.iter().filter_map(|&peer| self.people.find(peer)).collect();
        self.stop_watching(ix, &whom);
    }

    fn stop_watching(&mut self, ix: Ix, whom: &[Ix]) {
        for &whom in whom {
            if self.people.unwatch(ix, whom) {
                self.watches -= 1;
                self.people.release(whom);
            }
        }
    }

    fn hide(&mut self, id: ClientId, ix: Ix, from: &[PeerId]) {
        let mut from = from;
        let most = self.terms.per_client.hidden as usize;
        if from.len() > most {
            from = &from[..most];
            self.refuse(id, "hide", Refusal::TooMany);
        }
        let mut hidden = Vec::with_capacity(from.len());
        for &peer in from {
            if self.people.find(peer).is_none() && self.people.len() >= self.terms.people {
                self.refuse(id, "hide", Refusal::Full);
                break;
            }
            let whom = self.people.intern(peer);
            if let Err(at) = hidden.binary_search(&whom) {
                hidden.insert(at, whom);
            }
        }
        self.people.remember_hidden(&hidden);
        let Some(session) = self.people.session_mut(ix) else { return };
        session.hidden_stale = false;
        let before = std::mem::replace(&mut session.hidden, hidden.clone());
        let changed: Vec<Ix> = before
            .iter()
            .filter(|whom| hidden.binary_search(whom).is_err())
            .chain(hidden.iter().filter(|whom| before.binary_search(whom).is_err()))
            .copied()
            .collect();
        for viewer in changed {
            self.mark_for(ix, viewer);
        }
        self.people.forget_hidden(&before);
    }
}

/// Telling.
impl Registry {
    /// All who may see somebody are to look again.
    fn mark_everywhere(&mut self, ix: Ix, reason: GoneReason) {
        let watchers = self.people.watchers(ix).to_vec();
        self.mark_watchers(ix, &watchers, reason);
        let Some(session) = self.people.session(ix) else { return };
        let places: Vec<PlaceId> = session.memberships.iter().map(|m| m.place).collect();
        for place in places {
            self.mark_members(ix, place, reason);
        }
    }

    fn mark_watchers(&mut self, ix: Ix, watchers: &[Ix], reason: GoneReason) {
        for &watcher in watchers {
            self.mark(watcher, ScopeId::Watched, ix, reason);
        }
    }

    fn mark_members(&mut self, ix: Ix, place: PlaceId, reason: GoneReason) {
        let Some(all) = self.members.get(&place) else { return };
        let viewers: Vec<Ix> = all.members.keys().copied().filter(|&viewer| viewer != ix).collect();
        for viewer in viewers {
            self.mark(viewer, ScopeId::Place(place), ix, reason);
        }
    }

    /// One viewer is to look again at one person, wherever they see them.
    fn mark_for(&mut self, ix: Ix, viewer: Ix) {
        if self.people.watchers(ix).binary_search(&viewer).is_ok() {
            self.mark(viewer, ScopeId::Watched, ix, GoneReason::Left);
        }
        let Some(session) = self.people.session(ix) else { return };
        let shared: Vec<PlaceId> = session
            .memberships
            .iter()
            .map(|m| m.place)
            .filter(|place| self.members.get(place).is_some_and(|all| all.members.contains_key(&viewer)))
            .collect();
        for place in shared {
            self.mark(viewer, ScopeId::Place(place), ix, GoneReason::Left);
        }
    }

    fn mark(&mut self, viewer: Ix, scope: ScopeId, whom: Ix, reason: GoneReason) {
        let Some(Link::Online(id)) = self.people.session(viewer).map(|session| session.link) else { return };
        let peer = self.people.peer(whom);
        if let Some(client) = self.clients.get_mut(&id)
            && client.outbox.mark(scope, peer, reason)
        {
            self.ready.push_back(id);
        }
    }

    /// A client is to get the whole list.
    fn list(&mut self, id: ClientId, scope: ScopeId) {
        if let Some(client) = self.clients.get_mut(&id)
            && client.outbox.list(scope)
        {
            self.ready.push_back(id);
        }
    }

    /// What a client is to be told now. A client that is too far behind is let go.
    fn next_batch(&mut self, id: ClientId) -> Option<Vec<Vec<u8>>> {
        let client = self.clients.get_mut(&id)?;
        if client.outbox.overflowed() {
            self.tally.slow += 1;
            let client = self.clients.remove(&id)?;
            if let Stage::Online(ix) = client.stage
                && self.people.session(ix).is_some_and(|session| session.link == Link::Online(id))
            {
                self.gone(ix, GoneReason::Lost);
            }
            self.effects.push_back(Effect::Close { client: id });
            return None;
        }
        let mut outbox = std::mem::take(&mut client.outbox);
        let viewer = match client.stage {
            Stage::Online(ix) => Some(ix),
            Stage::Greeting { .. } => None,
        };
        let frames = self.compose(viewer, &mut outbox);
        outbox.given(!frames.is_empty());
        if let Some(client) = self.clients.get_mut(&id) {
            client.outbox = outbox;
        }
        (!frames.is_empty()).then_some(frames)
    }

    fn compose(&self, viewer: Option<Ix>, outbox: &mut Outbox) -> Vec<Vec<u8>> {
        let mut batch = outbox.words();
        let Some(viewer) = viewer else { return batch.finish() };
        while batch.len() < BATCH_BYTES
            && let Some(item) = outbox.next()
        {
            match item {
                Item::List { scope, after } => {
                    let Some(place) = self.scope_of(viewer, scope) else { continue };
                    let mut page = batch.page(&place);
                    let mut last = after;
                    let mut more = false;
                    for (ix, entry) in self.seen_after(viewer, scope, after) {
                        if page.len() >= BATCH_BYTES {
                            more = true;
                            break;
                        }
                        page.add(entry);
                        last = Some(ix);
                    }
                    page.end(more);
                    if more {
                        outbox.continue_list(scope, last);
                    }
                }
                Item::Mark { scope, peer, reason } => {
                    let Some(place) = self.scope_of(viewer, scope) else { continue };
                    match self.people.find(peer).and_then(|ix| self.seen(viewer, scope, ix)) {
                        Some(entry) => batch.person(&place, entry),
                        None => batch.gone(&place, peer, reason),
                    }
                }
            }
        }
        batch.finish()
    }

    /// The scope in the words of the wire, if the viewer is told about it.
    fn scope_of(&self, viewer: Ix, scope: ScopeId) -> Option<crate::directory::Scope> {
        match scope {
            ScopeId::Watched => Some(crate::directory::Scope::Watched),
            ScopeId::Place(place) => {
                let all = self.members.get(&place)?;
                all.members.contains_key(&viewer).then(|| crate::directory::Scope::Place(all.place.clone()))
            }
        }
    }

    /// What a viewer sees of somebody, if anything.
    fn seen(&self, viewer: Ix, scope: ScopeId, ix: Ix) -> Option<&Arc<[u8]>> {
        let session = self.people.session(ix).filter(|session| !session.hides_from(viewer))?;
        match scope {
            ScopeId::Watched => self.people.watchers(ix).binary_search(&viewer).is_ok().then_some(&session.entry),
            ScopeId::Place(place) => {
                self.members.get(&place)?.members.get(&ix).map(|entry| entry.as_ref().unwrap_or(&session.entry))
            }
        }
    }

    /// Whom a viewer sees, in the order of their numbers, from after a number on.
    fn seen_after(&self, viewer: Ix, scope: ScopeId, after: Option<Ix>) -> impl Iterator<Item = (Ix, &Arc<[u8]>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let (watched, place) = match scope {
            ScopeId::Watched => {
                let watches = self.people.session(viewer).map_or(&[][..], |session| session.watches.as_slice());
                let start = after.map_or(0, |after| watches.partition_point(|&ix| ix <= after));
                (&watches[start..], None)
            }
            ScopeId::Place(place) => (&[][..], self.members.get(&place)),
        };
        let members =
            place.into_iter().flat_map(move |all| all.members.range((from, Bound::Unbounded)).map(|(&ix, _)| ix));
        let all = watched.iter().copied().chain(members).filter(move |&ix| ix != viewer);
        all.filter_map(move |ix| self.seen(viewer, scope, ix).map(|entry| (ix, entry)))
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
        Request::Beat {} => "beat",
        Request::Bye {} => "bye",
        Request::Unknown => "unknown",
    }
}
