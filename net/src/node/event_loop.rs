//! Owns the node's swarm: commands and its events in, figures out.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, Swarm, SwarmBuilder, core::transport::ListenerId, dns, identify, multiaddr::Protocol, swarm::SwarmEvent,
    tcp, yamux,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    NodeConfig, NodeStats, TurnConfig,
    behaviour::{Behaviour, BehaviourEvent},
    directory_server::TurnWanted,
    guarded::Outcome,
    lean::Lean,
    noise,
    registry::{Registry, Terms},
    turn::{self, Destinations, Turn, TurnError},
};
use crate::{
    Error, address,
    directory::{Limits, Push, Refusal},
};

/// Of QUIC connections, whose end nobody tells: clients choose less, and send keep-alives accordingly.
const QUIC_IDLE_TIMEOUT_MS: u32 = 15_000;
const QUIC_KEEP_ALIVE: Duration = Duration::from_secs(60);

/// How long a connection without a directory stream, a reservation or a circuit is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(20);

/// How long listening may take to begin.
const LISTEN_WITHIN: Duration = Duration::from_secs(5);

/// How long after one address the next may come.
const FURTHER_ADDRESSES_WITHIN: Duration = Duration::from_millis(100);

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
    ) -> Result<(Self, Vec<Multiaddr>), Error> {
        let turn_port = config.turn.as_ref().map(free_port).transpose()?;
        let registry = Registry::new(now(), terms(config, turn_port));
        let behaviour = Behaviour::new(config, turn_port.is_some(), registry);
        let mut swarm = build_swarm(config, behaviour)?;
        let (local, early) = listen(&mut swarm, config).await?;
        let turn = match (&config.turn, turn_port) {
            (Some(turn), Some(port)) => Some(start_turn(config, turn, port, &local)?),
            (Some(_), None) | (None, _) => None,
        };
        let addresses = known_as(&local, &config.public_ips);
        for address in &addresses {
            swarm.add_external_address(address.clone());
        }
        // Not before: those that are dialled are told once where we are.
        swarm.behaviour_mut().0.peers.begin();
        let mut event_loop = Self { swarm, commands, stats, turn, connections: 0, circuits: 0, reservations: 0 };
        early.into_iter().for_each(|event| event_loop.on_swarm_event(event));
        Ok((event_loop, addresses))
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
                _ = publish.tick() => self.publish(),
            }
        };
        self.say_farewell().await;
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

fn terms(config: &NodeConfig, turn_port: Option<u16>) -> Terms {
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

/// How the outside knows our addresses: under the public ones, where these were given.
fn known_as(local: &[Multiaddr], public: &[IpAddr]) -> Vec<Multiaddr> {
    if public.is_empty() {
        return local.to_vec();
    }
    let mut known = Vec::new();
    for address in local {
        let Some(ip) = address::of(address) else { continue };
        for public in public.iter().filter(|public| public.is_ipv4() == ip.is_ipv4()) {
            let rest = address.iter().skip(1);
            let address: Multiaddr = std::iter::once(Protocol::from(*public)).chain(rest).collect();
            if !known.contains(&address) {
                known.push(address);
            }
        }
    }
    known
}

fn build_swarm(config: &NodeConfig, behaviour: Behaviour) -> Result<Swarm<Lean<Behaviour>>, Error> {
    let set_up =
        |part: &'static str| move |error: &dyn std::fmt::Display| Error::SetUp { part, reason: error.to_string() };
    let base = || {
        let tcp = tcp::Config::default().nodelay(true);
        let builder = SwarmBuilder::with_existing_identity(config.keypair.clone())
            .with_tokio()
            .with_tcp(tcp, noise::Config::new, yamux::Config::default)
            .map_err(|error| set_up("TCP")(&error))?
            .with_quic_config(|mut quic| {
                quic.max_idle_timeout = QUIC_IDLE_TIMEOUT_MS;
                quic.keep_alive_interval = QUIC_KEEP_ALIVE;
                quic
            });
        Ok::<_, Error>(builder)
    };
    /// The builder's types can't be named.
    macro_rules! finish {
        ($builder:expr) => {
            Ok($builder
                .with_behaviour(|_| Lean(behaviour))
                .map_err(|error| set_up("the swarm")(&error))?
                .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE_TIMEOUT))
                .build())
        };
    }
    // Only nodes that the operator named have names.
    match base()?.with_dns() {
        Ok(builder) => finish!(builder),
        Err(error) => {
            tracing::warn!(%error, "names are not resolved as on the rest of this machine");
            finish!(base()?.with_dns_config(dns::ResolverConfig::default(), dns::ResolverOpts::default()))
        }
    }
}

/// Listens, and gives back where, without `/p2p`; and what else happened meanwhile.
async fn listen(
    swarm: &mut Swarm<Lean<Behaviour>>,
    config: &NodeConfig,
) -> Result<(Vec<Multiaddr>, Vec<SwarmEvent<BehaviourEvent>>), Error> {
    let failed = |address: &Multiaddr, reason: String| Error::Listen { address: address.clone(), reason };
    let mut wanted: HashMap<ListenerId, &Multiaddr> = HashMap::new();
    for address in &config.listen {
        match swarm.listen_on(address.clone()) {
            Ok(listener) => {
                wanted.insert(listener, address);
            }
            // A machine without IPv6 is no reason not to serve IPv4.
            Err(error) if is_unspecified_v6(address) => {
                tracing::info!(%address, %error, "this machine can't listen here");
            }
            Err(error) => return Err(failed(address, root_cause(&error))),
        }
    }
    let mut waiting: HashSet<ListenerId> = wanted.keys().copied().collect();
    let mut addresses = Vec::new();
    let mut early = Vec::new();
    let mut deadline = now() + LISTEN_WITHIN;
    while let Ok(event) = tokio::time::timeout_at(deadline.into(), swarm.select_next_some()).await {
        match event {
            SwarmEvent::NewListenAddr { listener_id, address } => {
                addresses.push(address);
                if waiting.remove(&listener_id) && waiting.is_empty() {
                    // A wildcard stands for several addresses, which come together.
                    deadline = now() + FURTHER_ADDRESSES_WITHIN;
                }
            }
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let (Some(address), Err(error)) = (wanted.get(&listener_id), reason) {
                    return Err(failed(address, root_cause(&error)));
                }
            }
            event => early.push(event),
        }
    }
    if addresses.is_empty() {
        return Err(Error::SetUp { part: "listening", reason: "no address of this machine can be listened on".into() });
    }
    Ok((addresses, early))
}

/// Libraries wrap what the system says.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn is_unspecified_v6(address: &Multiaddr) -> bool {
    matches!(address.iter().next(), Some(Protocol::Ip6(ip)) if ip.is_unspecified())
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
