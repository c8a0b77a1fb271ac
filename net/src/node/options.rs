//! The flags of `parlor-node`, and the file that can have the same settings.

use std::{
    fmt,
    fs::File,
    io::Read as _,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
};

use clap::Parser;
use libp2p::{Multiaddr, PeerId, identity::Keypair, multiaddr::Protocol};
use serde::Deserialize;

use super::{DEFAULT_PORT, NodeConfig, NodeLimits, TurnConfig, listen_addresses, ports::RELAY_PORTS};

/// The longest settings file.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Where `/metrics` and `/health` are, if not said otherwise.
const METRICS: &str = "127.0.0.1:9464";

/// A rendezvous node for Parlor: people find each other through it, and it relays calls that can't connect directly.
///
/// Without any flag it listens on every address of this machine, TCP and UDP port 4001 and UDP port 3478, and prints
/// the link to give to others. Every flag can also stand in a TOML file: `port = 443`, `peer = ["/dns4/..."]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Parser, Deserialize)]
#[command(name = "parlor-node", version)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Options {
    /// Read settings from this file; flags come first.
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Where the node's key is kept [default: the service's state directory, or ~/.local/share/parlor-node].
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// What the node is called, in its log and its metrics.
    #[arg(long)]
    pub name: Option<String>,
    /// Port to listen on, TCP and UDP [default: 4001].
    #[arg(long)]
    pub port: Option<u16>,
    /// Listen here only, instead of on every address, such as /ip4/192.0.2.1/tcp/443. May be repeated.
    #[arg(long, value_name = "MULTIADDR", conflicts_with = "port")]
    pub listen: Vec<Multiaddr>,
    /// The address that this machine is known by outside, when a router or a cloud forwards to it. One of each family.
    #[arg(long, value_name = "IP")]
    pub public_ip: Vec<IpAddr>,
    /// Ask the router to forward the ports (UPnP), and be known by its public address: for a node at home. Unless
    /// --relay-ports says otherwise, 32 calls can be relayed then, since home routers forward few ports.
    #[arg(long)]
    pub map_ports: bool,
    /// Another node, whose address ends with /p2p/ and its key: the two, and those that it knows, get to know each
    /// other, and people are told of them. May be repeated.
    #[arg(long, alias = "peer-node", value_name = "MULTIADDR")]
    #[serde(alias = "peer-node")]
    pub peer: Vec<Multiaddr>,
    /// UDP port of STUN and TURN [default: 3478].
    #[arg(long, value_name = "PORT")]
    pub turn_port: Option<u16>,
    /// UDP ports of relayed media [default: 49152-65535].
    #[arg(long, value_name = "FIRST-LAST")]
    pub relay_ports: Option<PortRange>,
    /// Do not relay media.
    #[arg(long)]
    pub no_turn: bool,
    /// Relay media to private addresses, too, and know nodes there: for networks without an internet.
    #[arg(long)]
    pub allow_private: bool,
    /// Bandwidth of relayed media for each person, kbit/s, both directions together [default: 12000].
    #[arg(long, value_name = "KBPS")]
    pub turn_kbps: Option<u32>,
    /// For how long access to relayed media is given, seconds; calls may last longer [default: 3600].
    #[arg(long, value_name = "S")]
    pub turn_access_s: Option<u32>,
    /// Relayed addresses for media at a time [default: 2000].
    #[arg(long, value_name = "N")]
    pub max_allocations: Option<u32>,
    /// Relayed addresses for media of one person [default: 12].
    #[arg(long, value_name = "N")]
    pub max_allocations_per_person: Option<u32>,
    /// People online at a time [default: 10000].
    #[arg(long, value_name = "N")]
    pub max_users: Option<u32>,
    /// Connections at a time from one IPv4 address, or one IPv6 /64 [default: 256].
    #[arg(long, value_name = "N")]
    pub max_connections_per_address: Option<u32>,
    /// People in the lobby, or in one room [default: 1000].
    #[arg(long, value_name = "N")]
    pub max_place: Option<u32>,
    /// Relayed signalling connections at a time [default: 1000].
    #[arg(long, value_name = "N")]
    pub max_circuits: Option<u32>,
    /// Where /metrics and /health are [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<SocketAddr>,
    /// No /metrics and no /health.
    #[arg(long)]
    pub no_metrics: bool,
    /// Print one line of JSON when the node is ready, instead of text.
    #[arg(long)]
    pub json: bool,
    /// Print the addresses only, one a line.
    #[arg(long, conflicts_with = "json")]
    pub print_address_only: bool,
}

/// Ports from a first to a last, written `49152-65535`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct PortRange(RangeInclusive<u16>);

/// Why the node can't be started as wished.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// The file can't be read.
    #[error("cannot read {}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// There is no place for the key.
    #[error("this user has no home directory; say where to keep the node's key with --data-dir")]
    NoHome,
    /// An address of another node has no key.
    #[error("{0} does not end with /p2p/ and the key of the node: copy the whole address that it prints")]
    NamelessNode(Multiaddr),
    /// More than one public address of a family.
    #[error("--public-ip: give one IPv4 address and one IPv6 address at most")]
    ManyPublicIps,
    /// Zero of something that is needed.
    #[error("{0} can't be 0")]
    Zero(&'static str),
}

impl Options {
    /// Adds what the file says, where the flags say nothing.
    pub fn with_file(self) -> Result<Self, OptionsError> {
        let Some(path) = self.config.clone() else { return Ok(self) };
        let failed = |reason: String| OptionsError::File { path: path.clone(), reason };
        let file: Self = read(&path).map_err(|error| failed(error.to_string())).and_then(|text| {
            toml::from_str(&text).map_err(|error: toml::de::Error| failed(error.to_string().trim().to_owned()))
        })?;
        let many = |flags: Vec<_>, file| if flags.is_empty() { file } else { flags };
        Ok(Self {
            config: self.config,
            data_dir: self.data_dir.or(file.data_dir),
            name: self.name.or(file.name),
            listen: if self.port.is_some() { self.listen } else { many(self.listen, file.listen) },
            port: self.port.or(file.port),
            public_ip: if self.public_ip.is_empty() { file.public_ip } else { self.public_ip },
            map_ports: self.map_ports || file.map_ports,
            peer: many(self.peer, file.peer),
            turn_port: self.turn_port.or(file.turn_port),
            relay_ports: self.relay_ports.or(file.relay_ports),
            no_turn: self.no_turn || file.no_turn,
            allow_private: self.allow_private || file.allow_private,
            turn_kbps: self.turn_kbps.or(file.turn_kbps),
            turn_access_s: self.turn_access_s.or(file.turn_access_s),
            max_allocations: self.max_allocations.or(file.max_allocations),
            max_allocations_per_person: self.max_allocations_per_person.or(file.max_allocations_per_person),
            max_users: self.max_users.or(file.max_users),
            max_connections_per_address: self.max_connections_per_address.or(file.max_connections_per_address),
            max_place: self.max_place.or(file.max_place),
            max_circuits: self.max_circuits.or(file.max_circuits),
            metrics: self.metrics.or(file.metrics),
            no_metrics: self.no_metrics || file.no_metrics,
            json: self.json || file.json,
            print_address_only: self.print_address_only || file.print_address_only,
        })
    }

    /// Where the node's key is kept.
    pub fn identity_file(&self) -> Result<PathBuf, OptionsError> {
        let env = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let dir = self
            .data_dir
            .clone()
            // systemd's StateDirectory.
            .or_else(|| env("STATE_DIRECTORY"))
            .or_else(|| env("XDG_DATA_HOME").map(|data| data.join("parlor-node")))
            .or_else(|| env("HOME").map(|home| home.join(".local/share/parlor-node")));
        dir.map(|dir| dir.join("identity")).ok_or(OptionsError::NoHome)
    }

    /// Where to serve `/metrics` and `/health`.
    pub fn metrics(&self) -> Option<SocketAddr> {
        let default = METRICS.parse().expect("a well-formed address");
        (!self.no_metrics).then(|| self.metrics.unwrap_or(default))
    }

    /// What to spawn.
    pub fn node(&self, keypair: Keypair) -> Result<NodeConfig, OptionsError> {
        if let Some(nameless) = self.peer.iter().find(|address| node_of(address).is_none()) {
            return Err(OptionsError::NamelessNode(nameless.clone()));
        }
        if [true, false].iter().any(|&v4| self.public_ip.iter().filter(|ip| ip.is_ipv4() == v4).count() > 1) {
            return Err(OptionsError::ManyPublicIps);
        }
        let zero = [
            (self.max_users, "--max-users"),
            (self.max_connections_per_address, "--max-connections-per-address"),
            (self.turn_kbps, "--turn-kbps"),
            (self.turn_access_s, "--turn-access-s"),
        ];
        if let Some((_, flag)) = zero.into_iter().find(|(value, _)| *value == Some(0)) {
            return Err(OptionsError::Zero(flag));
        }
        let (limits, turn) = (NodeLimits::default(), TurnConfig::default());
        let users = self.max_users.unwrap_or(limits.users);
        let relay_ports = match &self.relay_ports {
            Some(ports) => ports.0.clone(),
            None if self.map_ports => *turn.relay_ports.start()..=*turn.relay_ports.start() + (RELAY_PORTS - 1),
            None => turn.relay_ports,
        };
        let most = if self.map_ports { relay_ports.len() } else { usize::MAX };
        let turn = TurnConfig {
            port: self.turn_port.unwrap_or(turn.port),
            allow_private: self.allow_private,
            allocations: self.max_allocations.unwrap_or(turn.allocations).min(u32::try_from(most).unwrap_or(u32::MAX)),
            relay_ports,
            allocations_per_person: self.max_allocations_per_person.unwrap_or(turn.allocations_per_person),
            kbps_per_person: self.turn_kbps.unwrap_or(turn.kbps_per_person),
            access_s: self.turn_access_s.unwrap_or(turn.access_s),
        };
        let all = || listen_addresses(self.port.unwrap_or(DEFAULT_PORT));
        Ok(NodeConfig {
            listen: if self.listen.is_empty() { all() } else { self.listen.clone() },
            nodes: self.peer.clone(),
            allow_private_nodes: self.allow_private,
            public_ips: self.public_ip.clone(),
            map_ports: self.map_ports,
            turn: (!self.no_turn).then_some(turn),
            limits: NodeLimits {
                users,
                // Some more, for who is just coming back.
                connections: users + users / 5,
                connections_per_address: self.max_connections_per_address.unwrap_or(limits.connections_per_address),
                place_members: self.max_place.unwrap_or(limits.place_members),
                circuits: self.max_circuits.unwrap_or(limits.circuits),
            },
            ..NodeConfig::new(keypair)
        })
    }
}

fn node_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last()? {
        Protocol::P2p(peer) => Some(peer),
        _ => None,
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let range = text.split_once('-').and_then(|(first, last)| {
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first > 0 && first <= last).then_some(first..=last)
        });
        range.map(Self).ok_or_else(|| "ports are written first-last, such as 49152-65535".to_owned())
    }
}

impl TryFrom<String> for PortRange {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.start(), self.0.end())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn parse(args: &[&str]) -> Options {
        Options::try_parse_from(std::iter::once(&"parlor-node").chain(args)).unwrap()
    }

    #[test]
    fn without_flags_the_node_serves_everybody_on_every_address() {
        let config = parse(&[]).node(Keypair::generate_ed25519()).unwrap();
        assert_eq!(config.listen, listen_addresses(DEFAULT_PORT));
        assert_eq!((config.limits, config.turn), (NodeLimits::default(), Some(TurnConfig::default())));
        assert_eq!(parse(&[]).metrics(), Some("127.0.0.1:9464".parse().unwrap()));
    }

    #[test]
    fn a_file_has_the_same_settings_and_flags_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        let settings = "port = 443\nturn-port = 443\nrelay-ports = \"50000-50100\"\npublic-ip = [\"192.0.2.1\"]\n\
                        no-metrics = true\nmax-users = 50\n";
        fs::write(&path, settings).unwrap();
        let path = path.to_str().unwrap();
        let options = parse(&["--config", path, "--turn-port", "3479"]).with_file().unwrap();
        let config = options.node(Keypair::generate_ed25519()).unwrap();
        assert_eq!(config.listen, listen_addresses(443));
        assert_eq!((config.limits.users, config.limits.connections), (50, 60));
        let turn = config.turn.unwrap();
        assert_eq!((turn.port, turn.relay_ports), (3479, 50_000..=50_100));
        assert_eq!(options.metrics(), None);
        let moved = parse(&["--config", path, "--listen", "/ip4/127.0.0.1/tcp/0"]).with_file().unwrap();
        assert_eq!(moved.node(Keypair::generate_ed25519()).unwrap().listen.len(), 1);
    }

    #[test]
    fn a_router_is_asked_for_few_ports() {
        let config = |args: &[&str]| parse(args).node(Keypair::generate_ed25519()).unwrap();
        let home = config(&["--map-ports"]);
        assert!(home.map_ports && !config(&[]).map_ports);
        let turn = home.turn.unwrap();
        assert_eq!((turn.relay_ports, turn.allocations), (49_152..=49_183, 32));
        let turn = config(&["--map-ports", "--relay-ports", "50000-50003", "--max-allocations", "9"]).turn.unwrap();
        assert_eq!((turn.relay_ports, turn.allocations), (50_000..=50_003, 4));
    }

    #[test]
    fn what_is_wrong_is_said_in_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        fs::write(&path, "prot = 1\n").unwrap();
        let error = parse(&["--config", path.to_str().unwrap()]).with_file().unwrap_err().to_string();
        assert!(error.contains("node.toml") && error.contains("prot"), "{error}");
        let nameless = parse(&["--peer", "/ip4/192.0.2.1/tcp/4001"]).node(Keypair::generate_ed25519());
        assert!(nameless.unwrap_err().to_string().contains("/p2p/"));
        let many = parse(&["--public-ip", "192.0.2.1", "--public-ip", "192.0.2.2"]);
        assert!(many.node(Keypair::generate_ed25519()).is_err());
        for args in [["--relay-ports", "9-8"], ["--port", "99999"], ["--listen", "here"]] {
            assert!(Options::try_parse_from(std::iter::once("parlor-node").chain(args)).is_err(), "{args:?}");
        }
    }
}
