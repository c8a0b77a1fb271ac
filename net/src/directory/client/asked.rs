//! What a node was asked for on one stream, and what is to be asked to bring that up to date. Pure.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::PeerId;

use super::homes::Duty;
use crate::{
    Circle, Found, RoomId,
    directory::{Card, Place, Request, Scope, VERSION},
};

/// How many people one request names, so that it fits into a frame: an id takes at most 55 bytes there.
const PEOPLE_PER_REQUEST: usize = 1000;

/// What is to hold at a node.
pub(super) struct Wish<'a> {
    pub(super) local: PeerId,
    pub(super) node: PeerId,
    pub(super) card: &'a Card,
    pub(super) circle: &'a Circle,
    pub(super) duty: &'a Duty,
}

/// What was asked on one stream. A new stream begins with nothing asked.
#[derive(Debug, Default)]
pub(super) struct Asked {
    card: Option<Card>,
    hidden: Vec<PeerId>,
    places: BTreeMap<Place, Found>,
    watched: BTreeSet<PeerId>,
}

impl Asked {
    /// What to ask so that the wish comes true. Whom we hide from comes first, before they could be told of us.
    pub(super) fn bring_up_to(&mut self, wish: &Wish<'_>) -> Vec<Request> {
        let Wish { local, node, card, circle, duty } = wish;
        let mut requests = Vec::new();
        let card_changed = self.card.as_ref() != Some(card);
        let hidden: Vec<PeerId> = circle.blocked.iter().take(PEOPLE_PER_REQUEST).copied().collect();
        if self.hidden != hidden {
            requests.push(Request::Hide { from: hidden.clone() });
            self.hidden = hidden;
        }
        if card_changed {
            requests.push(Request::Hello { v: VERSION, card: (*card).clone() });
            self.card = Some((*card).clone());
        }

        let mut places = BTreeMap::new();
        if circle.lobby && duty.home {
            places.insert(Place::Lobby, Found::Lobby);
        }
        let mut sealed: BTreeMap<RoomId, _> = BTreeMap::new();
        for room in circle.rooms.iter().filter(|room| duty.rooms.contains(&room.id())) {
            places.insert(Place::Room(room.tag(*node)), Found::Room(room.id()));
            sealed.insert(room.id(), room);
        }
        requests.extend(
            self.places
                .keys()
                .filter(|place| !places.contains_key(place))
                .map(|place| Request::Leave { place: place.clone() }),
        );
        requests.extend(in_batches(self.watched.difference(&duty.watch)).map(|peers| Request::Unwatch { peers }));
        for (place, found) in &places {
            let sealed = match found {
                Found::Room(id) => sealed.get(id).map(|room| room.seal(*local, card.as_bytes())),
                Found::Lobby | Found::Contact => None,
            };
            // Sealed cards are replaced by joining again; in the lobby the hello does that.
            if !self.places.contains_key(place) || (card_changed && sealed.is_some()) {
                requests.push(Request::Join { place: place.clone(), sealed });
            }
        }
        requests.extend(in_batches(duty.watch.difference(&self.watched)).map(|peers| Request::Watch { peers }));
        self.places = places;
        self.watched.clone_from(&duty.watch);
        requests
    }

    /// Why people in this scope are told of; `None` if the node was not asked for it.
    pub(super) fn found(&self, scope: &Scope) -> Option<Found> {
        match scope {
            Scope::Place(place) => self.places.get(place).copied(),
            Scope::Watched => Some(Found::Contact),
        }
    }

    /// The places that were asked for.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.places.keys()
    }

    /// Whether the node was asked for what people are found by in this way.
    pub(super) fn covers(&self, found: Found) -> bool {
        match found {
            Found::Lobby | Found::Room(_) => self.places.values().any(|place| *place == found),
            Found::Contact => true,
        }
    }

    /// Whether the node was asked about this person, or for all in the place.
    pub(super) fn is_about(&self, found: Found, peer: &PeerId) -> bool {
        match found {
            Found::Lobby | Found::Room(_) => true,
            Found::Contact => self.watched.contains(peer),
        }
    }

    /// The node has not granted something, it does not say what: ask for all again.
    pub(super) fn forget(&mut self) {
        self.card = None;
        self.places.clear();
        self.watched.clear();
        self.hidden.clear();
    }
}

fn in_batches<'a>(peers: impl Iterator<Item = &'a PeerId>) -> impl Iterator<Item = Vec<PeerId>> {
    let peers: Vec<PeerId> = peers.copied().collect();
    let batches: Vec<Vec<PeerId>> = peers.chunks(PEOPLE_PER_REQUEST).map(<[PeerId]>::to_vec).collect();
    batches.into_iter()
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;
    use crate::{Profile, Room, Status, directory::MAX_REQUEST_BYTES, presence::Announcement};

    fn card(keypair: &Keypair, seq: u64) -> Card {
        let profile = Profile { name: "Ann".into(), status: Status::Free };
        Card::sign(keypair, &Announcement::new(&profile, 1, seq, 0)).unwrap()
    }

    #[test]
    fn a_full_circle_is_asked_for_in_frames_that_fit_and_once() {
        let keypair = Keypair::generate_ed25519();
        let (local, node) = (keypair.public().to_peer_id(), PeerId::random());
        let people: Vec<PeerId> = (0..1000).map(|_| PeerId::random()).collect();
        let rooms: Vec<Room> = (0..3).map(|n| Room::derive(&n.to_string(), "secret")).collect();
        let duty =
            Duty { home: true, rooms: rooms.iter().map(Room::id).collect(), watch: people.iter().copied().collect() };
        let mut circle = Circle { lobby: true, rooms, blocked: people, ..Circle::default() };
        let card_1 = card(&keypair, 1);
        let mut asked = Asked::default();
        let requests = asked.bring_up_to(&Wish { local, node, card: &card_1, circle: &circle, duty: &duty });
        for request in &requests {
            let bytes = serde_json::to_vec(request).unwrap().len();
            assert!(bytes <= MAX_REQUEST_BYTES, "{bytes}");
        }
        assert!(matches!(requests[..2], [Request::Hide { .. }, Request::Hello { .. }]));
        let count = |wanted: fn(&Request) -> bool| requests.iter().filter(|request| wanted(request)).count();
        assert_eq!(count(|r| matches!(r, Request::Join { .. })), 4);
        assert_eq!(count(|r| matches!(r, Request::Watch { .. })), 1);
        assert!(
            asked.bring_up_to(&Wish { local, node, card: &card_1, circle: &circle, duty: &duty }).is_empty(),
            "nothing changed"
        );

        let card_2 = card(&keypair, 2);
        let again = asked.bring_up_to(&Wish { local, node, card: &card_2, circle: &circle, duty: &duty });
        assert!(matches!(again[0], Request::Hello { .. }));
        assert_eq!(again.len(), 1 + 3, "the rooms get the new card, the lobby has it from the hello: {again:?}");

        circle.lobby = false;
        circle.blocked.clear();
        let less = Duty { home: true, ..Duty::default() };
        let last = asked.bring_up_to(&Wish { local, node, card: &card_2, circle: &circle, duty: &less });
        assert_eq!(last[0], Request::Hide { from: Vec::new() });
        assert_eq!(last.iter().filter(|r| matches!(r, Request::Leave { .. })).count(), 4);
        assert_eq!(last.iter().filter(|r| matches!(r, Request::Unwatch { .. })).count(), 1);
        assert_eq!(last.len(), 6);
    }
}
