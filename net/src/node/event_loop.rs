//! Owns the node's swarm: commands and its events in, figures out.

mod swarm;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{Multiaddr, PeerId, Swarm, identify, multiaddr::Protocol, swarm::SwarmEvent};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    NodeConfig, NodeStats, Outside, Reached, TurnConfig,
    behaviour::{Behaviour, BehaviourEvent},
    directory_server::TurnWanted,
    guarded::Outcome,
    lean::Lean,
    outside,
    ports::{Keeper, PortMapping, Wanted},
    registry::{Registry, Terms},
    turn::{self, Destinations, Turn, TurnError},
};
use crate::{
    Error, address,
    directory::{Limits, Push, Refusal},
};

/// How long the router may take to forward our ports, before we go on without knowing.
const MAP_WITHIN: Duration = Duration::from_secs(8);

/// How long farewells may take.
const FAREWELL: Duration = Duration::from_millis(800);

/// What one client may ask for: as much as the app ever does.
const MAX_PLACES: u32 = 17;
const MAX_WATCHES: u32 = 1000;
const MAX_HIDDEN: u32 = 1000;

/// People who are known of, for each who may be online.
const PEOPLE_PER_USER: usize = 50;

/// How often figures are published.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// From the handle.
#[derive(Debug)]
pub(super) enum Command {
    Shutdown { done: oneshot::Sender<()> },
}

/// The node's one task.
pub(super) struct EventLoop {
    swarm: Swarm<Lean<Behaviour>>,
    commands: mpsc::Receiver<Command>,
    stats: watch::Sender<NodeStats>,
    outside: watch::Sender<Outside>,
    peer: PeerId,
    /// Where we listen, and which addresses the operator says that these have outside.
    local: Vec<Multiaddr>,
    public_ips: Vec<IpAddr>,
    ports: Option<Keeper>,
    turn: Option<Turn>,
    connections: u64,
    circuits: u64,
    reservations: u64,
}

impl EventLoop {
    /// Builds the swarm and begins to listen. Must be called on a tokio runtime.
    pub(super) async fn new(
        config: &NodeConfig,
        commands: mpsc::Receiver<Command>,
        stats: watch::Sender<NodeStats>,
        outside: watch::Sender<Outside>,
    ) -> Result<Self, Error> {
        let turn_port = config.turn.as_ref().map(free_port).transpose()?;
        let registry = Registry::new(now(), terms(config, turn_port));
        let behaviour = Behaviour::new(config, turn_port.is_some(), registry);
        let mut swarm = swarm::build(config, behaviour)?;
        let (local, early) = swarm::listen(&mut swarm, config).await?;
        let turn = match (&config.turn, turn_port) {
            (Some(turn), Some(port)) => Some(start_turn(config, turn, port, &local)?),
            (Some(_), None) | (None, _) => None,
        };
        let forwarded = || {
            let relay = config.turn.as_ref().zip(turn_port).map(|(turn, port)| (port, turn.relay_ports.clone()));
            Keeper::start(Wanted::new(&local, relay, config.allow_private_nodes))
        };
        let ports = config.map_ports.then(forwarded);
        let mut event_loop = Self {
            swarm,
            commands,
            stats,
            outside,
            peer: config.keypair.public().to_peer_id(),
            local,
            public_ips: config.public_ips.clone(),
            ports,
            turn,
            connections: 0,
            circuits: 0,
            reservations: 0,
        };
        let mapping = match &mut event_loop.ports {
            // Late, it is news.
            Some(ports) => Some(tokio::time::timeout(MAP_WITHIN, ports.changed()).await.unwrap_or(PortMapping::Asking)),
            None => None,
        };
        event_loop.is_known_outside(mapping);
        // Not before: those that are dialled are told once where we are.
        event_loop.swarm.behaviour_mut().0.peers.begin();
        early.into_iter().for_each(|event| event_loop.on_swarm_event(event));
        Ok(event_loop)
    }

    /// Runs until told to stop, or until nobody can tell it anything any more.
    pub(super) async fn run(mut self) {
        let mut publish = tokio::time::interval(PUBLISH_EVERY);
        let done = loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                command = self.commands.recv() => match command {
                    Some(Command::Shutdown { done }) => break Some(done),
                    None => break None,
                },
                mapping = changed(&mut self.ports) => self.is_known_outside(Some(mapping)),
                _ = publish.tick() => self.publish(),
            }
        };
        let ports = self.ports.take();
        let give_back = async {
            if let Some(ports) = ports {
                ports.stop().await;
            }
        };
        tokio::join!(self.say_farewell(), give_back);
        // Sockets are closed when this returns.
        drop(self.swarm);
        if let Some(done) = done {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(BehaviourEvent::Guarded(Outcome::TurnWanted(wanted))) => self.on_turn_wanted(&wanted),
            SwarmEvent::Behaviour(BehaviourEvent::Guarded(Outcome::Relay(event))) => self.on_relay(&event),
            SwarmEvent::Behaviour(BehaviourEvent::TurnStreams(opened)) => {
                if let Some(turn) = &mut self.turn {
                    turn.serve(opened.peer, opened.stream);
                }
            }
            SwarmEvent::Behaviour(BehaviourEvent::Identify(event)) => self.on_identify(event),
            SwarmEvent::Behaviour(BehaviourEvent::Peers(_)) => {}
            SwarmEvent::Behaviour(BehaviourEvent::Reachability(reached)) => self.on_reached(reached),
            SwarmEvent::ConnectionEstablished { .. } => self.connections += 1,
            SwarmEvent::ConnectionClosed { cause, .. } => {
                tracing::trace!(?cause, "disconnected");
                self.connections = self.connections.saturating_sub(1);
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                tracing::debug!(%error, "a connection was not accepted");
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "trouble while listening"),
            SwarmEvent::ListenerClosed { reason, .. } => tracing::warn!(?reason, "no longer listening"),
            SwarmEvent::NewListenAddr { address, .. } => tracing::debug!(%address, "listening on one address more"),
            event => tracing::trace!(?event, "swarm"),
        }
    }

    /// The addresses that others know us by: all of them, should the router have another outside now.
    fn is_known_outside(&mut self, mapping: Option<PortMapping>) {
        let (bare, public) = outside::known_as(&self.local, &self.public_ips, mapping.as_ref());
        let addresses: Vec<Multiaddr> =
            bare.iter().map(|address| address.clone().with(Protocol::P2p(self.peer))).collect();
        if addresses != self.outside.borrow().addresses {
            let before: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
            before.iter().for_each(|address| self.swarm.remove_external_address(address));
            bare.iter().for_each(|address| self.swarm.add_external_address(address.clone()));
            self.swarm.behaviour_mut().0.reachability.set_addresses(&bare);
            if let Some(turn) = &self.turn {
                turn.is_known_as(public);
            }
        }
        if let Some(mapping) = &mapping {
            outside::say_mapping(mapping);
        }
        self.outside.send_modify(|outside| {
            outside.addresses = addresses;
            outside.mapping = mapping;
        });
    }

    /// Other nodes have said whether they reach us.
    fn on_reached(&mut self, reached: Vec<(Multiaddr, Reached)>) {
        let before = self.outside.borrow().reached.clone();
        for (address, now) in &reached {
            let was = before.iter().find(|(known, _)| known == address).map_or(Reached::Unknown, |(_, was)| *was);
            if was != *now {
                outside::say_reached(address, *now);
            }
        }
        self.swarm.behaviour_mut().0.guarded.directory.set_reached(&reached);
        self.outside.send_modify(|outside| outside.reached = reached);
    }

    fn on_turn_wanted(&mut self, wanted: &TurnWanted) {
        let answer = match &self.turn {
            Some(turn) => Push::Turn(turn.give_access(wanted.peer)),
            None => Push::Refused { request: "turn".into(), why: Refusal::NotOffered },
        };
        self.swarm.behaviour_mut().0.guarded.directory.tell(wanted.client, &answer);
    }

    fn on_relay(&mut self, event: &libp2p::relay::Event) {
        use libp2p::relay::Event as Relay;
        match event {
            Relay::ReservationReqAccepted { renewed: false, .. } => self.reservations += 1,
            Relay::CircuitReqAccepted { .. } => self.circuits += 1,
            event => tracing::trace!(?event, "relay"),
        }
    }

    /// Only nodes answer: people tell nobody what they are.
    fn on_identify(&mut self, event: identify::Event) {
        let identify::Event::Received { connection_id, peer_id, info } = event else { return };
        let behaviour = &mut self.swarm.behaviour_mut().0;
        if let Some(ip) = behaviour.address_limits.of(connection_id) {
            behaviour.peers.identified(peer_id, ip, &info.protocols, &info.listen_addrs);
        }
    }

    fn publish(&mut self) {
        let behaviour = &mut self.swarm.behaviour_mut().0;
        if let Some(nodes) = behaviour.peers.take_told() {
            behaviour.guarded.directory.set_nodes(nodes);
        }
        let nodes = behaviour.peers.count() as u64;
        let (mapped_ports, reached) = {
            let outside = self.outside.borrow();
            (outside.mapping.as_ref().map_or(0, PortMapping::ports) as u64, outside.reached.clone())
        };
        let count = |wanted| reached.iter().filter(|(_, reached)| *reached == wanted).count() as u64;
        let registry = self.swarm.behaviour().0.guarded.directory.registry();
        let (census, tally) = (registry.census(), registry.tally());
        let relayed = self.turn.as_ref().map(Turn::tally).unwrap_or_default();
        self.stats.send_replace(NodeStats {
            connections: self.connections,
            clients: census.clients as u64,
            users: census.users as u64,
            nodes,
            places: census.places as u64,
            watches: census.watches as u64,
            sign_ons: tally.sign_ons,
            left: tally.left,
            lost: tally.lost,
            refused: tally.refused,
            frames: tally.frames,
            slow: tally.slow,
            reservations: self.reservations,
            circuits: self.circuits,
            turn_allocations: relayed.allocations,
            turn_bytes: relayed.relayed_bytes,
            turn_packets: relayed.relayed_packets,
            turn_over_limit: relayed.over_limit,
            turn_refused: relayed.refused,
            mapped_ports,
            addresses_reached: count(Reached::Yes),
            addresses_not_reached: count(Reached::No),
        });
    }

    /// Tells everybody to go elsewhere, and waits until most have heard it.
    async fn say_farewell(&mut self) {
        self.swarm.behaviour_mut().0.guarded.directory.shut_down();
        let deadline = now() + FAREWELL;
        while self.swarm.network_info().num_peers() > 0 {
            match tokio::time::timeout_at(deadline.into(), self.swarm.select_next_some()).await {
                Ok(event) => self.on_swarm_event(event),
                Err(_) => break,
            }
        }
    }
}

/// What came of asking the router, whenever that changes.
async fn changed(ports: &mut Option<Keeper>) -> PortMapping {
    match ports {
        Some(ports) => ports.changed().await,
        None => std::future::pending().await,
    }
}

/// What the directory is told of the configuration.
pub(super) fn terms(config: &NodeConfig, turn_port: Option<u16>) -> Terms {
    let limits = &config.limits;
    Terms {
        users: limits.users as usize,
        place_members: limits.place_members as usize,
        people: limits.users as usize * PEOPLE_PER_USER,
        per_client: Limits { places: MAX_PLACES, watches: MAX_WATCHES, hidden: MAX_HIDDEN },
        beat: config.beat,
        relay: true,
        turn: turn_port.is_some(),
        stun: turn_port.into_iter().collect(),
        sign_on_burst: limits.connections_per_address,
    }
}

/// The port of the media relay. Zero, of tests: some port that is free now.
fn free_port(turn: &TurnConfig) -> Result<u16, Error> {
    if turn.port != 0 {
        return Ok(turn.port);
    }
    let port = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    port.map(|address| address.port()).map_err(|error| Error::SetUp { part: "TURN", reason: error.to_string() })
}

/// The media relay serves wherever the swarm listens.
fn start_turn(config: &NodeConfig, turn: &TurnConfig, port: u16, local: &[Multiaddr]) -> Result<Turn, Error> {
    let mut addresses: Vec<IpAddr> = local.iter().filter_map(address::of).filter(|ip| !is_link_local(ip)).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let alone = addresses.iter().all(IpAddr::is_loopback);
    let relay = turn::Config {
        public: config.public_ips.clone(),
        port,
        relay_ports: turn.relay_ports.clone(),
        destinations: Destinations { private: turn.allow_private, loopback: alone },
        allocations: turn.allocations,
        allocations_per_person: turn.allocations_per_person,
        bytes_per_second: turn.kbps_per_person.saturating_mul(1000 / 8),
        access_s: turn.access_s,
        addresses,
    };
    Turn::start(relay).map_err(|error| match error {
        TurnError::Bind { address, source } => {
            let udp = Multiaddr::empty().with(address.ip().into()).with(Protocol::Udp(address.port()));
            Error::Listen { address: udp, reason: source.to_string() }
        }
        TurnError::Random => Error::SetUp { part: "TURN", reason: error.to_string() },
    })
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
