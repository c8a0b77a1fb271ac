//! Who is online, as a pure book: links and announcements go in, changes come out.
//!
//! Owns what is believed of everyone else. Reads no clock, does no I/O; the event loop drives it.
//!
//! **Somebody is online while an authenticated connection to them lives and they have said who they are.** What they
//! say reaches us on two ways: over the connection itself (the hello, which nobody can forge or replay), and as an
//! announcement that is signed and passed on by others (which nobody can forge, but anybody can repeat). Hence:
//!
//! - an announcement counts only for somebody whom we are connected to: keys are free, connections are limited;
//! - per author, `(session, seq)` only grows, and a time outside the clock window is refused;
//! - when both ways disagree about the session, the connection is right.

mod announcement;
mod name;

use std::{collections::HashMap, time::Instant};

use libp2p::{PeerId, swarm::ConnectionId};

pub(crate) use self::announcement::{Announcement, MAX_ANNOUNCEMENT_BYTES};
use crate::{Event, OfflineReason, Person, Profile, Via, token_bucket::TokenBucket};

/// How many people are remembered. Full: whoever was disconnected for longest is forgotten; connections are fewer.
const MAX_PEOPLE: usize = 1000;

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
}

/// What is believed of one person.
#[derive(Debug)]
struct Entry {
    /// The live connections.
    links: Vec<ConnectionId>,
    /// What they last said, while they are online.
    profile: Option<Profile>,
    /// The newest `(session, seq)` heard. Kept while they are offline, against replays.
    newest: Option<(u64, u64)>,
    /// The session that ended with a goodbye.
    departed: Option<u64>,
    /// How often they may announce something.
    budget: TokenBucket,
    /// When their last link came or went.
    touched: Instant,
}

/// Who is online.
#[derive(Debug, Default)]
pub(crate) struct Book {
    people: HashMap<PeerId, Entry>,
}

impl Book {
    /// A connection to `peer` is established. They are online once they have said who they are.
    pub(crate) fn linked(&mut self, now: Instant, peer: PeerId, link: ConnectionId) {
        if !self.people.contains_key(&peer) && self.people.len() >= MAX_PEOPLE {
            self.forget_oldest();
        }
        let entry = self.people.entry(peer).or_insert_with(|| Entry {
            links: Vec::new(),
            profile: None,
            newest: None,
            departed: None,
            budget: TokenBucket::new(ANNOUNCEMENT_BURST, ANNOUNCEMENTS_PER_SECOND, now),
            touched: now,
        });
        entry.touched = now;
        entry.links.push(link);
    }

    /// A connection is closed, or found dead. Whoever has no other one is offline.
    pub(crate) fn unlinked(&mut self, now: Instant, peer: PeerId, link: ConnectionId) -> Option<Event> {
        let entry = self.people.get_mut(&peer)?;
        entry.links.retain(|l| *l != link);
        entry.touched = now;
        if !entry.links.is_empty() {
            return None;
        }
        entry.profile.take().map(|_| Event::PeerOffline { peer, reason: OfflineReason::Lost })
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
            Some(newest) if newest == (said.session, said.seq) && entry.profile.is_some() => return Ok(None),
            Some((session, seq)) if session == said.session && seq > said.seq => return Err(Rejected::Stale),
            // Another session is a restarted process, whatever its clock says.
            Some(_) | None => {}
        }
        entry.accept(now, peer, said)
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
            let connection_says_otherwise = entry.profile.is_some() && newest.0 != said.session;
            if connection_says_otherwise || newest >= (said.session, said.seq) {
                return Err(Rejected::Stale);
            }
        }
        entry.accept(now, author, said)
    }

    /// `peer` says over one of their own connections that their process ends.
    pub(crate) fn goodbye(&mut self, peer: PeerId, session: u64) -> Option<Event> {
        let entry = self.people.get_mut(&peer)?;
        if entry.newest.is_some_and(|(newest, _)| newest != session) {
            return None;
        }
        entry.departed = Some(session);
        entry.profile.take().map(|_| Event::PeerOffline { peer, reason: OfflineReason::Left })
    }

    fn forget_oldest(&mut self) {
        let oldest = self
            .people
            .iter()
            .filter(|(_, e)| e.links.is_empty())
            .min_by_key(|(_, e)| e.touched)
            .map(|(peer, _)| *peer);
        if let Some(peer) = oldest {
            self.people.remove(&peer);
        }
    }
}

impl Entry {
    fn accept(&mut self, now: Instant, peer: PeerId, said: &Announcement) -> Result<Option<Event>, Rejected> {
        if !self.budget.take(now) {
            return Err(Rejected::TooOften);
        }
        self.newest = Some((said.session, said.seq));
        self.departed = None;
        let profile = said.profile(peer);
        let person = Person { peer, profile: profile.clone(), via: Via::Lan, found: Vec::new() };
        Ok(match self.profile.replace(profile) {
            None => Some(Event::PeerOnline(person)),
            Some(before) if before != person.profile => Some(Event::PeerChanged(person)),
            Some(_) => None,
        })
    }
}

#[cfg(test)]
mod tests;
