//! One client's relayed address, and with whom it exchanges what.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Path, TransactionId};

/// RFC 8656, section 9.
const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);

/// RFC 8656, section 12.
const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);

/// How many addresses a client may exchange with. A call has a handful of candidates.
const MAX_PERMISSIONS: usize = 64;
const MAX_CHANNELS: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its socket is being opened, for the request with this id.
    Opening { id: TransactionId },
    /// The request with this id may come again.
    Open { id: TransactionId, relayed: SocketAddr },
}

/// Whose an allocation is, and how they prove it.
#[derive(Clone, Debug)]
pub(super) struct Holder {
    pub(super) person: Arc<str>,
    pub(super) username: String,
    pub(super) key: [u8; 16],
}

pub(super) struct Allocation {
    pub(super) path: Path,
    pub(super) state: State,
    pub(super) holder: Holder,
    pub(super) expires: Instant,
    /// However often it is refreshed.
    pub(super) ends: Instant,
    permissions: HashMap<IpAddr, Instant>,
    channels: HashMap<u16, (SocketAddr, Instant)>,
    numbers: HashMap<SocketAddr, u16>,
}

/// Why somebody can't be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// The channel belongs to another peer, or the peer has another channel.
    Mismatch,
    /// There are too many.
    Full,
}

impl Allocation {
    /// For a request with this id; until `expires`, and with refreshes until `ends`.
    pub(super) fn new(id: TransactionId, path: Path, holder: Holder, expires: Instant, ends: Instant) -> Self {
        Self {
            path,
            state: State::Opening { id },
            holder,
            expires: expires.min(ends),
            ends,
            permissions: HashMap::new(),
            channels: HashMap::new(),
            numbers: HashMap::new(),
        }
    }

    pub(super) fn permits(&self, now: Instant, ip: IpAddr) -> bool {
        self.permissions.get(&ip.to_canonical()).is_some_and(|until| *until > now)
    }

    pub(super) fn permit(&mut self, now: Instant, ip: IpAddr) -> Result<(), Refused> {
        let ip = ip.to_canonical();
        if !self.permissions.contains_key(&ip) && self.permissions.len() >= MAX_PERMISSIONS {
            return Err(Refused::Full);
        }
        self.permissions.insert(ip, now + PERMISSION_LIFETIME);
        Ok(())
    }

    pub(super) fn bind(&mut self, now: Instant, number: u16, peer: SocketAddr) -> Result<(), Refused> {
        self.forget(now);
        let free = self.channels.get(&number).is_none_or(|(other, _)| *other == peer)
            && self.numbers.get(&peer).is_none_or(|other| *other == number);
        if !free {
            return Err(Refused::Mismatch);
        }
        if !self.channels.contains_key(&number) && self.channels.len() >= MAX_CHANNELS {
            return Err(Refused::Full);
        }
        self.permit(now, peer.ip())?;
        self.channels.insert(number, (peer, now + CHANNEL_LIFETIME));
        self.numbers.insert(peer, number);
        Ok(())
    }

    /// Whom a channel leads to, if that is permitted (RFC 8656, section 12.6).
    pub(super) fn peer_of(&self, now: Instant, number: u16) -> Option<SocketAddr> {
        let (peer, until) = self.channels.get(&number)?;
        (*until > now && self.permits(now, peer.ip())).then_some(*peer)
    }

    pub(super) fn channel_of(&self, now: Instant, peer: SocketAddr) -> Option<u16> {
        let number = self.numbers.get(&peer)?;
        self.channels.get(number).filter(|(_, until)| *until > now).map(|_| *number)
    }

    /// Forgets what has run out.
    pub(super) fn forget(&mut self, now: Instant) {
        self.permissions.retain(|_, until| *until > now);
        self.channels.retain(|_, (_, until)| *until > now);
        let channels = &self.channels;
        self.numbers.retain(|_, number| channels.contains_key(number));
    }
}
