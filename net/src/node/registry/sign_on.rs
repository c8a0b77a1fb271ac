//! Signing on and off, being lost and coming back.

use std::{sync::Arc, time::Instant};

use libp2p::{Multiaddr, PeerId};

use super::{
    ClientId, Effect, GRACE, MAX_ADDRESSES, PlaceId, Registry, SIGN_ONS_PER_SECOND,
    client::{Client, Stage},
    outbox,
    person::{Ix, Link, Session},
};
use crate::{
    directory::{Card, GoneReason, Push, Refusal, Request, VERSION},
    token_bucket::TokenBucket,
};

impl Registry {
    pub(super) fn hello_first(&mut self, now: Instant, id: ClientId, request: Request) {
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
    pub(super) fn take_over(
        &mut self,
        now: Instant,
        id: ClientId,
        ix: Ix,
        order: (u64, u64),
        entry: Arc<[u8]>,
    ) -> bool {
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

    pub(super) fn hello_again(&mut self, now: Instant, id: ClientId, ix: Ix, v: u32, card: &Card) {
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

    pub(super) fn welcome(&self, observed: Multiaddr) -> Push {
        Push::Welcome {
            v: VERSION,
            observed,
            relay: self.terms.relay,
            turn: self.terms.turn,
            stun: self.terms.stun.clone(),
            beat_ms: self.terms.beat.as_millis() as u32,
            limits: self.terms.per_client,
        }
    }

    /// Somebody is there no more.
    pub(super) fn gone(&mut self, ix: Ix, reason: GoneReason) {
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

    pub(super) fn grace_over(&mut self, at: Instant, peer: PeerId) {
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
    pub(super) fn give_up(&mut self, id: ClientId) {
        if let Some(Client { stage: Stage::Online(ix), .. }) = self.clients.get(&id) {
            let ix = *ix;
            if self.people.session(ix).is_some_and(|session| session.link == Link::Online(id)) {
                self.gone(ix, GoneReason::Lost);
            }
        }
        self.close(id);
    }

    /// Ends a client's stream after what it is still to be told.
    pub(super) fn close(&mut self, id: ClientId) {
        let Some(mut client) = self.clients.remove(&id) else { return };
        let frames = client.outbox.last_words();
        if !frames.is_empty() {
            self.effects.push_back(Effect::Write { client: id, frames });
        }
        self.effects.push_back(Effect::Close { client: id });
    }

    pub(super) fn refuse(&mut self, id: ClientId, request: &str, why: Refusal) {
        self.tally.refused += 1;
        self.tell(id, &Push::Refused { request: request.to_owned(), why });
    }

    pub(super) fn turn(&mut self, now: Instant, id: ClientId, ix: Ix) {
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
