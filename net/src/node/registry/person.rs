//! People by number: who is signed on, and who is only spoken of. Numbers make the many lists of people small.

use std::{collections::HashMap, sync::Arc, time::Instant};

use libp2p::PeerId;

use super::{ClientId, PlaceId, ScopeId};
use crate::token_bucket::TokenBucket;

/// How often somebody may change their card, at once and per second in the long run.
const CARD_BURST: u32 = 10;
const CARDS_PER_SECOND: f64 = 2.0;

/// How often somebody may ask for access to TURN.
const GRANT_BURST: u32 = 6;
const GRANTS_PER_SECOND: f64 = 0.1;

/// Somebody's number, as long as anybody is interested in them.
pub(super) type Ix = u32;

/// How the node is in touch with somebody who is signed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    Online(ClientId),
    /// The stream is lost. They may be back in a moment.
    Lost,
}

/// A place that somebody is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Membership {
    pub(super) place: PlaceId,
    /// Asked for on a stream that another has replaced, and not again since.
    pub(super) stale: bool,
}

/// Somebody who is signed on.
pub(super) struct Session {
    pub(super) link: Link,
    /// When the grace ends: of the person, or of what is stale.
    pub(super) deadline: Option<Instant>,
    /// The process and the number of the card. They only grow.
    pub(super) order: (u64, u64),
    /// The card as it is told to others.
    pub(super) entry: Arc<[u8]>,
    pub(super) memberships: Vec<Membership>,
    /// Sorted.
    pub(super) watches: Vec<Ix>,
    /// Sorted.
    pub(super) hidden: Vec<Ix>,
    pub(super) hidden_stale: bool,
    pub(super) cards: TokenBucket,
    pub(super) grants: TokenBucket,
}

impl Session {
    pub(super) fn new(now: Instant, link: Link, order: (u64, u64), entry: Arc<[u8]>) -> Self {
        Self {
            link,
            deadline: None,
            order,
            entry,
            memberships: Vec::new(),
            watches: Vec::new(),
            hidden: Vec::new(),
            hidden_stale: false,
            cards: TokenBucket::new(CARD_BURST, CARDS_PER_SECOND, now),
            grants: TokenBucket::new(GRANT_BURST, GRANTS_PER_SECOND, now),
        }
    }

    pub(super) fn hides_from(&self, viewer: Ix) -> bool {
        self.hidden.binary_search(&viewer).is_ok()
    }

    /// Whether their stream is to be told about this. What another stream has asked for does not count.
    pub(super) fn has_asked_for(&self, scope: ScopeId) -> bool {
        match scope {
            ScopeId::Watched => true,
            ScopeId::Place(place) => self.memberships.iter().any(|m| m.place == place && !m.stale),
        }
    }

    pub(super) fn membership_mut(&mut self, place: PlaceId) -> Option<&mut Membership> {
        self.memberships.iter_mut().find(|m| m.place == place)
    }
}

struct Person {
    peer: PeerId,
    /// Who watches them. Sorted.
    watchers: Vec<Ix>,
    /// How many hide from them.
    hidden_from: u32,
    session: Option<Box<Session>>,
}

/// Everybody whom the node knows of.
#[derive(Default)]
pub(super) struct People {
    by_peer: HashMap<PeerId, Ix>,
    people: Vec<Option<Person>>,
    free: Vec<Ix>,
}

impl People {
    pub(super) fn len(&self) -> usize {
        self.by_peer.len()
    }

    pub(super) fn find(&self, peer: PeerId) -> Option<Ix> {
        self.by_peer.get(&peer).copied()
    }

    /// Finds somebody, or takes them up. [`People::release`] when there is no interest in them any more.
    pub(super) fn intern(&mut self, peer: PeerId) -> Ix {
        if let Some(ix) = self.find(peer) {
            return ix;
        }
        let person = Some(Person { peer, watchers: Vec::new(), hidden_from: 0, session: None });
        let ix = match self.free.pop() {
            Some(ix) => {
                self.people[ix as usize] = person;
                ix
            }
            None => {
                self.people.push(person);
                (self.people.len() - 1) as Ix
            }
        };
        self.by_peer.insert(peer, ix);
        ix
    }

    /// Forgets somebody in whom nobody is interested.
    pub(super) fn release(&mut self, ix: Ix) {
        let Some(person) = self.person(ix) else { return };
        if person.session.is_none() && person.watchers.is_empty() && person.hidden_from == 0 {
            let peer = person.peer;
            self.by_peer.remove(&peer);
            self.people[ix as usize] = None;
            self.free.push(ix);
        }
    }

    pub(super) fn peer(&self, ix: Ix) -> PeerId {
        self.person(ix).expect("a number that is held in a list names somebody").peer
    }

    pub(super) fn session(&self, ix: Ix) -> Option<&Session> {
        self.person(ix)?.session.as_deref()
    }

    pub(super) fn session_mut(&mut self, ix: Ix) -> Option<&mut Session> {
        self.person_mut(ix)?.session.as_deref_mut()
    }

    pub(super) fn watchers(&self, ix: Ix) -> &[Ix] {
        self.person(ix).map_or(&[], |person| &person.watchers)
    }

    pub(super) fn sign_on(&mut self, ix: Ix, session: Session) {
        if let Some(person) = self.person_mut(ix) {
            person.session = Some(Box::new(session));
        }
    }

    /// Ends a session. Who is to be told.
    pub(super) fn sign_off(&mut self, ix: Ix) -> Vec<Ix> {
        let Some(person) = self.person_mut(ix) else { return Vec::new() };
        person.session = None;
        person.watchers.clone()
    }

    pub(super) fn watch(&mut self, ix: Ix, whom: Ix) {
        if let Some(session) = self.session_mut(ix) {
            insert(&mut session.watches, whom);
        }
        if let Some(person) = self.person_mut(whom) {
            insert(&mut person.watchers, ix);
        }
    }

    /// Whether there was such a watch. The one who was watched is to be [released](People::release).
    pub(super) fn unwatch(&mut self, ix: Ix, whom: Ix) -> bool {
        if let Some(session) = self.session_mut(ix) {
            remove(&mut session.watches, whom);
        }
        self.person_mut(whom).is_some_and(|person| remove(&mut person.watchers, ix))
    }

    pub(super) fn remember_hidden(&mut self, whom: &[Ix]) {
        for &whom in whom {
            if let Some(person) = self.person_mut(whom) {
                person.hidden_from += 1;
            }
        }
    }

    pub(super) fn forget_hidden(&mut self, whom: &[Ix]) {
        for &whom in whom {
            if let Some(person) = self.person_mut(whom) {
                person.hidden_from -= 1;
            }
            self.release(whom);
        }
    }

    fn person(&self, ix: Ix) -> Option<&Person> {
        self.people.get(ix as usize)?.as_ref()
    }

    fn person_mut(&mut self, ix: Ix) -> Option<&mut Person> {
        self.people.get_mut(ix as usize)?.as_mut()
    }
}

fn insert(sorted: &mut Vec<Ix>, ix: Ix) {
    if let Err(at) = sorted.binary_search(&ix) {
        sorted.insert(at, ix);
    }
}

fn remove(sorted: &mut Vec<Ix>, ix: Ix) -> bool {
    match sorted.binary_search(&ix) {
        Ok(at) => {
            sorted.remove(at);
            true
        }
        Err(_) => false,
    }
}
