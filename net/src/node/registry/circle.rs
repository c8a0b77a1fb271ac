//! Places, watches, and whom one hides from.

use std::collections::BTreeMap;

use libp2p::PeerId;

use super::{
    ClientId, MAX_SEALED_BYTES, Members, PlaceId, Registry, ScopeId, TAG_BYTES, outbox,
    person::{Ix, Membership},
};
use crate::directory::{GoneReason, Place, Refusal};

impl Registry {
    pub(super) fn join(&mut self, id: ClientId, ix: Ix, place: Place, sealed: Option<&[u8]>) {
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

    pub(super) fn leave(&mut self, ix: Ix, place: PlaceId, reason: GoneReason) {
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

    pub(super) fn watch(&mut self, id: ClientId, ix: Ix, peers: &[PeerId]) {
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

    pub(super) fn unwatch(&mut self, ix: Ix, peers: &[PeerId]) {
        let whom: Vec<Ix> = peers.iter().filter_map(|&peer| self.people.find(peer)).collect();
        self.stop_watching(ix, &whom);
    }

    pub(super) fn stop_watching(&mut self, ix: Ix, whom: &[Ix]) {
        for &whom in whom {
            if self.people.unwatch(ix, whom) {
                self.watches -= 1;
                self.people.release(whom);
            }
        }
    }

    pub(super) fn hide(&mut self, id: ClientId, ix: Ix, from: &[PeerId]) {
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
            if whom == ix {
                continue;
            }
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
