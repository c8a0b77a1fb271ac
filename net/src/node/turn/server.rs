//! Allocations, permissions and channels (RFC 8656). Pure: datagrams and time go in, effects come out.
//!
//! Deliberately absent: TCP allocations, reserved ports, fragmentation control, mobility. Nothing is remembered of
//! whoever has not proven to have access, besides how often they try.

mod allocation;
mod request;
#[cfg(test)]
mod tests;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use self::allocation::{Allocation, State};
use super::{
    credentials::Credentials,
    destination::Destinations,
    stun::{Class, Message, Method, TransactionId, Writer, attribute},
};
use crate::{address, token_bucket::TokenBucket};

/// How often what has run out is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// How often one address may ask without access, or amiss, at once and per second in the long run; and how many
/// addresses are remembered for it. Full: others share one budget.
const STRANGER_BURST: u32 = 100;
const STRANGER_PER_SECOND: f64 = 25.0;
const MAX_STRANGERS: usize = 20_000;

/// The longest datagram that is relayed, and what a data indication adds to it.
const MAX_DATAGRAM_BYTES: usize = 1600;

/// How a client speaks to us. With an allocation it is what RFC 8656 calls the 5-tuple.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Path {
    /// To one of our sockets.
    Udp { socket: u16, remote: SocketAddr },
    /// Over a stream of a connection.
    Stream(u64),
}

/// Names a relay socket.
pub(super) type RelayId = u64;

/// What is to be done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Effect {
    ToClient {
        path: Path,
        datagram: Vec<u8>,
    },
    ToPeer {
        relay: RelayId,
        peer: SocketAddr,
        datagram: Vec<u8>,
    },
    /// Open a socket, and say so with [`Server::opened`].
    Open {
        relay: RelayId,
        path: Path,
        v6: bool,
    },
    Close {
        relay: RelayId,
    },
}

/// How much is relayed, and where to.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    /// Allocations at a time.
    pub(super) allocations: usize,
    /// Allocations of one person.
    pub(super) allocations_per_person: u32,
    /// Bytes a second of one person, both directions together.
    pub(super) bytes_per_second: u32,
    pub(super) destinations: Destinations,
    /// Our own addresses, under which relay sockets are known. Nothing else is sent there.
    pub(super) own: HashSet<IpAddr>,
}

/// Things that happened since the start, and how many allocations there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::node) struct Tally {
    pub(in crate::node) allocations: u64,
    /// Payload.
    pub(in crate::node) relayed_bytes: u64,
    pub(in crate::node) relayed_packets: u64,
    /// Packets over somebody's bandwidth.
    pub(in crate::node) over_limit: u64,
    /// Requests that were refused, from whoever has access.
    pub(in crate::node) refused: u64,
}

/// Somebody with allocations.
struct Person {
    allocations: u32,
    bytes: TokenBucket,
}

/// See the module.
pub(super) struct Server {
    terms: Terms,
    credentials: Arc<Credentials>,
    allocations: HashMap<RelayId, Allocation>,
    paths: HashMap<Path, RelayId>,
    /// Where the relay sockets are known to be.
    relayed: HashMap<SocketAddr, RelayId>,
    people: HashMap<Arc<str>, Person>,
    strangers: HashMap<IpAddr, TokenBucket>,
    other_strangers: TokenBucket,
    next_relay: RelayId,
    sweep_at: Instant,
    effects: VecDeque<Effect>,
    tally: Tally,
}

impl Server {
    pub(super) fn new(now: Instant, terms: Terms, credentials: Arc<Credentials>) -> Self {
        Self {
            terms,
            credentials,
            allocations: HashMap::new(),
            paths: HashMap::new(),
            relayed: HashMap::new(),
            people: HashMap::new(),
            strangers: HashMap::new(),
            other_strangers: TokenBucket::new(STRANGER_BURST, STRANGER_PER_SECOND, now),
            next_relay: 0,
            sweep_at: now + SWEEP_EVERY,
            effects: VecDeque::new(),
            tally: Tally::default(),
        }
    }

    pub(super) fn tally(&self) -> Tally {
        Tally { allocations: self.allocations.len() as u64, ..self.tally }
    }

    /// A datagram of a client. `unix_s` is the time of day, in seconds.
    pub(super) fn client_sent(&mut self, now: Instant, unix_s: u64, path: Path, datagram: &[u8]) {
        // RFC 8656, section 12.4: channel data begins with the bits 01.
        if datagram.first().is_some_and(|byte| byte & 0xc0 == 0x40) {
            return self.channel_data(now, path, datagram);
        }
        let Some(message) = Message::parse(datagram) else { return };
        match (message.class, message.method) {
            (Class::Indication, Method::Send) => self.send_indication(now, path, &message),
            (Class::Request, Method::Binding) => self.binding(now, path, &message),
            (Class::Request, Method::Allocate | Method::Refresh | Method::CreatePermission | Method::ChannelBind) => {
                self.request(now, unix_s, path, &message)
            }
            (Class::Request, Method::Send | Method::Data)
            | (Class::Indication, _)
            | (Class::Success | Class::Error, _) => {}
        }
    }

    /// A datagram that came to a relay socket.
    pub(super) fn peer_sent(&mut self, now: Instant, relay: RelayId, peer: SocketAddr, data: &[u8]) {
        if data.len() > MAX_DATAGRAM_BYTES {
            return;
        }
        let Some(allocation) = self.allocations.get(&relay) else { return };
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if !allocation.permits(now, peer.ip()) {
            return;
        }
        if !take_bytes(&mut self.people, &allocation.holder.person, now, data.len()) {
            self.tally.over_limit += 1;
            return;
        }
        let datagram = match allocation.channel_of(now, peer) {
            Some(number) => {
                let mut datagram = Vec::with_capacity(data.len() + 4);
                datagram.extend(number.to_be_bytes());
                datagram.extend((data.len() as u16).to_be_bytes());
                datagram.extend_from_slice(data);
                datagram
            }
            None => Writer::new(Method::Data, Class::Indication, rand::random())
                .add_address(attribute::XOR_PEER_ADDRESS, peer)
                .add(attribute::DATA, data)
                .finish(),
        };
        self.tally.relayed_bytes += data.len() as u64;
        self.tally.relayed_packets += 1;
        self.effects.push_back(Effect::ToClient { path: allocation.path, datagram });
    }

    /// Further addresses are our own. Those before stay so: relay sockets are known by them.
    pub(super) fn is_known_as(&mut self, public: &[IpAddr]) {
        self.terms.own.extend(public);
    }

    /// A relay socket was opened, and is known at this address; or it could not be.
    pub(super) fn opened(&mut self, now: Instant, relay: RelayId, address: Option<SocketAddr>) {
        let Some(allocation) = self.allocations.get_mut(&relay) else {
            return self.effects.push_back(Effect::Close { relay });
        };
        let (path, key) = (allocation.path, allocation.holder.key);
        match (address, allocation.state) {
            (Some(address), State::Opening { id }) => {
                allocation.state = State::Open { id, relayed: address };
                let lifetime = allocation.expires.saturating_duration_since(now);
                self.relayed.insert(address, relay);
                let datagram = allocated(id, path, address, lifetime).finish_with(&key);
                self.effects.push_back(Effect::ToClient { path, datagram });
            }
            (None, State::Opening { id }) => {
                self.remove(relay);
                let writer = Writer::new(Method::Allocate, Class::Error, id).add_error(508, "Insufficient Capacity");
                self.effects.push_back(Effect::ToClient { path, datagram: writer.finish_with(&key) });
            }
            (_, State::Open { .. }) => {}
        }
    }

    /// A stream has ended.
    pub(super) fn closed(&mut self, path: Path) {
        if let Some(&relay) = self.paths.get(&path) {
            self.remove(relay);
        }
    }

    pub(super) fn poll_timeout(&self) -> Instant {
        self.sweep_at
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + SWEEP_EVERY;
        let over: Vec<RelayId> =
            self.allocations.iter().filter(|(_, allocation)| allocation.expires <= now).map(|(&id, _)| id).collect();
        for relay in over {
            self.remove(relay);
        }
        self.allocations.values_mut().for_each(|allocation| allocation.forget(now));
        self.people.retain(|_, person| person.allocations > 0 || !person.bytes.is_full(now));
        self.strangers.retain(|_, bucket| !bucket.is_full(now));
    }

    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// RFC 8656, section 12.6.
    fn channel_data(&mut self, now: Instant, path: Path, datagram: &[u8]) {
        let Some((&[n0, n1, l0, l1], data)) = datagram.split_first_chunk() else { return };
        let length = usize::from(u16::from_be_bytes([l0, l1]));
        // Over UDP it may be padded.
        let Some(data) = data.get(..length) else { return };
        let Some(&relay) = self.paths.get(&path) else { return };
        let Some(allocation) = self.allocations.get(&relay) else { return };
        let Some(peer) = allocation.peer_of(now, u16::from_be_bytes([n0, n1])) else { return };
        self.relay_to(now, relay, peer, data);
    }

    /// RFC 8656, section 11.2.
    fn send_indication(&mut self, now: Instant, path: Path, message: &Message<'_>) {
        let Some(&relay) = self.paths.get(&path) else { return };
        let Some(allocation) = self.allocations.get(&relay) else { return };
        let peer = message.get(attribute::XOR_PEER_ADDRESS).and_then(|value| message.address(value));
        let (Some(peer), Some(data)) = (peer, message.get(attribute::DATA)) else { return };
        if allocation.permits(now, peer.ip()) {
            self.relay_to(now, relay, peer, data);
        }
    }

    fn relay_to(&mut self, now: Instant, relay: RelayId, peer: SocketAddr, data: &[u8]) {
        let Some(allocation) = self.allocations.get(&relay) else { return };
        let State::Open { relayed, .. } = allocation.state else { return };
        if peer.is_ipv4() != relayed.is_ipv4() || peer.port() == 0 {
            return;
        }
        if !take_bytes(&mut self.people, &allocation.holder.person, now, data.len()) {
            self.tally.over_limit += 1;
            return;
        }
        if self.terms.own.contains(&peer.ip()) {
            // Both people are relayed here: what the one sends to the other does not leave the node.
            if let Some(&other) = self.relayed.get(&peer) {
                return self.peer_sent(now, other, relayed, data);
            }
            if !self.terms.destinations.allow_own(peer.ip()) {
                return;
            }
        }
        self.tally.relayed_bytes += data.len() as u64;
        self.tally.relayed_packets += 1;
        self.effects.push_back(Effect::ToPeer { relay, peer, datagram: data.to_vec() });
    }

    fn remove(&mut self, relay: RelayId) {
        let Some(allocation) = self.allocations.remove(&relay) else { return };
        self.paths.remove(&allocation.path);
        if let State::Open { relayed, .. } = allocation.state {
            self.relayed.remove(&relayed);
        }
        if let Some(person) = self.people.get_mut(&allocation.holder.person) {
            person.allocations -= 1;
        }
        self.effects.push_back(Effect::Close { relay });
    }

    /// Whether somebody who has proven nothing is answered.
    fn hears_stranger(&mut self, now: Instant, path: Path) -> bool {
        // Streams are authenticated, and bounded themselves.
        let Path::Udp { remote, .. } = path else { return true };
        let ip = address::subscriber(remote.ip());
        if !self.strangers.contains_key(&ip) && self.strangers.len() >= MAX_STRANGERS {
            return self.other_strangers.take(now);
        }
        let new = || TokenBucket::new(STRANGER_BURST, STRANGER_PER_SECOND, now);
        self.strangers.entry(ip).or_insert_with(new).take(now)
    }

    fn answer(&mut self, path: Path, datagram: Vec<u8>) {
        self.effects.push_back(Effect::ToClient { path, datagram });
    }
}

fn take_bytes(people: &mut HashMap<Arc<str>, Person>, who: &Arc<str>, now: Instant, bytes: usize) -> bool {
    people.get_mut(who).is_some_and(|person| person.bytes.take_many(now, bytes as u32))
}

/// The answer to a successful allocation, without its integrity.
fn allocated(id: TransactionId, path: Path, relayed: SocketAddr, lifetime: Duration) -> Writer {
    Writer::new(Method::Allocate, Class::Success, id)
        .add_address(attribute::XOR_RELAYED_ADDRESS, relayed)
        .add(attribute::LIFETIME, &(lifetime.as_secs() as u32).to_be_bytes())
        .add_address(attribute::XOR_MAPPED_ADDRESS, mapped(path))
}

/// Where the client is seen. Over a stream it is nowhere: its own address tells that it must not use this.
fn mapped(path: Path) -> SocketAddr {
    match path {
        Path::Udp { remote, .. } => SocketAddr::new(remote.ip().to_canonical(), remote.port()),
        Path::Stream(_) => SocketAddr::from(([0, 0, 0, 0], 9)),
    }
}
