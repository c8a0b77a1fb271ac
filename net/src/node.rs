//! The rendezvous node: people find each other through it, and it relays where they can't connect directly.
//!
//! [`spawn`] runs one on the current tokio runtime; the program `parlor-node` does nothing else.

mod behaviour;
mod directory_server;
mod event_loop;
pub mod greeting;
mod guarded;
mod lean;
mod metrics;
mod noise;
mod options;
mod outside;
mod peers;
mod ports;
mod reachability;
mod registry;
mod turn;
mod turn_streams;

use std::{net::IpAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use libp2p::{Multiaddr, PeerId, identity::Keypair};
use tokio::sync::{mpsc, oneshot, watch};

use self::event_loop::{Command, EventLoop};
pub use self::{
    metrics::MetricsServer,
    options::{Options, OptionsError, PortRange},
    outside::Outside,
    ports::{PortMapping, RefusedPort},
    reachability::Reached,
};
use crate::Error;

/// What [`spawn`] needs to know.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The key that the node is known by.
    pub keypair: Keypair,
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Other nodes, each with `/p2p/<id>`: clients are told of them, and further ones are found through them.
    pub nodes: Vec<Multiaddr>,
    /// Know nodes at private addresses, too, and on this machine: for networks without an internet.
    pub allow_private_nodes: bool,
    /// Addresses that this machine is known by outside, where they are not its own: behind a NAT that forwards to it.
    pub public_ips: Vec<IpAddr>,
    /// Ask the router to forward our ports (UPnP), and be known by its public address: for a node at home.
    pub map_ports: bool,
    /// Relay media, too.
    pub turn: Option<TurnConfig>,
    /// How often clients are to say that they are there. Who misses three is gone.
    pub beat: Duration,
    /// How much the node takes on.
    pub limits: NodeLimits,
}

impl NodeConfig {
    /// What `parlor-node` does without any flag, except that it is known by this key.
    pub fn new(keypair: Keypair) -> Self {
        Self {
            keypair,
            listen: listen_addresses(DEFAULT_PORT),
            nodes: Vec::new(),
            allow_private_nodes: false,
            public_ips: Vec::new(),
            map_ports: false,
            turn: Some(TurnConfig::default()),
            beat: Duration::from_secs(5),
            limits: NodeLimits::default(),
        }
    }
}

/// The port of `parlor-node`, TCP and UDP.
pub const DEFAULT_PORT: u16 = 4001;

/// Every interface, IPv4 and IPv6, TCP and QUIC.
pub fn listen_addresses(port: u16) -> Vec<Multiaddr> {
    [
        format!("/ip4/0.0.0.0/tcp/{port}"),
        format!("/ip4/0.0.0.0/udp/{port}/quic-v1"),
        format!("/ip6/::/tcp/{port}"),
        format!("/ip6/::/udp/{port}/quic-v1"),
    ]
    .iter()
    .map(|address| address.parse().expect("a well-formed address"))
    .collect()
}

/// How much a node takes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// People online at a time, and relay reservations.
    pub users: u32,
    /// Connections at a time.
    pub connections: u32,
    /// Connections at a time from one IPv4 address, or one IPv6 /64.
    pub connections_per_address: u32,
    /// People in the lobby, or in one room.
    pub place_members: u32,
    /// Relayed signalling connections at a time.
    pub circuits: u32,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self { users: 10_000, connections: 12_000, connections_per_address: 256, place_members: 1000, circuits: 1000 }
    }
}

/// How media is relayed (STUN and TURN, RFC 8489 and RFC 8656).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnConfig {
    /// UDP. Zero: some free port.
    pub port: u16,
    /// From which relayed addresses have their ports.
    pub relay_ports: RangeInclusive<u16>,
    /// Relay to private addresses, too: for networks without an internet.
    pub allow_private: bool,
    /// Relayed addresses at a time.
    pub allocations: u32,
    /// Relayed addresses of one person.
    pub allocations_per_person: u32,
    /// Bandwidth of one person, kbit/s, both directions together.
    pub kbps_per_person: u32,
    /// For how long access is given, seconds; clients renew it in time. Running calls may go on for longer.
    pub access_s: u32,
}

impl Default for TurnConfig {
    fn default() -> Self {
        Self {
            port: 3478,
            relay_ports: 49_152..=65_535,
            allow_private: false,
            allocations: 2000,
            allocations_per_person: 12,
            kbps_per_person: 12_000,
            access_s: 3600,
        }
    }
}

/// How a node is doing. Counters begin with its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NodeStats {
    /// Connections now.
    pub connections: u64,
    /// Directory streams now.
    pub clients: u64,
    /// People online now.
    pub users: u64,
    /// Other nodes that are known and there, now.
    pub nodes: u64,
    /// Places with somebody in them, now.
    pub places: u64,
    /// Watches of all together, now.
    pub watches: u64,
    /// People who came online.
    pub sign_ons: u64,
    /// People who left on purpose.
    pub left: u64,
    /// People who were lost.
    pub lost: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Frames given to clients.
    pub frames: u64,
    /// Clients that were let go since they did not read.
    pub slow: u64,
    /// Relay reservations.
    pub reservations: u64,
    /// Relayed signalling connections.
    pub circuits: u64,
    /// Relayed addresses for media, now.
    pub turn_allocations: u64,
    /// Bytes of media that were relayed.
    pub turn_bytes: u64,
    /// Packets of media that were relayed.
    pub turn_packets: u64,
    /// Packets of media that were dropped, since somebody used more than their bandwidth.
    pub turn_over_limit: u64,
    /// Requests to the media relay that were refused, from people who have access.
    pub turn_refused: u64,
    /// Ports that the router forwards, now.
    pub mapped_ports: u64,
    /// Addresses at which other nodes have reached us lately.
    pub addresses_reached: u64,
    /// Addresses at which they have tried to, and have not.
    pub addresses_not_reached: u64,
}

/// Starts a node on the current tokio runtime, and comes back when it listens.
///
/// # Panics
///
/// Outside of a tokio runtime.
pub async fn spawn(config: NodeConfig) -> Result<NodeHandle, Error> {
    let (commands, receiver) = mpsc::channel(1);
    let (publish, stats) = watch::channel(NodeStats::default());
    let (tell, outside) = watch::channel(Outside::default());
    let peer = config.keypair.public().to_peer_id();
    let event_loop = EventLoop::new(&config, receiver, publish, tell).await?;
    tokio::spawn(event_loop.run());
    let addresses: Arc<[Multiaddr]> = outside.borrow().addresses.clone().into();
    Ok(NodeHandle { commands, peer, addresses, stats, outside })
}

/// A running node. It stops when [`NodeHandle::shutdown`] is called or the last clone is dropped.
#[derive(Clone, Debug)]
pub struct NodeHandle {
    commands: mpsc::Sender<Command>,
    peer: PeerId,
    addresses: Arc<[Multiaddr]>,
    stats: watch::Receiver<NodeStats>,
    outside: watch::Receiver<Outside>,
}

impl NodeHandle {
    /// Who it is.
    pub fn peer(&self) -> PeerId {
        self.peer
    }

    /// Where it was when it was started, with `/p2p/<id>`.
    pub fn addresses(&self) -> &[Multiaddr] {
        &self.addresses
    }

    /// How it is doing, once a second.
    pub fn stats(&self) -> watch::Receiver<NodeStats> {
        self.stats.clone()
    }

    /// How the outside knows it: that changes with the router's address, and with what other nodes say.
    pub fn outside(&self) -> watch::Receiver<Outside> {
        self.outside.clone()
    }

    /// Tells everybody to go elsewhere, and stops.
    pub async fn shutdown(self) {
        let (done, stopped) = oneshot::channel();
        if self.commands.send(Command::Shutdown { done }).await.is_ok() {
            // An error means that it has stopped already.
            let _ = stopped.await;
        }
    }
}
