//! What the swarm does, put together. Nothing is decided here.

use std::collections::HashSet;

use libp2p::{
    Multiaddr, PeerId, allow_block_list,
    connection_limits::{self, ConnectionLimits},
    gossipsub, identify,
    identity::Keypair,
    mdns, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use crate::{
    Error,
    address_limits::{self, Count},
    directory::{self, Card},
    discovery::lan,
    gate::Gate,
    heartbeat,
    presence::Announcement,
    signalling,
};

/// Connections at a time. A peer has two as a rule, since both sides dial, and may have two more in passing.
const MAX_CONNECTIONS_PER_PEER: u32 = 4;
const MAX_CONNECTIONS: u32 = 512;
const MAX_PENDING: u32 = 64;

/// Several people, each with two connections and two more in passing, may share a machine, or sit behind one.
const MAX_FROM_ADDRESS: u32 = 32;

const IDENTIFY_PROTOCOL: &str = "/parlor/id/1";

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // First, so that what it refuses never reaches the others.
    limits: connection_limits::Behaviour,
    address_limits: address_limits::Behaviour,
    blocked: allow_block_list::Behaviour<allow_block_list::BlockedPeers>,
    near: Gate<Near>,
    relay: relay::client::Behaviour,
    pub(crate) directory: directory::Behaviour,
    pub(crate) heartbeat: heartbeat::Behaviour,
    pub(crate) signalling: signalling::Behaviour,
}

/// What is only for the LAN.
#[derive(NetworkBehaviour)]
pub(crate) struct Near {
    identify: identify::Behaviour,
    mdns_v4: Toggle<mdns::tokio::Behaviour>,
    mdns_v6: Toggle<mdns::tokio::Behaviour>,
    gossip: Toggle<gossipsub::Behaviour>,
}

/// Which parts of the LAN's behaviour are on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lan {
    /// Say who we are, and hear who others are.
    pub(crate) presence: bool,
    /// Look for addresses, and answer those who look.
    pub(crate) mdns: bool,
    /// Which of our addresses they are told.
    pub(crate) tells: fn(&Multiaddr) -> bool,
}

impl Behaviour {
    /// What makes the behaviour once there is a transport through relays. Must be called on a tokio runtime.
    pub(crate) fn prepare(
        keypair: &Keypair,
        lan: Lan,
        hello: &Announcement,
        card: Card,
    ) -> Result<impl FnOnce(relay::client::Behaviour) -> Self + use<>, Error> {
        let local = keypair.public().to_peer_id();
        let limits = ConnectionLimits::default()
            .with_max_pending_incoming(Some(MAX_PENDING))
            .with_max_pending_outgoing(Some(MAX_PENDING))
            .with_max_established(Some(MAX_CONNECTIONS))
            .with_max_established_per_peer(Some(MAX_CONNECTIONS_PER_PEER));
        // Identify would tell everyone every address of this machine.
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.into(), keypair.public())
            .with_agent_version(concat!("parlor/", env!("CARGO_PKG_VERSION")).into())
            .with_hide_listen_addrs(true)
            .with_cache_size(0);
        let near = Near {
            identify: identify::Behaviour::new(identify),
            mdns_v4: lan::mdns(local, false, lan.mdns),
            mdns_v6: lan::mdns(local, true, lan.mdns),
            gossip: lan::gossip(keypair, lan.presence)?,
        };
        let hello = lan.presence.then(|| hello.clone());
        Ok(move |relay| Self {
            limits: connection_limits::Behaviour::new(limits),
            address_limits: address_limits::Behaviour::new(MAX_FROM_ADDRESS, Count::Near),
            blocked: allow_block_list::Behaviour::default(),
            near: Gate::new(near, lan.tells),
            relay,
            directory: directory::Behaviour::new(local, card),
            heartbeat: heartbeat::Behaviour::new(hello),
            signalling: signalling::Behaviour::new(),
        })
    }

    pub(crate) fn gossip(&mut self) -> Option<&mut gossipsub::Behaviour> {
        self.near.inner().gossip.as_mut()
    }

    /// Keeps no connection with these, and with nobody else so.
    pub(crate) fn block(&mut self, peers: &HashSet<PeerId>) {
        let unblocked: Vec<PeerId> =
            self.blocked.blocked_peers().iter().filter(|peer| !peers.contains(peer)).copied().collect();
        for peer in unblocked {
            self.blocked.unblock_peer(peer);
        }
        for peer in peers {
            self.blocked.block_peer(*peer);
        }
    }

    /// Treats the nodes of the circle as what they are: no people.
    pub(crate) fn tell_nodes_from_people(&mut self) {
        let nodes: HashSet<PeerId> = self.directory.nodes().collect();
        self.heartbeat.set_nodes(nodes.clone());
        self.near.set_nodes(nodes);
    }
}
