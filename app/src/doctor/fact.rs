//! What can be found. Plain data, the same in every language, and what `--json` prints.

use std::net::{IpAddr, SocketAddr};

use parlor_media::DeviceKind;
use parlor_net::{
    PeerId,
    diagnose::{Family, Nat, Transport},
};
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Good,
    /// Calls work, but not all, or not as well as they could.
    Warning,
    /// Something does not work.
    Broken,
}

/// What it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// The networks of this machine.
    Near,
    /// Rendezvous nodes, and what lies between.
    Nodes,
    /// Cameras, microphones and loudspeakers.
    Devices,
    /// Where Parlor keeps its files.
    Storage,
}

/// Something that was found, and how bad it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was found.
    #[serde(flatten)]
    pub fact: Fact,
}

/// Something that was found. `at` is the node's machine and port.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields are named after what they hold, and documented where they come from")]
pub enum Fact {
    /// There is no interface that is up.
    NoNetwork,
    /// This machine is in a network.
    Network { interface: String, addresses: Vec<IpAddr> },
    /// Others with Parlor answer there.
    LanSees { interface: String, family: Family, others: usize },
    /// We asked, and nobody answered.
    LanQuiet { interface: String, family: Family, queries: u32 },
    /// We can't ask there.
    LanMute { interface: String, family: Family, reason: String },
    /// Nobody answers on any network.
    NobodyNear,
    /// A Parlor that runs on this machine answers.
    RunsHere,
    /// TCP and UDP ports can be had.
    PortsFree,
    /// A port can't be had.
    PortTaken { transport: Transport, family: Family, reason: String },
    /// The person uses no node.
    NoNodes,
    /// A node is there, and it is the one that was meant.
    NodeReached { node: PeerId, at: String, transport: Transport, took_ms: u64 },
    /// A node can't be reached at one of its addresses.
    NodeUnreachable { node: PeerId, at: String, transport: Option<Transport>, why: Unreachable },
    /// Somebody else answers there.
    NodeWrongKey { node: PeerId, at: String, found: PeerId },
    /// People can be found through it.
    Directory { node: PeerId, at: String, rtt_ms: f64 },
    /// They can't.
    DirectoryFailed { node: PeerId, at: String, why: NoDirectory },
    /// What the node says of itself.
    NodeTells {
        node: PeerId,
        version: String,
        uptime_s: u64,
        /// 0: fewer than ten.
        about_online: Option<u32>,
        max_online: u32,
        max_in_place: u32,
    },
    /// Other nodes have reached it at all of its addresses.
    NodeInReach { node: PeerId, addresses: u32 },
    /// They have not, at some or all of them.
    NodeOutOfReach { node: PeerId, unreached: u32, addresses: u32 },
    /// What the node offers each client.
    NodeOffers { node: PeerId, relay: bool, stun: bool, turn: bool, nodes: usize, places: u32, watches: u32 },
    /// The clocks agree.
    ClockGood { node: PeerId },
    /// They don't; positive if the node's is ahead.
    ClockOff { node: PeerId, ahead_s: i64 },
    /// UDP comes through to the node and back.
    UdpOpen { node: PeerId, at: String, seen_as: SocketAddr },
    /// It does not come through to this node, though to another.
    UdpSilent { node: PeerId, at: String, port: u16 },
    /// It does not come through at all.
    UdpBlocked { over_tcp: bool },
    /// What the router does.
    Nat { kind: Nat },
    /// The node relays media over UDP.
    RelayUdp { node: PeerId, at: String, took_ms: f64 },
    /// It should, and does not.
    RelayUdpFailed { node: PeerId, at: String, why: NoRelay, code: Option<u16> },
    /// The node relays media over the connection with it.
    RelayTcp { node: PeerId, at: String, took_ms: f64 },
    /// It should, and does not.
    RelayTcpFailed { node: PeerId, at: String, why: NoRelay, code: Option<u16> },
    /// The node does not relay media.
    RelayNotOffered { node: PeerId, at: String },
    /// There are such devices.
    Devices { kind: DeviceKind, names: Vec<String> },
    /// There is none.
    NoDevice { kind: DeviceKind },
    /// The system does not say in time.
    DevicesUnknown { kind: DeviceKind },
    /// Files can be written.
    Storage { directory: String, free_mb: Option<u64> },
    /// There is hardly any space.
    StorageFull { directory: String, free_mb: u64 },
    /// Files can't be written.
    StorageDenied { directory: String, reason: String },
    /// The settings can't be read.
    SettingsDamaged { file: String },
}

/// Why a node can't be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unreachable {
    /// Parlor can't dial such an address.
    Unsupported,
    /// The name is not known.
    NameUnknown,
    /// Nobody listens there.
    Refused,
    /// There is no way there.
    NoRoute,
    /// Nothing comes back.
    TimedOut,
    /// Something else answers.
    NoHandshake,
}

/// Why people can't be found through a node that is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoDirectory {
    /// It does not answer.
    Silent,
    /// It makes no sense.
    Broken,
    /// It has no room.
    Full,
    /// It speaks another version.
    Version,
    /// It refuses.
    Refused,
}

/// Why media is not relayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NoRelay {
    /// The node gives no access.
    NoAccess,
    /// The relay does not answer.
    Silent,
    /// It refuses.
    Refused,
    /// It takes, and does not give.
    NotRelayed,
    /// The connection does not carry it.
    NoStream,
}

impl Fact {
    /// What it is about.
    pub const fn section(&self) -> Section {
        match self {
            Self::NoNetwork
            | Self::Network { .. }
            | Self::LanSees { .. }
            | Self::LanQuiet { .. }
            | Self::LanMute { .. }
            | Self::NobodyNear
            | Self::RunsHere
            | Self::PortsFree
            | Self::PortTaken { .. } => Section::Near,
            Self::NoNodes
            | Self::NodeReached { .. }
            | Self::NodeUnreachable { .. }
            | Self::NodeWrongKey { .. }
            | Self::Directory { .. }
            | Self::DirectoryFailed { .. }
            | Self::NodeTells { .. }
            | Self::NodeInReach { .. }
            | Self::NodeOutOfReach { .. }
            | Self::NodeOffers { .. }
            | Self::ClockGood { .. }
            | Self::ClockOff { .. }
            | Self::UdpOpen { .. }
            | Self::UdpSilent { .. }
            | Self::UdpBlocked { .. }
            | Self::Nat { .. }
            | Self::RelayUdp { .. }
            | Self::RelayUdpFailed { .. }
            | Self::RelayTcp { .. }
            | Self::RelayTcpFailed { .. }
            | Self::RelayNotOffered { .. } => Section::Nodes,
            Self::Devices { .. } | Self::NoDevice { .. } | Self::DevicesUnknown { .. } => Section::Devices,
            Self::Storage { .. }
            | Self::StorageFull { .. }
            | Self::StorageDenied { .. }
            | Self::SettingsDamaged { .. } => Section::Storage,
        }
    }
}
