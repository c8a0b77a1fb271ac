//! What the node's swarm does, put together. Nothing is decided here.

use std::time::Duration;

use libp2p::{
    connection_limits::{self, ConnectionLimits},
    identify, relay,
    swarm::{NetworkBehaviour, behaviour::toggle::Toggle},
};

use super::{NodeConfig, NodeLimits, directory_server, guarded, peers, reachability, registry::Registry, turn_streams};
use crate::address_limits::{self, Count};

/// Connections of one person: a few in passing, while they change networks.
const MAX_CONNECTIONS_PER_PEER: u32 = 8;

/// Connections that are being set up.
const MAX_PENDING: u32 = 1024;

/// What a circuit may carry, and for how long: signalling of long calls.
const MAX_CIRCUIT_BYTES: u64 = 1024 * 1024;
const MAX_CIRCUIT_DURATION: Duration = Duration::from_secs(3600);
const MAX_CIRCUITS_PER_PEER: usize = 16;

const IDENTIFY_PROTOCOL: &str = "/parlor/id/1";

#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    // First, so that what they refuse never reaches the others.
    limits: connection_limits::Behaviour,
    pub(super) address_limits: address_limits::Behaviour,
    identify: identify::Behaviour,
    pub(super) guarded: guarded::Behaviour,
    turn_streams: Toggle<turn_streams::Behaviour>,
    pub(super) peers: peers::Behaviour,
    pub(super) reachability: reachability::Behaviour,
}

impl Behaviour {
    /// Must be called on a tokio runtime.
    pub(super) fn new(config: &NodeConfig, turn: bool, registry: Registry) -> Self {
        let (local, limits) = (config.keypair.public(), &config.limits);
        let connections = ConnectionLimits::default()
            .with_max_pending_incoming(Some(MAX_PENDING))
            .with_max_established(Some(limits.connections))
            .with_max_established_per_peer(Some(MAX_CONNECTIONS_PER_PEER));
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.into(), local.clone())
            .with_agent_version(concat!("parlor-node/", env!("CARGO_PKG_VERSION")).into())
            .with_hide_listen_addrs(true)
            .with_interval(Duration::from_secs(24 * 3600))
            .with_cache_size(0);
        let mut relay = relay::Behaviour::new(local.to_peer_id(), relay_config(limits));
        relay.set_status(Some(relay::Status::Enable));
        Self {
            limits: connection_limits::Behaviour::new(connections),
            address_limits: address_limits::Behaviour::new(limits.connections_per_address, Count::Far),
            identify: identify::Behaviour::new(identify),
            guarded: guarded::Behaviour::new(directory_server::Behaviour::new(registry), relay),
            turn_streams: turn.then(turn_streams::Behaviour::default).into(),
            peers: peers::Behaviour::new(&local, &config.nodes, config.allow_private_nodes),
            reachability: reachability::Behaviour::new(config.allow_private_nodes),
        }
    }
}

fn relay_config(limits: &NodeLimits) -> relay::Config {
    let per = |limit: u32| std::num::NonZeroU32::new(limit).expect("not zero");
    let mut config = relay::Config {
        max_reservations: limits.users as usize,
        max_reservations_per_peer: 4,
        max_circuits: limits.circuits as usize,
        max_circuits_per_peer: MAX_CIRCUITS_PER_PEER,
        max_circuit_duration: MAX_CIRCUIT_DURATION,
        max_circuit_bytes: MAX_CIRCUIT_BYTES,
        ..relay::Config::default()
    };
    // The defaults count so few for an address that a household could not come back after a restart.
    config.reservation_rate_limiters.clear();
    config.circuit_src_rate_limiters.clear();
    config
        .reservation_rate_per_peer(per(20), Duration::from_secs(10))
        .circuit_src_per_peer(per(20), Duration::from_secs(2))
}
