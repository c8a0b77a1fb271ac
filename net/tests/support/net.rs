//! Somebody on the network, as tests see it.

#![allow(dead_code, reason = "each test needs a part of it")]

use std::time::Duration;

use parlor_net::{
    Circle, Config, Event, EventReceiver, Handle, Keypair, NodeLink, OfflineReason, PeerId, Person, Profile, Status,
    signalling::Body,
};
use tokio::time::timeout;

/// Generous, for machines that are busy. Nothing here takes nearly as long.
pub(crate) const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Net {
    pub(crate) handle: Handle,
    pub(crate) events: EventReceiver,
    pub(crate) peer: PeerId,
}

impl Net {
    pub(crate) fn start(name: &str, circle: Circle) -> Self {
        Self::start_as(Keypair::generate_ed25519(), name, circle)
    }

    pub(crate) fn start_as(keypair: Keypair, name: &str, circle: Circle) -> Self {
        let peer = keypair.public().to_peer_id();
        let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let config = Config { keypair, profile: profile(name, Status::Free), lan: false, listen, circle };
        let (handle, events) = parlor_net::spawn(config).unwrap();
        Self { handle, events, peer }
    }

    /// The first event that `wanted` wants; the others are passed over.
    pub(crate) async fn next<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
        };
        timeout(SOON, search).await.expect("it happens soon")
    }

    pub(crate) async fn online(&mut self, who: PeerId) -> Person {
        self.next(|event| match event {
            Event::PeerOnline(person) if person.peer == who => Some(person.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn offline(&mut self, who: PeerId) -> OfflineReason {
        self.next(|event| match event {
            Event::PeerOffline { peer, reason } if *peer == who => Some(*reason),
            _ => None,
        })
        .await
    }

    pub(crate) async fn signed_on(&mut self) {
        self.next(|event| match event {
            Event::Node(state) => matches!(state.link, NodeLink::Online { .. }).then_some(()),
            _ => None,
        })
        .await;
    }

    pub(crate) async fn signal(&mut self) -> (PeerId, Body) {
        self.next(|event| match event {
            Event::Signal { peer, body, .. } => Some((*peer, body.clone())),
            Event::SignalFailed { error, .. } => Some((PeerId::random(), Body::Accept { answer: error.clone() })),
            _ => None,
        })
        .await
    }

    /// Who has come online by the time that `last` has, besides them.
    pub(crate) async fn others_by_the_time_of(&mut self, last: PeerId) -> Vec<PeerId> {
        let mut others = Vec::new();
        self.next(|event| match event {
            Event::PeerOnline(person) if person.peer == last => Some(()),
            Event::PeerOnline(person) => {
                others.push(person.peer);
                None
            }
            _ => None,
        })
        .await;
        others
    }
}

pub(crate) fn profile(name: &str, status: Status) -> Profile {
    Profile { name: name.into(), status }
}
