//! The relay's one task: its sockets and streams, and the [`Server`] that says what goes where.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use libp2p::{PeerId, Stream};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

use super::{
    credentials::{Access, Credentials},
    destination::Destinations,
    server::{Effect, Path, RelayId, Server, Tally, Terms},
    stream,
};
use crate::directory::TurnAccess;

/// Datagrams that are taken from one socket before others have their turn.
const BATCH: usize = 64;

/// Longer datagrams are cut, and so are of no use: nobody sends media like that.
const BUFFER_BYTES: usize = 2048;

/// What the kernel may hold of the clients' datagrams while we are busy, and of each relay socket's.
const CLIENT_BUFFER_BYTES: usize = 4 << 20;
const RELAY_BUFFER_BYTES: usize = 512 << 10;

/// How many ports are tried for a relay socket.
const PORT_TRIES: u32 = 32;

/// Datagrams of all streams that wait for the task. Full: the streams wait.
const MAX_INBOUND: usize = 1024;

/// How often the tally is published.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

/// What the relay needs to know.
#[derive(Clone, Debug)]
pub(in crate::node) struct Config {
    /// Addresses of this machine, on each of which clients are served.
    pub(in crate::node) addresses: Vec<IpAddr>,
    /// How these are known outside, if not by themselves: at most one of each family.
    pub(in crate::node) public: Vec<IpAddr>,
    pub(in crate::node) port: u16,
    pub(in crate::node) relay_ports: RangeInclusive<u16>,
    pub(in crate::node) destinations: Destinations,
    pub(in crate::node) allocations: u32,
    pub(in crate::node) allocations_per_person: u32,
    pub(in crate::node) bytes_per_second: u32,
    /// For how long access is given, seconds.
    pub(in crate::node) access_s: u32,
}

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
pub(in crate::node) enum TurnError {
    /// The port can't be had.
    #[error("{address}: {source}")]
    Bind {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system gives no random numbers.
    #[error("no random numbers")]
    Random,
}

/// The running relay. It stops when dropped.
pub(in crate::node) struct Turn {
    inbound: mpsc::Sender<Inbound>,
    tally: watch::Receiver<Tally>,
    credentials: Arc<Credentials>,
    /// For how long access is given.
    access_s: u32,
    port: u16,
    tasks: JoinSet<()>,
    next_stream: u64,
    /// The newest stream of each person, and how it is ended.
    streams: HashMap<PeerId, tokio::task::AbortHandle>,
}

/// From the streams' tasks.
#[derive(Debug)]
pub(super) enum Inbound {
    Opened {
        stream: u64,
        outbound: mpsc::Sender<Vec<u8>>,
    },
    Datagram {
        stream: u64,
        datagram: Vec<u8>,
    },
    Closed {
        stream: u64,
    },
    /// Not from a stream: this is how our addresses are known outside now.
    KnownAs {
        public: Vec<IpAddr>,
    },
}

impl Turn {
    /// Binds, and starts. Must be called on a tokio runtime.
    pub(in crate::node) fn start(config: Config) -> Result<Self, TurnError> {
        let credentials = Arc::new(Credentials::new().ok_or(TurnError::Random)?);
        let (port, access_s) = (config.port, config.access_s);
        let mut sockets = Vec::new();
        for &ip in &config.addresses {
            let address = SocketAddr::new(ip, port);
            let socket = bind(address, CLIENT_BUFFER_BYTES).map_err(|source| TurnError::Bind { address, source })?;
            sockets.push(Arc::new(socket));
        }
        let (inbound, receiver) = mpsc::channel(MAX_INBOUND);
        let (publish, tally) = watch::channel(Tally::default());
        let mut tasks = JoinSet::new();
        let task = Task::new(config, sockets, credentials.clone(), publish);
        tasks.spawn(task.run(receiver));
        Ok(Self { inbound, tally, credentials, access_s, port, tasks, next_stream: 0, streams: HashMap::new() })
    }

    pub(in crate::node) fn tally(&self) -> Tally {
        *self.tally.borrow()
    }

    /// Gives somebody access for a while.
    pub(in crate::node) fn give_access(&self, peer: PeerId) -> TurnAccess {
        let Access { username, password } = self.credentials.give(unix_s(), self.access_s, peer);
        // The client knows best by which address it has reached us.
        let udp = vec![SocketAddr::from(([0, 0, 0, 0], self.port))];
        TurnAccess { username, password, ttl_s: self.access_s, udp, stream: true }
    }

    /// How our addresses are known outside from now on. Those of relay sockets that are open stay what they are.
    pub(in crate::node) fn is_known_as(&self, public: Vec<IpAddr>) {
        // Full: it is said again when it changes again; that is after a flood.
        let _ = self.inbound.try_send(Inbound::KnownAs { public });
    }

    /// Serves TURN over a stream, in place of that person's stream before.
    pub(in crate::node) fn serve(&mut self, peer: PeerId, stream: Stream) {
        while self.tasks.try_join_next().is_some() {}
        self.streams.retain(|_, task| !task.is_finished());
        let number = self.next_stream;
        self.next_stream += 1;
        let task = self.tasks.spawn(stream::pump(stream, number, self.inbound.clone()));
        if let Some(before) = self.streams.insert(peer, task) {
            before.abort();
        }
    }
}

/// Which socket has something.
enum Ready {
    Client { socket: u16 },
    Relay { relay: RelayId, socket: Arc<UdpSocket>, closed: oneshot::Receiver<()> },
}

/// A relay socket. Dropping it closes it, once nobody waits for it.
struct Relay {
    socket: Arc<UdpSocket>,
    /// Ends the waiting.
    _open: oneshot::Sender<()>,
}

struct Task {
    config: Config,
    server: Server,
    clients: Vec<Arc<UdpSocket>>,
    relays: HashMap<RelayId, Relay>,
    streams: HashMap<u64, mpsc::Sender<Vec<u8>>>,
    ready: FuturesUnordered<BoxFuture<'static, Ready>>,
    publish: watch::Sender<Tally>,
    buffer: Box<[u8; BUFFER_BYTES]>,
}

impl Task {
    fn new(
        config: Config,
        clients: Vec<Arc<UdpSocket>>,
        credentials: Arc<Credentials>,
        publish: watch::Sender<Tally>,
    ) -> Self {
        let own: HashSet<IpAddr> = config.addresses.iter().chain(&config.public).copied().collect();
        let terms = Terms {
            allocations: config.allocations as usize,
            allocations_per_person: config.allocations_per_person,
            bytes_per_second: config.bytes_per_second,
            destinations: config.destinations,
            own,
        };
        Self {
            server: Server::new(now(), terms, credentials),
            config,
            clients,
            relays: HashMap::new(),
            streams: HashMap::new(),
            ready: FuturesUnordered::new(),
            publish,
            buffer: Box::new([0; BUFFER_BYTES]),
        }
    }

    async fn run(mut self, mut inbound: mpsc::Receiver<Inbound>) {
        for socket in 0..self.clients.len() as u16 {
            self.await_client(socket);
        }
        let mut publish = tokio::time::interval(PUBLISH_EVERY);
        loop {
            let timeout = self.server.poll_timeout();
            tokio::select! {
                Some(ready) = self.ready.next() => match ready {
                    Ready::Client { socket } => self.read_client(socket),
                    Ready::Relay { relay, socket, closed } => self.read_relay(relay, socket, closed),
                },
                inbound = inbound.recv() => match inbound {
                    Some(inbound) => self.on_stream(inbound),
                    None => return,
                },
                () = tokio::time::sleep_until(timeout.into()) => {
                    self.server.handle_timeout(now());
                    self.carry_out();
                }
                _ = publish.tick() => {
                    self.publish.send_replace(self.server.tally());
                }
            }
        }
    }

    fn await_client(&mut self, socket: u16) {
        let client = self.clients[usize::from(socket)].clone();
        self.ready.push(Box::pin(async move {
            // An error shows when it is read.
            let _ = client.readable().await;
            Ready::Client { socket }
        }));
    }

    fn await_relay(&mut self, relay: RelayId, socket: Arc<UdpSocket>, mut closed: oneshot::Receiver<()>) {
        self.ready.push(Box::pin(async move {
            tokio::select! {
                // An error shows when it is read.
                _ = socket.readable() => {}
                _ = &mut closed => {}
            }
            Ready::Relay { relay, socket, closed }
        }));
    }

    fn read_client(&mut self, socket: u16) {
        let client = self.clients[usize::from(socket)].clone();
        let (now, unix_s) = (now(), unix_s());
        for _ in 0..BATCH {
            match client.try_recv_from(&mut self.buffer[..]) {
                Ok((n, remote)) => {
                    self.server.client_sent(now, unix_s, Path::Udp { socket, remote }, &self.buffer[..n]);
                    self.carry_out();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // Of a datagram that was sent before, and could not be delivered.
                Err(error) => tracing::trace!(%error, "receiving"),
            }
        }
        self.await_client(socket);
    }

    fn read_relay(&mut self, relay: RelayId, socket: Arc<UdpSocket>, closed: oneshot::Receiver<()>) {
        // It was closed meanwhile.
        if !self.relays.contains_key(&relay) {
            return;
        }
        let now = now();
        for _ in 0..BATCH {
            match socket.try_recv_from(&mut self.buffer[..]) {
                Ok((n, peer)) => {
                    self.server.peer_sent(now, relay, peer, &self.buffer[..n]);
                    self.carry_out();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => tracing::trace!(%error, "receiving"),
            }
        }
        self.await_relay(relay, socket, closed);
    }

    fn on_stream(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Opened { stream, outbound } => {
                self.streams.insert(stream, outbound);
            }
            Inbound::Datagram { stream, datagram } => {
                self.server.client_sent(now(), unix_s(), Path::Stream(stream), &datagram);
            }
            Inbound::Closed { stream } => {
                self.streams.remove(&stream);
                self.server.closed(Path::Stream(stream));
            }
            Inbound::KnownAs { public } => {
                self.server.is_known_as(&public);
                self.config.public = public;
            }
        }
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(effect) = self.server.poll_effect() {
            match effect {
                Effect::ToClient { path: Path::Udp { socket, remote }, datagram } => {
                    send(&self.clients[usize::from(socket)], &datagram, remote);
                }
                Effect::ToClient { path: Path::Stream(stream), datagram } => {
                    if let Some(stream) = self.streams.get(&stream) {
                        // Full: it is lost, as datagrams are.
                        let _ = stream.try_send(datagram);
                    }
                }
                Effect::ToPeer { relay, peer, datagram } => {
                    if let Some(relay) = self.relays.get(&relay) {
                        send(&relay.socket, &datagram, peer);
                    }
                }
                Effect::Open { relay, path, v6 } => {
                    let opened = self.open(path, v6);
                    let address = opened.as_ref().map(|(_, address)| *address);
                    if let Some((socket, _)) = opened {
                        let socket = Arc::new(socket);
                        let (open, closed) = oneshot::channel();
                        self.relays.insert(relay, Relay { socket: socket.clone(), _open: open });
                        self.await_relay(relay, socket, closed);
                    }
                    self.server.opened(now(), relay, address);
                }
                Effect::Close { relay } => {
                    self.relays.remove(&relay);
                }
            }
        }
    }

    /// Opens a relay socket on the address that the client has reached, if that is of the right family, or else on our
    /// best of that family. Where it is, as others know it.
    fn open(&self, path: Path, v6: bool) -> Option<(UdpSocket, SocketAddr)> {
        let reached = match path {
            Path::Udp { socket, .. } => self.config.addresses.get(usize::from(socket)).copied(),
            Path::Stream(_) => None,
        };
        let local = reached
            .filter(|ip| ip.is_ipv6() == v6)
            .or_else(|| self.config.addresses.iter().copied().filter(|ip| ip.is_ipv6() == v6).min_by_key(rank))?;
        let public = self.config.public.iter().copied().find(|ip| ip.is_ipv6() == v6);
        let known = if local.is_loopback() { local } else { public.unwrap_or(local) };
        let (first, last) = (*self.config.relay_ports.start(), *self.config.relay_ports.end());
        for _ in 0..PORT_TRIES {
            let port = rand::random_range(first..=last);
            if let Ok(socket) = bind(SocketAddr::new(local, port), RELAY_BUFFER_BYTES) {
                return Some((socket, SocketAddr::new(known, port)));
            }
        }
        tracing::warn!("no port is free for a relayed address");
        None
    }
}

/// Which of our addresses serve strangers best: public, then private, then loopback.
fn rank(ip: &IpAddr) -> u8 {
    let public = Destinations { private: false, loopback: false };
    match (public.allow(*ip), ip.is_loopback()) {
        (true, _) => 0,
        (false, false) => 1,
        (false, true) => 2,
    }
}

/// What can't be sent now is lost, as datagrams are.
fn send(socket: &UdpSocket, datagram: &[u8], to: SocketAddr) {
    if let Err(error) = socket.try_send_to(datagram, to) {
        tracing::trace!(%error, "sending");
    }
}

fn bind(address: SocketAddr, buffer_bytes: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // As much as the system allows.
    let _ = socket.set_recv_buffer_size(buffer_bytes);
    let _ = socket.set_send_buffer_size(buffer_bytes);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[expect(clippy::disallowed_methods, reason = "access ends at a time of day; this is the loop where it is read")]
fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
