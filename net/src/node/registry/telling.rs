//! Who is told of whom, and in which frames.

use std::{ops::Bound, sync::Arc};

use super::{
    BATCH_BYTES, ClientId, Effect, PlaceId, Registry, ScopeId,
    client::Stage,
    outbox::{Item, Outbox},
    person::{Ix, Link},
};
use crate::directory::{GoneReason, Scope};

impl Registry {
    /// All who may see somebody are to look again.
    pub(super) fn mark_everywhere(&mut self, ix: Ix, reason: GoneReason) {
        let watchers = self.people.watchers(ix).to_vec();
        self.mark_watchers(ix, &watchers, reason);
        let Some(session) = self.people.session(ix) else { return };
        let places: Vec<PlaceId> = session.memberships.iter().map(|m| m.place).collect();
        for place in places {
            self.mark_members(ix, place, reason);
        }
    }

    pub(super) fn mark_watchers(&mut self, ix: Ix, watchers: &[Ix], reason: GoneReason) {
        for &watcher in watchers {
            self.mark(watcher, ScopeId::Watched, ix, reason);
        }
    }

    pub(super) fn mark_members(&mut self, ix: Ix, place: PlaceId, reason: GoneReason) {
        let Some(all) = self.members.get(&place) else { return };
        let viewers: Vec<Ix> = all.members.keys().copied().filter(|&viewer| viewer != ix).collect();
        for viewer in viewers {
            self.mark(viewer, ScopeId::Place(place), ix, reason);
        }
    }

    /// One viewer is to look again at one person, wherever they see them.
    pub(super) fn mark_for(&mut self, ix: Ix, viewer: Ix) {
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

    pub(super) fn mark(&mut self, viewer: Ix, scope: ScopeId, whom: Ix, reason: GoneReason) {
        let Some(session) = self.people.session(viewer).filter(|session| session.has_asked_for(scope)) else { return };
        let Link::Online(id) = session.link else { return };
        let peer = self.people.peer(whom);
        if let Some(client) = self.clients.get_mut(&id)
            && client.outbox.mark(scope, peer, reason)
        {
            self.ready.push_back(id);
        }
    }

    /// A client is to get the whole list.
    pub(super) fn list(&mut self, id: ClientId, scope: ScopeId) {
        if let Some(client) = self.clients.get_mut(&id)
            && client.outbox.list(scope)
        {
            self.ready.push_back(id);
        }
    }

    /// What a client is to be told now. A client that is too far behind is let go.
    pub(super) fn next_batch(&mut self, id: ClientId) -> Option<Vec<Vec<u8>>> {
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

    /// The scope in the words of the wire, if the viewer has asked to be told about it.
    fn scope_of(&self, viewer: Ix, scope: ScopeId) -> Option<Scope> {
        self.people.session(viewer).filter(|session| session.has_asked_for(scope))?;
        match scope {
            ScopeId::Watched => Some(Scope::Watched),
            ScopeId::Place(place) => self.members.get(&place).map(|all| Scope::Place(all.place.clone())),
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
