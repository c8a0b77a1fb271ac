//! Requests: who may have an allocation, and what they may do with it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Effect, Path, Person, Server, allocated,
    allocation::{Allocation, Holder, Refused, State},
    mapped,
};
use crate::{
    node::turn::{
        credentials::{Claim, REALM},
        stun::{Class, Message, Method, Writer, attribute},
    },
    token_bucket::TokenBucket,
};

/// RFC 8656, section 7.2: the lifetime that is given to who does not ask for one, and the longest.
const LIFETIME: Duration = Duration::from_secs(600);
const MAX_LIFETIME: Duration = Duration::from_secs(3600);

/// The longest that an allocation is kept by refreshing it: access has run out by then, but a call may be long.
const MAX_AGE: Duration = Duration::from_secs(24 * 3600);

/// RFC 8656, section 5.
const NONCE_LIFETIME_S: u64 = 3600;

/// Channel numbers, RFC 8656, section 12.
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x4fff;

const UDP: u8 = 17;

/// An error response (RFC 8489, section 14.8, and RFC 8656, section 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failure(u16, &'static str);

const BAD_REQUEST: Failure = Failure(400, "Bad Request");
const UNAUTHENTICATED: Failure = Failure(401, "Unauthenticated");
const FORBIDDEN: Failure = Failure(403, "Forbidden");
const UNKNOWN_ATTRIBUTE: Failure = Failure(420, "Unknown Attribute");
const ALLOCATION_MISMATCH: Failure = Failure(437, "Allocation Mismatch");
const STALE_NONCE: Failure = Failure(438, "Stale Nonce");
const FAMILY_NOT_SUPPORTED: Failure = Failure(440, "Address Family not Supported");
const WRONG_CREDENTIALS: Failure = Failure(441, "Wrong Credentials");
const UNSUPPORTED_TRANSPORT: Failure = Failure(442, "Unsupported Transport Protocol");
const FAMILY_MISMATCH: Failure = Failure(443, "Peer Address Family Mismatch");
const QUOTA_REACHED: Failure = Failure(486, "Allocation Quota Reached");
const INSUFFICIENT_CAPACITY: Failure = Failure(508, "Insufficient Capacity");

impl Server {
    /// STUN alone: where do you see me?
    pub(super) fn binding(&mut self, now: Instant, path: Path, message: &Message<'_>) {
        if !self.hears_stranger(now, path) {
            return;
        }
        let writer = Writer::new(Method::Binding, Class::Success, message.id);
        let datagram = writer.add_address(attribute::XOR_MAPPED_ADDRESS, mapped(path)).finish_with_fingerprint();
        self.answer(path, datagram);
    }

    /// A request that needs access.
    pub(super) fn request(&mut self, now: Instant, unix_s: u64, path: Path, message: &Message<'_>) {
        let claim = match self.authenticate(unix_s, path, message) {
            Ok(claim) => claim,
            Err(failure) => {
                if self.hears_stranger(now, path) {
                    self.challenge(unix_s, path, message, failure);
                }
                return;
            }
        };
        let key = claim.key;
        let answer = match message.method {
            Method::Allocate => self.allocate(now, path, message, &claim),
            Method::Refresh => self.refresh(now, path, message),
            Method::CreatePermission => self.create_permission(now, path, message),
            Method::ChannelBind => self.channel_bind(now, path, message),
            Method::Binding | Method::Send | Method::Data => return,
        };
        match answer {
            Ok(Some(writer)) => self.answer(path, writer.finish_with(&key)),
            // When the socket is open.
            Ok(None) => {}
            Err(failure) => {
                self.tally.refused += 1;
                let mut writer = error(message, failure);
                if failure == UNKNOWN_ATTRIBUTE {
                    let unknown: Vec<u8> = unknown_attributes(message).flat_map(u16::to_be_bytes).collect();
                    writer = writer.add(attribute::UNKNOWN_ATTRIBUTES, &unknown);
                }
                self.answer(path, writer.finish_with(&key));
            }
        }
    }

    /// RFC 8489, section 9.2.4. Whose access has run out may go on with what they have: an allocation is refreshed with
    /// the credentials that it was made with.
    fn authenticate<'a>(&self, unix_s: u64, path: Path, message: &Message<'a>) -> Result<Claim<'a>, Failure> {
        let (Some(username), Some(nonce)) = (message.text(attribute::USERNAME), message.text(attribute::NONCE)) else {
            return Err(UNAUTHENTICATED);
        };
        if message.text(attribute::REALM) != Some(REALM) {
            return Err(UNAUTHENTICATED);
        }
        let claim = self.credentials.claim(username).ok_or(UNAUTHENTICATED)?;
        if !message.has_integrity(&claim.key) {
            return Err(UNAUTHENTICATED);
        }
        if !self.credentials.is_fresh(unix_s, &place(path), nonce, NONCE_LIFETIME_S) {
            return Err(STALE_NONCE);
        }
        let own = self.paths.get(&path).and_then(|relay| self.allocations.get(relay));
        match own {
            Some(allocation) if allocation.holder.username == username => Ok(claim),
            Some(_) => Err(WRONG_CREDENTIALS),
            None if claim.expires_s < unix_s => Err(UNAUTHENTICATED),
            None => Ok(claim),
        }
    }

    fn challenge(&mut self, unix_s: u64, path: Path, message: &Message<'_>, failure: Failure) {
        let nonce = self.credentials.nonce(unix_s, &place(path));
        let writer =
            error(message, failure).add(attribute::REALM, REALM.as_bytes()).add(attribute::NONCE, nonce.as_bytes());
        self.answer(path, writer.finish());
    }

    /// RFC 8656, section 7.2.
    fn allocate(
        &mut self,
        now: Instant,
        path: Path,
        message: &Message<'_>,
        claim: &Claim<'_>,
    ) -> Result<Option<Writer>, Failure> {
        if let Some(allocation) = self.paths.get(&path).and_then(|relay| self.allocations.get(relay)) {
            // The same request once more, since its answer was lost?
            return match allocation.state {
                State::Open { id, relayed } if id == message.id => {
                    let lifetime = allocation.expires.saturating_duration_since(now);
                    Ok(Some(allocated(id, path, relayed, lifetime)))
                }
                State::Opening { id } if id == message.id => Ok(None),
                State::Open { .. } | State::Opening { .. } => Err(ALLOCATION_MISMATCH),
            };
        }
        match message.get(attribute::REQUESTED_TRANSPORT) {
            Some(&[UDP, ..]) => {}
            Some(&[_, ..]) => return Err(UNSUPPORTED_TRANSPORT),
            Some([]) | None => return Err(BAD_REQUEST),
        }
        if unknown_attributes(message).next().is_some() {
            return Err(UNKNOWN_ATTRIBUTE);
        }
        let v6 = match message.get(attribute::REQUESTED_ADDRESS_FAMILY) {
            None | Some(&[1, ..]) => false,
            Some(&[2, ..]) => true,
            Some(_) => return Err(FAMILY_NOT_SUPPORTED),
        };
        if !self.terms.own.iter().any(|ip| ip.is_ipv6() == v6) {
            return Err(FAMILY_NOT_SUPPORTED);
        }
        let reserved = [attribute::EVEN_PORT, attribute::RESERVATION_TOKEN];
        if reserved.iter().any(|&reserved| message.get(reserved).is_some()) {
            return Err(INSUFFICIENT_CAPACITY);
        }
        if self.allocations.len() >= self.terms.allocations {
            return Err(INSUFFICIENT_CAPACITY);
        }
        let (rate, most) = (self.terms.bytes_per_second, self.terms.allocations_per_person);
        let name: Arc<str> = claim.person.into();
        let new = || Person { allocations: 0, bytes: TokenBucket::new(rate, f64::from(rate), now) };
        let person = self.people.entry(name.clone()).or_insert_with(new);
        if person.allocations >= most {
            return Err(QUOTA_REACHED);
        }
        person.allocations += 1;
        let lifetime = lifetime(message).max(LIFETIME).min(MAX_LIFETIME);
        let relay = self.next_relay;
        self.next_relay += 1;
        let holder = Holder { person: name, username: claim.username.to_owned(), key: claim.key };
        self.allocations.insert(relay, Allocation::new(message.id, path, holder, now + lifetime, now + MAX_AGE));
        self.paths.insert(path, relay);
        self.effects.push_back(Effect::Open { relay, path, v6 });
        Ok(None)
    }

    /// RFC 8656, section 8.2.
    fn refresh(&mut self, now: Instant, path: Path, message: &Message<'_>) -> Result<Option<Writer>, Failure> {
        let relay = self.paths.get(&path).copied().ok_or(ALLOCATION_MISMATCH)?;
        let allocation = self.allocations.get_mut(&relay).ok_or(ALLOCATION_MISMATCH)?;
        if let (Some(&[family, ..]), State::Open { relayed, .. }) =
            (message.get(attribute::REQUESTED_ADDRESS_FAMILY), allocation.state)
            && (family == 2) != relayed.is_ipv6()
        {
            return Err(FAMILY_MISMATCH);
        }
        let lifetime = match lifetime(message) {
            Duration::ZERO => Duration::ZERO,
            wanted => wanted.max(LIFETIME).min(MAX_LIFETIME).min(allocation.ends.saturating_duration_since(now)),
        };
        allocation.expires = now + lifetime;
        if lifetime.is_zero() {
            self.remove(relay);
        }
        let seconds = (lifetime.as_secs() as u32).to_be_bytes();
        Ok(Some(success(message).add(attribute::LIFETIME, &seconds)))
    }

    /// RFC 8656, section 10.2.
    fn create_permission(
        &mut self,
        now: Instant,
        path: Path,
        message: &Message<'_>,
    ) -> Result<Option<Writer>, Failure> {
        let peers: Option<Vec<SocketAddr>> = message
            .attributes()
            .filter(|(typ, _)| *typ == attribute::XOR_PEER_ADDRESS)
            .map(|(_, value)| message.address(value))
            .collect();
        let peers = peers.filter(|peers| !peers.is_empty()).ok_or(BAD_REQUEST)?;
        for peer in &peers {
            self.check_peer(path, *peer)?;
        }
        let allocation = self.allocation_mut(path)?;
        for peer in peers {
            allocation.permit(now, peer.ip()).map_err(refused)?;
        }
        Ok(Some(success(message)))
    }

    /// RFC 8656, section 12.2.
    fn channel_bind(&mut self, now: Instant, path: Path, message: &Message<'_>) -> Result<Option<Writer>, Failure> {
        let number = message.u32(attribute::CHANNEL_NUMBER).map(|value| (value >> 16) as u16);
        let peer = message.get(attribute::XOR_PEER_ADDRESS).and_then(|value| message.address(value));
        let (Some(number), Some(peer)) = (number, peer) else { return Err(BAD_REQUEST) };
        if !CHANNELS.contains(&number) {
            return Err(BAD_REQUEST);
        }
        self.check_peer(path, peer)?;
        self.allocation_mut(path)?.bind(now, number, peer).map_err(refused)?;
        Ok(Some(success(message)))
    }

    fn allocation_mut(&mut self, path: Path) -> Result<&mut Allocation, Failure> {
        let relay = self.paths.get(&path).ok_or(ALLOCATION_MISMATCH)?;
        self.allocations.get_mut(relay).ok_or(ALLOCATION_MISMATCH)
    }

    fn check_peer(&self, path: Path, peer: SocketAddr) -> Result<(), Failure> {
        let relay = self.paths.get(&path).ok_or(ALLOCATION_MISMATCH)?;
        let allocation = self.allocations.get(relay).ok_or(ALLOCATION_MISMATCH)?;
        let State::Open { relayed, .. } = allocation.state else { return Err(ALLOCATION_MISMATCH) };
        if peer.is_ipv4() != relayed.is_ipv4() {
            return Err(FAMILY_MISMATCH);
        }
        // Our own address: the other person may be relayed here, too.
        let allowed = self.terms.own.contains(&peer.ip()) || self.terms.destinations.allow(peer.ip());
        if allowed { Ok(()) } else { Err(FORBIDDEN) }
    }
}

fn refused(why: Refused) -> Failure {
    match why {
        Refused::Mismatch => BAD_REQUEST,
        Refused::Full => INSUFFICIENT_CAPACITY,
    }
}

/// The lifetime that is asked for.
fn lifetime(message: &Message<'_>) -> Duration {
    message.u32(attribute::LIFETIME).map_or(LIFETIME, |seconds| Duration::from_secs(seconds.into()))
}

fn success(message: &Message<'_>) -> Writer {
    Writer::new(message.method, Class::Success, message.id)
}

fn error(message: &Message<'_>, Failure(code, reason): Failure) -> Writer {
    Writer::new(message.method, Class::Error, message.id).add_error(code, reason)
}

/// Attributes that must be understood, and are not (RFC 8489, section 14).
fn unknown_attributes(message: &Message<'_>) -> impl Iterator<Item = u16> {
    message.attributes().map(|(typ, _)| typ).filter(|typ| {
        *typ < 0x8000
            && !matches!(
                *typ,
                attribute::USERNAME
                    | attribute::MESSAGE_INTEGRITY
                    | attribute::LIFETIME
                    | attribute::REALM
                    | attribute::NONCE
                    | attribute::REQUESTED_ADDRESS_FAMILY
                    | attribute::EVEN_PORT
                    | attribute::REQUESTED_TRANSPORT
                    | attribute::RESERVATION_TOKEN
            )
    })
}

/// What a nonce is bound to: the address without the port, which a NAT may change.
fn place(path: Path) -> String {
    match path {
        Path::Udp { remote, .. } => remote.ip().to_canonical().to_string(),
        Path::Stream(id) => format!("stream {id}"),
    }
}
