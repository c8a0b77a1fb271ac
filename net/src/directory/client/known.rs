//! Whom one node shows, bounded however much it says. Pure.

use std::collections::{BTreeMap, HashMap};

use libp2p::PeerId;

use crate::Found;

/// How many people one node may show. Further ones are not listed.
const MAX_PEOPLE: usize = 2000;

/// Whom one node shows, and on which of its streams it said so last.
#[derive(Debug, Default)]
pub(super) struct Known {
    people: HashMap<PeerId, BTreeMap<Found, u32>>,
    /// Counts the streams.
    stream: u32,
}

impl Known {
    /// A new stream begins: what was said before has to be said again.
    pub(super) fn begin(&mut self) {
        self.stream = self.stream.wrapping_add(1);
    }

    /// Whether there is place for this person.
    pub(super) fn has_place_for(&self, peer: &PeerId) -> bool {
        self.people.len() < MAX_PEOPLE || self.people.contains_key(peer)
    }

    /// The node shows this person.
    pub(super) fn insert(&mut self, peer: PeerId, found: Found) {
        if self.has_place_for(&peer) {
            self.people.entry(peer).or_default().insert(found, self.stream);
        }
    }

    /// The node shows this person no more. Whether it did.
    pub(super) fn remove(&mut self, peer: &PeerId, found: Found) -> bool {
        let Some(shown) = self.people.get_mut(peer) else { return false };
        let removed = shown.remove(&found).is_some();
        if shown.is_empty() {
            self.people.remove(peer);
        }
        removed
    }

    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.people.contains_key(peer)
    }

    /// Takes out whoever was not shown on the current stream.
    pub(super) fn take_stale(&mut self) -> Vec<(PeerId, Found)> {
        let stream = self.stream;
        self.take(|_, _, shown_on| shown_on != stream)
    }

    /// Takes out everybody.
    pub(super) fn take_all(&mut self) -> Vec<(PeerId, Found)> {
        self.take(|_, _, _| true)
    }

    /// Takes out whom the node is not asked about any more.
    pub(super) fn take_unasked(&mut self, asked: impl Fn(Found, &PeerId) -> bool) -> Vec<(PeerId, Found)> {
        self.take(|peer, found, _| !asked(found, peer))
    }

    fn take(&mut self, mut unwanted: impl FnMut(&PeerId, Found, u32) -> bool) -> Vec<(PeerId, Found)> {
        let mut taken = Vec::new();
        self.people.retain(|peer, shown| {
            shown.retain(|found, shown_on| {
                let take = unwanted(peer, *found, *shown_on);
                if take {
                    taken.push((*peer, *found));
                }
                !take
            });
            !shown.is_empty()
        });
        taken
    }
}
