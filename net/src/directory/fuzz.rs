//! Whatever a node or a client says: nothing panics, and what is understood can be said again.

use libp2p::{PeerId, identity::Keypair};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::{Card, Entry, GoneReason, MAX_CARD_BYTES, NodeStatus, Place, Push, Request, Room, Scope};
use crate::{Profile, Status, mutator::fuzz, presence::Announcement};

fn card(keypair: &Keypair) -> Card {
    let profile = Profile { name: "李伟 Ann".into(), status: Status::Free };
    Card::sign(keypair, &Announcement::new(&profile, 1_800_000_000_000, 7, 1_800_000_000_001)).unwrap()
}

/// Reads bytes as a message; whatever that gives survives being written and read.
fn read<T: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<T>(bytes) {
        let again = serde_json::to_vec(&message).unwrap();
        assert!(serde_json::from_slice::<T>(&again).unwrap() == message);
    }
}

#[test]
fn fuzz_directory_requests_and_pushes() {
    let keypair = Keypair::generate_ed25519();
    let peer = keypair.public().to_peer_id();
    let room = Place::Room(vec![7; 32]);
    let mut samples: Vec<Vec<u8>> = [
        Request::Hello { v: 1, card: card(&keypair) },
        Request::Join { place: room.clone(), sealed: Some(vec![255; 40]) },
        Request::Leave { place: Place::Lobby },
        Request::Watch { peers: vec![peer; 3] },
        Request::Hide { from: vec![peer] },
        Request::Turn {},
        Request::Status {},
    ]
    .iter()
    .map(|request| serde_json::to_vec(request).unwrap())
    .collect();
    let people = vec![Entry { peer, card: card(&keypair).as_bytes().to_vec() }];
    let pushes = [
        Push::People { scope: Scope::Place(room), people, more: true },
        Push::Gone { scope: Scope::Watched, peer, reason: GoneReason::Lost },
        Push::Beat {},
        Push::Status(NodeStatus {
            version: "0.1.0".into(),
            uptime_s: 60,
            unix_ms: 1,
            about_online: Some(20),
            max_online: 10_000,
            max_in_place: 1000,
            reached: Some((3, 1)),
        }),
    ];
    samples.extend(pushes.iter().map(|push| serde_json::to_vec(push).unwrap()));
    let turn = json!({ "event": "turn", "username": "u", "password": "p", "ttl_s": 600, "udp": ["192.0.2.1:3478"], "stream": true });
    samples.push(turn.to_string().into_bytes());
    fuzz(&samples, |bytes| {
        read::<Request>(bytes);
        read::<Push>(bytes);
    });
}

#[test]
fn fuzz_cards() {
    let keypair = Keypair::generate_ed25519();
    let (peer, genuine) = (keypair.public().to_peer_id(), card(&keypair));
    let said = genuine.open(peer).unwrap();
    fuzz(&[genuine.as_bytes()], |bytes| {
        // A protobuf has several encodings; what it says is what was signed.
        if let Ok(understood) = Card::from_bytes(bytes.to_vec()).open(peer) {
            assert!(understood == said && bytes.len() <= MAX_CARD_BYTES, "a forgery was taken for genuine");
        }
    });
}

#[test]
fn fuzz_what_a_room_has_sealed() {
    let (room, author) = (Room::derive("team", "secret"), PeerId::random());
    let sealed = room.seal(author, b"a card");
    fuzz(std::slice::from_ref(&sealed), |bytes| {
        assert!(bytes == sealed || room.unseal(author, bytes).is_none(), "a forgery was taken for genuine");
    });
}
