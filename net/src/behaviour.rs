//! What the swarm does, put together. Nothing is decided here.

use libp2p::{
    connection_limits::{self, ConnectionLimits},
    gossipsub, identify,
    identity::Keypair,
    mdns,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use crate::{Error, discovery::lan, heartbeat, per_address, presence::Announcement, signalling};

/// Connections at a time. A peer has two as a rule, since both sides dial, and may have two more in passing.
const MAX_CONNECTIONS_PER_PEER: u32 = 4;
const MAX_CONNECTIONS: u32 = 512;
const MAX_PENDING: u32 = 64;

const IDENTIFY_PROTOCOL: &str = "/parlor/id/1";

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // First, so that what it refuses never reaches the others.
    limits: connection_limits::Behaviour,
    per_address: per_address::Behaviour,
    identify: identify::Behaviour,
    pub(crate) mdns_v4: Toggle<mdns::tokio::Behaviour>,
    pub(crate) mdns_v6: Toggle<mdns::tokio::Behaviour>,
    pub(crate) gossip: Toggle<gossipsub::Behaviour>,
    pub(crate) heartbeat: heartbeat::Behaviour,
    pub(crate) signalling: signalling::Behaviour,
}

/// Which parts of the LAN's behaviour are on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lan {
    /// Say who we are, and hear who others are.
    pub(crate) presence: bool,
    /// Look for addresses, and answer those who look.
    pub(crate) mdns: bool,
}

impl Behaviour {
    /// Must be called on a tokio runtime.
    pub(crate) fn new(keypair: &Keypair, lan: Lan, hello: &Announcement) -> Result<Self, Error> {
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
        Ok(Self {
            limits: connection_limits::Behaviour::new(limits),
            per_address: per_address::Behaviour::default(),
            identify: identify::Behaviour::new(identify),
            mdns_v4: lan::mdns(local, false, lan.mdns),
            mdns_v6: lan::mdns(local, true, lan.mdns),
            gossip: lan::gossip(keypair, lan.presence)?,
            heartbeat: heartbeat::Behaviour::new(lan.presence.then(|| hello.clone())),
            signalling: signalling::Behaviour::new(),
        })
    }
}
