//! Looks what works and what does not: the networks of this machine, and the rendezvous nodes that a person uses.
//!
//! Probes and their plain results; what a result means to a person, and what to do about it, is said elsewhere. Nobody is
//! contacted but the local network's multicast group and the nodes given. A probe speaks with a key made for the
//! occasion, so that a running Parlor goes on undisturbed, and it ends within its deadline whatever the other end does.

mod connection;
mod directory;
mod interfaces;
mod mdns;
mod node;
mod ports;
mod relay;
mod udp;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

pub use self::{
    interfaces::{Interface, interfaces},
    mdns::lan,
    node::node,
    ports::ports,
    udp::maps_alike,
};

/// The longest that any of the probes takes, as far as it is not over before.
pub const LONGEST: Duration = Duration::from_secs(8);

/// Which internet protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// That of an address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// TCP.
    #[serde(rename = "TCP")]
    Tcp,
    /// QUIC, over UDP.
    #[serde(rename = "QUIC")]
    Quic,
}

/// Who answers on one network, over IPv4 or IPv6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanProbe {
    /// The interface's name.
    pub interface: String,
    /// Over which protocol.
    pub family: Family,
    /// This machine's address there.
    pub address: IpAddr,
    /// How many queries we sent, or why we could not.
    pub sent: Result<u32, String>,
    /// Queries of others that were heard.
    pub queries: u32,
    /// Who on other machines answered. These may be other programs of the same library.
    pub others: usize,
    /// Who on this machine answered: a Parlor that runs.
    pub own: usize,
}

/// Whether a port can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortProbe {
    /// Of what.
    pub transport: Transport,
    /// Over which protocol.
    pub family: Family,
    /// Or why not.
    pub outcome: Result<(), String>,
}

/// How it went with a node. What is absent was not offered, or not come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeProbe {
    /// Which.
    pub node: PeerId,
    /// Its addresses, in the order given.
    pub ways: Vec<WayProbe>,
    /// What carried the rest.
    pub over: Option<Transport>,
    /// The directory's answer.
    pub directory: Option<Result<Offers, DirectoryProblem>>,
    /// To the directory and back, at best.
    pub rtt: Option<Duration>,
    /// What it says of itself. Nodes of the first version say nothing.
    pub tells: Option<Tells>,
    /// How far its clock is ahead of ours, milliseconds.
    pub clock_ahead_ms: Option<i64>,
    /// UDP to it and back.
    pub udp: Option<UdpProbe>,
    /// Media through its relay, over UDP: to the relay and back.
    pub relay_udp: Option<Result<Duration, RelayProblem>>,
    /// The same over the connection, as where UDP is blocked.
    pub relay_stream: Option<Result<Duration, RelayProblem>>,
}

impl NodeProbe {
    /// Whether people can be found through it.
    pub fn serves(&self) -> bool {
        matches!(self.directory, Some(Ok(_)))
    }
}

/// How it went with an address of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WayProbe {
    /// The address, without `/p2p`.
    pub address: Multiaddr,
    /// Of an address that is understood.
    pub transport: Option<Transport>,
    /// Where it was reached, or why not.
    pub outcome: Result<Reached, WayProblem>,
}

/// A node was reached, and it is the one that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Where.
    pub at: SocketAddr,
    /// How long it took until both had proven their keys.
    pub took: Duration,
}

/// Why a node can't be reached at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WayProblem {
    /// It is no address that Parlor can dial.
    Unsupported,
    /// The name is not known.
    NameUnknown,
    /// The machine answers that nobody listens there.
    Refused,
    /// There is no way there.
    Unreachable {
        /// What the system says.
        reason: String,
    },
    /// Nothing comes back.
    TimedOut,
    /// Something answers, but does not prove a key.
    NoHandshake {
        /// What went wrong.
        reason: String,
    },
    /// Somebody else answers.
    WrongKey {
        /// Who.
        found: PeerId,
    },
}

/// What a node offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offers {
    /// It relays signalling.
    pub relay: bool,
    /// It relays media.
    pub turn: bool,
    /// It says where it sees us, over UDP.
    pub stun: bool,
    /// Other nodes that it knows.
    pub nodes: usize,
    /// Places that a client may be in.
    pub places: u32,
    /// People whom a client may watch.
    pub watches: u32,
}

/// Why a directory does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DirectoryProblem {
    /// It does not answer.
    Silent,
    /// It ends the conversation, or makes no sense.
    Broken {
        /// What went wrong.
        reason: String,
    },
    /// It has no room for us.
    Full,
    /// It speaks another version.
    Version,
    /// It refuses for another reason.
    Refused,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tells {
    /// Its version, fit to be shown.
    pub version: String,
    /// How long it has been running.
    pub uptime: Duration,
    /// About how many people are online: 0 stands for fewer than ten.
    pub about_online: Option<u32>,
    /// How many may be online.
    pub max_online: u32,
    /// How many may be in one place.
    pub max_in_place: u32,
    /// At how many of its addresses other nodes have reached it, and at how many they have not.
    pub reached: Option<(u32, u32)>,
}

/// UDP to a node and back (STUN, RFC 8489).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpProbe {
    /// Where we asked.
    pub server: SocketAddr,
    /// Where the node sees us; nothing came back otherwise.
    pub mapped: Option<SocketAddr>,
    /// What lies between.
    pub nat: Nat,
}

/// How a router between us and a node gives ports to what we send (RFC 5780, section 4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nat {
    /// Nothing is translated.
    None,
    /// One port for all ports of the node: holes can be punched.
    SamePort,
    /// Another port for every destination: holes can't be punched.
    PortForEach,
    /// It could not be found out.
    Unknown,
}

/// Why the relay does not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayProblem {
    /// The node gives no access.
    NoAccess,
    /// It does not answer.
    Silent,
    /// It answers with an error (RFC 8489, section 14.8).
    Refused {
        /// The code.
        code: u16,
    },
    /// It gives an address, but what is sent there does not come back.
    NotRelayed,
    /// The stream to it can't be opened, or ended.
    NoStream,
}

/// The runtime's clock.
fn now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
