//! Who is online, as a pure book: links and announcements go in, changes come out.
//!
//! Owns what is believed of everyone else. Reads no clock, does no I/O; the event loop drives it.
//!
//! **Near, somebody is online while an authenticated connection to them lives and they have said who they are.** What
//! they say reaches us on two ways: over the connection itself (the hello, which nobody can forge or replay), and as an
//! announcement that is signed and passed on by others (which nobody can forge, but anybody can repeat). Hence:
//!
//! - an announcement counts only for somebody whom we are connected to: keys are free, connections are limited;
//! - per author, `(session, seq)` only grows, and a time outside the clock window is refused;
//! - when both ways disagree about the session, the connection is right.
//!
//! **Far, somebody is online while a node shows them with a card that they have signed.** A node can hide people, and
//! show them after they have gone; it can't change what they say, nor take it back to what they said before: while
//! somebody is shown, `(session, seq)` only grows, and a session that they have ended over a connection of theirs does
//! not come back. The time in a card does not count: clocks may be days apart.
//!
//! Near and far together make one person. What is near is believed first.

mod announcement;
mod name;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    time::Instant,
};

use libp2p::{PeerId, swarm::ConnectionId};

pub(crate) use self::announcement::{Announcement, MAX_ANNOUNCEMENT_BYTES};
use crate::{Event, Found, OfflineReason, Person, Profile, Via, token_bucket::TokenBucket};

/// How many people are remembered. Full: whoever is neither connected nor shown, and was so for longest, is forgotten;
/// if there is nobody like that, no further people are listed. Connections are fewer.
const MAX_PEOPLE: usize = 10_000;

/// How far the time in a signed announcement may be from ours, in milliseconds. Without a battery or the internet
/// clocks are worse than that; those people are still heard over their connection, which needs no clock.
const CLOCK_WINDOW_MS: u64 = 120_000;

/// How many announcements of one author count at once, and per second in the long run.
const ANNOUNCEMENT_BURST: u32 = 10;
const ANNOUNCEMENTS_PER_SECOND: f64 = 2.0;

/// Why something that was said does not count. For the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    #[error("the author is not connected to us")]
    NotLinked,
    #[error("the author has said goodbye")]
    Departed,
    #[error("older than what is known, or repeated")]
    Stale,
    #[error("the author's clock is too far from ours")]
    ClockSkew,
    #[error("too many announcements of this author")]
    TooOften,
    #[error("a version that is not known here")]
    UnknownVersion,
    #[error("too many people")]
    Full,
}

/// What is believed of one person.
#[derive(Debug)]
struct Entry {
    /// The live connections on the LAN.
    links: Vec<ConnectionId>,
    /// What they last said over or about those, while they are online there.
    near: Option<Profile>,
    /// The newest `(session, seq)` heard so. Kept while they are offline, against replays.
    newest: Option<(u64, u64)>,
    /// The session that ended with a goodbye.
    departed: Option<u64>,
    /// How often they may announce something.
    budget: TokenBucket,
    /// What their newest card says, while nodes show them.
    far: Option<Profile>,
    /// Its `(session, seq)`. Kept while they are offline.
    carded: Option<(u64, u64)>,
    /// Which nodes show them, and where.
    shown_by: BTreeSet<(PeerId, Found)>,
    /// When their last link came or went, or a node began or ceased to show them.
    touched: Instant,
    /// What the app knows.
    listed: Option<Person>,
}

/// Who is online.
#[derive(Debug, Default)]
pub(crate) struct Book {
    people: HashMap<PeerId, Entry>,
    /// They are listed to nobody.
    blocked: HashSet<PeerId>,
}

impl Book {
    /// These people are not to be listed. What comes of it.
    pub(crate) fn block(&mut self, blocked: HashSet<PeerId>) -> Vec<Event> {
        self.blocked = blocked;
        let Self { people, blocked } = self;
        let settled = people
            .iter_mut()
            .filter_map(|(peer, entry)| entry.settle(*peer, blocked.contains(peer), OfflineReason::Left));
        settled.collect()
    }

    /// Whether a connection to `peer` on the LAN lives.
    pub(crate) fn is_near(&self, peer: &PeerId) -> bool {
        self.people.get(peer).is_some_and(|entry| !entry.links.is_empty())
    }

    /// A connection to `peer` on the LAN is established. They are online once they have said who they are.
    pub(crate) fn linked(&mut self, now: Instant, peer: PeerId, link: ConnectionId) {
        self.make_room_for(&peer);
        let entry = self.people.entry(peer).or_insert_with(|| Entry::new(now));
        entry.touched = now;
        entry.links.push(link);
    }

    /// A connection is closed, or found dead. Whoever has no other one is not near any more.
    pub(crate) fn unlinked(&mut self, now: Instant, peer: PeerId, link: ConnectionId) -> Option<Event> {
        let entry = self.people.get_mut(&peer)?;
        entry.links.retain(|l| *l != link);
        entry.touched = now;
        if !entry.links.is_empty() {
            return None;
        }
        entry.near = None;
        entry.settle(peer, self.blocked.contains(&peer), OfflineReason::Lost)
    }

    /// `node` shows `peer`, who has signed what it says of them.
    pub(crate) fn seen(
        &mut self,
        now: Instant,
        node: PeerId,
        peer: PeerId,
        found: Found,
        said: &Announcement,
    ) -> Result<Option<Event>, Rejected> {
        said.check_version()?;
        self.make_room_for(&peer);
        if self.people.len() >= MAX_PEOPLE && !self.people.contains_key(&peer) {
            return Err(Rejected::Full);
        }
        let entry = self.people.entry(peer).or_insert_with(|| Entry::new(now));
        if entry.departed == Some(said.session) {
            return Err(Rejected::Departed);
        }
        let card = (said.session, said.seq);
        if let Some(known) = entry.carded {
            // Whom nobody shows may have restarted with a clock that was set back.
            let restarted = entry.shown_by.is_empty() && known.0 != card.0;
            if card < known && !restarted {
                return Err(Rejected::Stale);
            }
        }
        if entry.carded != Some(card) || entry.far.is_none() {
            entry.carded = Some(card);
            entry.far = Some(said.profile(peer));
        }
        entry.shown_by.insert((node, found));
        entry.touched = now;
        Ok(entry.settle(peer, self.blocked.contains(&peer), OfflineReason::Lost))
    }

    /// `node` shows `peer` no more.
    pub(crate) fn unseen(
        &mut self,
        now: Instant,
        node: PeerId,
        peer: PeerId,
        found: Found,
        reason: OfflineReason,
    ) -> Option<Event> {
        let entry = self.people.get_mut(&peer)?;
        if !entry.shown_by.remove(&(node, found)) {
            return None;
        }
        entry.touched = now;
        if entry.shown_by.is_empty() {
            entry.far = None;
        }
        entry.settle(peer, self.blocked.contains(&peer), reason)
    }

    /// `peer` says over `link` who they are.
    pub(crate) fn hello(
        &mut self,
        now: Instant,
        peer: PeerId,
        link: ConnectionId,
        said: &Announcement,
    ) -> Result<Option<Event>, Rejected> {
        let entry = self.people.get_mut(&peer).filter(|e| e.links.contains(&link)).ok_or(Rejected::NotLinked)?;
        said.check_version()?;
        if entry.departed == Some(said.session) {
            return Err(Rejected::Departed);
        }
        match entry.newest {
            // On a second connection to the same process, or as the repetition of a gossiped change.
            Some(newest) if newest == (said.session, said.seq) && entry.near.is_some() => return Ok(None),
            Some((session, seq)) if session == said.session && seq > said.seq => return Err(Rejected::Stale),
            // Another session is a restarted process, whatever its clock says.
            Some(_) | None => {}
        }
        entry.accept(now, peer, said)?;
        Ok(entry.settle(peer, self.blocked.contains(&peer), OfflineReason::Lost))
    }

    /// `author` has signed an announcement that somebody passed on to us.
    pub(crate) fn announced(
        &mut self,
        now: Instant,
        wall_clock_ms: u64,
        author: PeerId,
        said: &Announcement,
    ) -> Result<Option<Event>, Rejected> {
        let entry = self.people.get_mut(&author).filter(|e| !e.links.is_empty()).ok_or(Rejected::NotLinked)?;
        said.check_version()?;
        if said.time.abs_diff(wall_clock_ms) > CLOCK_WINDOW_MS {
            return Err(Rejected::ClockSkew);
        }
        if entry.departed == Some(said.session) {
            return Err(Rejected::Departed);
        }
        if let Some(newest) = entry.newest {
            let connection_says_otherwise = entry.near.is_some() && newest.0 != said.session;
            if connection_says_otherwise || newest >= (said.session, said.seq) {
                return Err(Rejected::Stale);
            }
        }
        entry.accept(now, author, said)?;
        Ok(entry.settle(author, self.blocked.contains(&author), OfflineReason::Lost))
    }

    /// `peer` says over one of their own connections that their process ends.
    pub(crate) fn goodbye(&mut self, peer: PeerId, session: u64) -> Option<Event> {
        let entry = self.people.get_mut(&peer)?;
        if entry.newest.is_some_and(|(newest, _)| newest != session) {
            return None;
        }
        entry.departed = Some(session);
        entry.near = None;
        // Nodes are about to say so, too.
        if entry.carded.is_some_and(|(carded, _)| carded == session) {
            entry.shown_by.clear();
            entry.far = None;
        }
        entry.settle(peer, self.blocked.contains(&peer), OfflineReason::Left)
    }

    fn make_room_for(&mut self, peer: &PeerId) {
        if self.people.len() < MAX_PEOPLE || self.people.contains_key(peer) {
            return;
        }
        let oldest = self
            .people
            .iter()
            .filter(|(_, e)| e.links.is_empty() && e.shown_by.is_empty())
            .min_by_key(|(_, e)| e.touched)
            .map(|(peer, _)| *peer);
        if let Some(peer) = oldest {
            self.people.remove(&peer);
        }
    }
}

impl Entry {
    fn new(now: Instant) -> Self {
        Self {
            links: Vec::new(),
            near: None,
            newest: None,
            departed: None,
            budget: TokenBucket::new(ANNOUNCEMENT_BURST, ANNOUNCEMENTS_PER_SECOND, now),
            far: None,
            carded: None,
            shown_by: BTreeSet::new(),
            touched: now,
            listed: None,
        }
    }

    fn accept(&mut self, now: Instant, peer: PeerId, said: &Announcement) -> Result<(), Rejected> {
        if !self.budget.take(now) {
            return Err(Rejected::TooOften);
        }
        self.newest = Some((said.session, said.seq));
        self.departed = None;
        self.near = Some(said.profile(peer));
        Ok(())
    }

    /// What the app is to be told, now that something may have changed.
    fn settle(&mut self, peer: PeerId, blocked: bool, reason: OfflineReason) -> Option<Event> {
        let (profile, via) = match (&self.near, &self.far) {
            (Some(near), _) => (Some(near), Via::Lan),
            (None, far) => (far.as_ref(), Via::Node),
        };
        let person = profile.filter(|_| !blocked).map(|profile| {
            let found: BTreeSet<Found> = self.shown_by.iter().map(|(_, found)| *found).collect();
            Person { peer, profile: profile.clone(), via, found: found.into_iter().collect() }
        });
        if self.listed == person {
            return None;
        }
        match (std::mem::replace(&mut self.listed, person.clone()), person) {
            (None, Some(person)) => Some(Event::PeerOnline(person)),
            (Some(_), Some(person)) => Some(Event::PeerChanged(person)),
            (Some(_), None) => Some(Event::PeerOffline { peer, reason }),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests;
