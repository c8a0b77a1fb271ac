//! Owns the swarm: turns commands into its acts, its events into ours, and keeps the pure parts' time.

mod far;
mod swarm;

use std::{
    collections::{HashMap, HashSet},
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, gossipsub,
    identity::Keypair,
    mdns,
    multiaddr::Protocol,
    swarm::{
        ConnectionId, DialError, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Circle, Config, Error, Event, NodeState, Profile,
    behaviour::{Behaviour, BehaviourEvent, NearEvent},
    directory::Card,
    discovery::{Dialler, Relayed, lan},
    gate::is_relayed,
    heartbeat::{self, Death, Heard},
    link_local,
    network_watch::NetworkWatch,
    outbox::{Outbox, Overflow},
    presence::{Announcement, Book, MAX_ANNOUNCEMENT_BYTES},
    signalling::{self, Body},
    surplus::Surplus,
    token_bucket::TokenBucket,
    turn_shim::{self, Shims, StreamRequest},
};

/// How often we announce ourselves when nothing changes.
const ANNOUNCE_EVERY: Duration = Duration::from_secs(30);

/// How often a changed profile is announced, at once and per second in the long run: what others accept of one author,
/// less a margin. What changes meanwhile waits.
const ANNOUNCEMENT_BURST: u32 = 6;
const ANNOUNCEMENTS_PER_SECOND: f64 = 1.5;
const ANNOUNCE_AGAIN_AFTER: Duration = Duration::from_millis(250);

/// How long the last messages, and then the goodbyes, may take.
const DELIVER_WITHIN: Duration = Duration::from_millis(300);
const GOODBYE_WITHIN: Duration = Duration::from_millis(200);

/// From the [`Handle`](crate::Handle).
#[derive(Debug)]
pub(crate) enum Command {
    Send { peer: PeerId, call: crate::CallId, body: Body },
    CloseCall { peer: PeerId, call: crate::CallId },
    Dial { address: Multiaddr },
    Shutdown { done: oneshot::Sender<()> },
}

/// From the [`Handle`](crate::Handle), too: of these only the latest counts.
#[derive(Debug)]
pub(crate) struct Wishes {
    /// Who we are.
    pub(crate) profile: watch::Receiver<Profile>,
    /// Who is found beyond the LAN.
    pub(crate) circle: watch::Receiver<Circle>,
    /// Whose media flows.
    pub(crate) vouched: watch::Receiver<Option<PeerId>>,
}

/// The network's one task.
pub(crate) struct EventLoop {
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    wishes: Wishes,
    events: mpsc::Sender<Event>,
    outbox: Outbox,
    book: Book,
    dialler: Dialler,
    relayed: Relayed,
    /// Attempts to reach people through nodes.
    relayed_dials: HashMap<ConnectionId, PeerId>,
    blocked: HashSet<PeerId>,
    surplus: Surplus,
    network: NetworkWatch,
    shims: Shims,
    /// From the shims.
    turn_streams: mpsc::Receiver<StreamRequest>,
    keypair: Keypair,
    /// What our newest card says.
    carded: Profile,
    /// Whether we say on the LAN who we are.
    visible: bool,
    session: u64,
    seq: u64,
    announcements: TokenBucket,
    /// When the profile is to be announced.
    announce_at: Instant,
}

impl EventLoop {
    /// Builds the swarm and starts to listen. Must be called on a tokio runtime.
    pub(crate) fn new(
        config: &Config,
        commands: mpsc::Receiver<Command>,
        wishes: Wishes,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, Error> {
        let session = unix_time_ms();
        let seq = 1;
        let hello = Announcement::new(&config.profile, session, seq, session);
        let card = Card::sign(&config.keypair, &hello)
            .map_err(|error| Error::SetUp { part: "the card", reason: error.to_string() })?;
        let mut swarm = swarm::build(config, &hello, card)?;
        swarm::listen(&mut swarm, &config.listen)?;
        let (turn_requests, turn_streams) = mpsc::channel(turn_shim::MAX_REQUESTS);
        let mut event_loop = Self {
            swarm,
            commands,
            wishes,
            events,
            outbox: Outbox::default(),
            book: Book::default(),
            dialler: Dialler::default(),
            relayed: Relayed::default(),
            relayed_dials: HashMap::new(),
            blocked: HashSet::new(),
            surplus: Surplus::new(config.keypair.public().to_peer_id()),
            network: NetworkWatch::new(now(), session),
            shims: Shims::new(turn_requests),
            turn_streams,
            keypair: config.keypair.clone(),
            carded: config.profile.clone(),
            visible: config.lan,
            session,
            seq,
            announcements: TokenBucket::new(ANNOUNCEMENT_BURST, ANNOUNCEMENTS_PER_SECOND, now()),
            announce_at: now() + ANNOUNCE_EVERY,
        };
        event_loop.set_circle(config.circle.clone());
        Ok(event_loop)
    }

    /// Runs until told to stop, or until nobody can tell it anything any more.
    pub(crate) async fn run(mut self) {
        let events = self.events.clone();
        let done = loop {
            self.dial_who_is_due();
            self.announce_if_due();
            self.look_at_the_network();
            self.close_surplus();
            let deadlines = [self.dialler.poll_timeout(), self.relayed.poll_timeout(), self.surplus.poll_timeout()];
            let next = self.announce_at.min(self.network.poll_timeout());
            let next = deadlines.into_iter().flatten().fold(next, Instant::min);
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                command = self.commands.recv() => match command {
                    Some(Command::Send { peer, call, body }) => {
                        self.swarm.behaviour_mut().signalling.send(peer, call, body);
                    }
                    Some(Command::CloseCall { peer, call }) => {
                        self.swarm.behaviour_mut().signalling.close_call(peer, call);
                    }
                    Some(Command::Dial { address }) => self.dial(address),
                    Some(Command::Shutdown { done }) => break Some(done),
                    None => break None,
                },
                Ok(()) = self.wishes.profile.changed() => self.announce_at = now(),
                Ok(()) = self.wishes.circle.changed() => {
                    let circle = self.wishes.circle.borrow_and_update().clone();
                    self.set_circle(circle);
                }
                Ok(()) = self.wishes.vouched.changed() => {
                    let peer = *self.wishes.vouched.borrow_and_update();
                    self.swarm.behaviour_mut().heartbeat.vouch_for(peer);
                }
                Some(StreamRequest { node, reply }) = self.turn_streams.recv() => {
                    self.swarm.behaviour_mut().directory.open_turn(node, reply);
                }
                () = tokio::time::sleep_until(next.into()) => {}
                Ok(permit) = events.reserve(), if !self.outbox.is_empty() => {
                    if let Some(event) = self.outbox.pop() {
                        permit.send(event);
                    }
                }
            }
        };
        self.say_goodbye().await;
        // Sockets are closed when this returns.
        drop(self.swarm);
        if let Some(done) = done {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
    }

    fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::NewListenAddr { address, .. } if is_relayed(&address) => {
                tracing::debug!(%address, "listening on a relay");
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::debug!(%address, "listening");
                self.network.appeared(now(), address.clone());
                self.emit(Event::Listening { address });
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                tracing::debug!(%address, "not listening any more");
                self.network.vanished(now(), &address);
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                tracing::debug!(peer = %peer_id, connection = %connection_id, remote = %endpoint.get_remote_address(), "connected");
                self.relayed_dials.remove(&connection_id);
                self.relayed.forget(&peer_id);
                if endpoint.is_relayed() || self.swarm.behaviour().directory.is_node(&peer_id) {
                    return;
                }
                let dialled = endpoint.is_dialer().then(|| endpoint.get_remote_address());
                self.dialler.connected(now(), peer_id, dialled);
                self.surplus.opened(peer_id, connection_id, endpoint.get_remote_address());
                self.book.linked(now(), peer_id, connection_id);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, endpoint, cause, .. } => {
                tracing::debug!(peer = %peer_id, connection = %connection_id, ?cause, "disconnected");
                if endpoint.is_relayed() {
                    return;
                }
                self.unlink(peer_id, connection_id);
                if !self.book.is_near(&peer_id) {
                    self.dialler.disconnected(now(), peer_id, rand::random());
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), connection_id, error } => {
                tracing::debug!(%peer, %error, "dialling failed");
                if self.relayed_dials.remove(&connection_id).is_some() {
                    return self.not_reached_through_nodes(peer);
                }
                match error {
                    // Connected by now, or about to be: the connection's own events say what comes of it.
                    DialError::DialPeerConditionFalse(_) => {}
                    DialError::WrongPeerId { address, .. } => {
                        self.dialler.wrong(peer, &address);
                        self.dialler.failed(now(), peer, rand::random());
                    }
                    _ => self.dialler.failed(now(), peer, rand::random()),
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: None, error, .. } => {
                tracing::debug!(%error, "dialling failed");
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                tracing::debug!(%error, "a connection was not accepted")
            }
            SwarmEvent::ListenerError { error, .. } => tracing::warn!(%error, "trouble while listening"),
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::debug!(?addresses, ?reason, "no longer listening");
            }
            event => tracing::trace!(?event, "swarm"),
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Near(NearEvent::MdnsV4(event) | NearEvent::MdnsV6(event)) => self.on_mdns(event),
            BehaviourEvent::Near(NearEvent::Gossip(gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            })) => {
                let acceptance = self.on_announcement(&message);
                if let Some(gossip) = self.swarm.behaviour_mut().gossip() {
                    gossip.report_message_validation_result(&message_id, &propagation_source, acceptance);
                }
            }
            BehaviourEvent::Heartbeat(event) => self.on_heartbeat(event),
            BehaviourEvent::Signalling(signalling::Outcome::Event(event)) => self.emit(event),
            BehaviourEvent::Signalling(signalling::Outcome::Reach { peer }) => {
                // Both ways at once: who was near may have gone.
                let near = self.dialler.wanted(now(), peer);
                // No way now may mean that a node is being connected anew, as after a change of network.
                let directory = &self.swarm.behaviour().directory;
                let may_be_far = !directory.routes(&peer).is_empty() || directory.awaits_a_node();
                let far = may_be_far && self.relayed.wanted(now(), peer);
                if self.blocked.contains(&peer) || !(near || far) {
                    self.swarm.behaviour_mut().signalling.unreachable(peer);
                }
            }
            BehaviourEvent::Directory(outcome) => self.on_directory(outcome),
            BehaviourEvent::Relay(event) => tracing::debug!(?event, "relay"),
            BehaviourEvent::Near(NearEvent::Gossip(_) | NearEvent::Identify(_)) => {}
        }
    }

    fn on_mdns(&mut self, event: mdns::Event) {
        match event {
            mdns::Event::Discovered(found) => {
                for (peer, address) in found.into_iter().filter(|(_, address)| !is_relayed(address)) {
                    for address in link_local::dialable(address) {
                        self.dialler.discovered(now(), peer, address);
                    }
                }
            }
            mdns::Event::Expired(gone) => {
                for (peer, address) in gone {
                    for address in link_local::dialable(address) {
                        self.dialler.expired(now(), peer, &address);
                    }
                }
            }
        }
    }

    /// Gossipsub has verified the signature: the author is who they say.
    fn on_announcement(&mut self, message: &gossipsub::Message) -> gossipsub::MessageAcceptance {
        let Some(author) = message.source else { return gossipsub::MessageAcceptance::Reject };
        if message.data.len() > MAX_ANNOUNCEMENT_BYTES {
            tracing::debug!(peer = %author, bytes = message.data.len(), "an announcement is too long");
            return gossipsub::MessageAcceptance::Reject;
        }
        match Announcement::decode(&message.data) {
            Err(error) => {
                tracing::debug!(peer = %author, %error, "a malformed announcement is dropped");
                gossipsub::MessageAcceptance::Reject
            }
            Ok(said) => match self.book.announced(now(), unix_time_ms(), author, &said) {
                Ok(event) => {
                    self.emit_all(event);
                    gossipsub::MessageAcceptance::Accept
                }
                Err(reason) => {
                    tracing::trace!(peer = %author, %reason, "an announcement is dropped");
                    gossipsub::MessageAcceptance::Ignore
                }
            },
        }
    }

    fn on_heartbeat(&mut self, heartbeat::Event { peer, connection, heard }: heartbeat::Event) {
        match heard {
            Heard::Hello(said) => {
                self.surplus.heard(now(), peer, connection);
                match self.book.hello(now(), peer, connection, &said) {
                    Ok(event) if self.visible => self.emit_all(event),
                    Ok(_) => {}
                    Err(reason) => tracing::debug!(%peer, %reason, "a hello is dropped"),
                }
            }
            Heard::Goodbye { session } => {
                // Closing tells them that the goodbye was heard.
                self.swarm.close_connection(connection);
                if let Some(event) = self.book.goodbye(peer, session) {
                    self.emit(event);
                    self.dialler.left(peer);
                    self.swarm.behaviour_mut().signalling.unreachable(peer);
                }
            }
            Heard::Dead(death) => {
                tracing::debug!(%peer, %connection, ?death, "a connection is given up");
                match death {
                    Death::Foreign | Death::Flooding => self.dialler.foreign(now(), peer),
                    Death::Silent => {}
                }
                self.swarm.behaviour_mut().signalling.connection_dead(peer, connection);
                self.unlink(peer, connection);
            }
        }
    }

    fn unlink(&mut self, peer: PeerId, connection: ConnectionId) {
        self.surplus.closed(peer, connection);
        let event = self.book.unlinked(now(), peer, connection);
        self.emit_all(event);
    }

    /// Closes connections beside others that do as well.
    fn close_surplus(&mut self) {
        let signalling = &self.swarm.behaviour().signalling;
        let one_link = self.network.has_one_link();
        let Some(connection) = self.surplus.poll(now(), one_link, |id| signalling.carries_call(id)) else { return };
        tracing::debug!(%connection, "closes a connection beside another one");
        self.swarm.close_connection(connection);
    }

    /// Says who we are now, on every connection and to the whole network.
    fn announce_if_due(&mut self) {
        if now() < self.announce_at {
            return;
        }
        if !self.announcements.take(now()) {
            self.announce_at = now() + ANNOUNCE_AGAIN_AFTER;
            return;
        }
        self.announce_at = now() + ANNOUNCE_EVERY;
        let profile = self.wishes.profile.borrow_and_update().clone();
        self.seq += 1;
        let announcement = Announcement::new(&profile, self.session, self.seq, unix_time_ms());
        let is_news = self.carded != profile;
        if is_news {
            match Card::sign(&self.keypair, &announcement) {
                Ok(card) => self.swarm.behaviour_mut().directory.set_card(card),
                Err(error) => tracing::warn!(%error, "a card can't be signed"),
            }
            self.carded = profile;
        }
        if !self.visible {
            return;
        }
        let behaviour = self.swarm.behaviour_mut();
        if let Some(gossip) = behaviour.gossip()
            && let Err(error) = gossip.publish(lan::topic(), announcement.encode())
        {
            tracing::debug!(%error, "an announcement was not published");
        }
        behaviour.heartbeat.greet_with(announcement, is_news);
    }

    fn dial(&mut self, address: Multiaddr) {
        let options = match address.iter().last() {
            Some(Protocol::P2p(peer)) if is_relayed(&address) => {
                DialOpts::peer_id(peer).addresses(vec![address]).condition(PeerCondition::Always).build()
            }
            // Until it succeeds.
            Some(Protocol::P2p(peer)) if !self.swarm.is_connected(&peer) => {
                return self.dialler.given(now(), peer, address);
            }
            // One connection more.
            Some(Protocol::P2p(peer)) => {
                DialOpts::peer_id(peer).addresses(vec![address]).condition(PeerCondition::Always).build()
            }
            _ => address.into(),
        };
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(%error, "dialling failed");
        }
    }

    fn dial_who_is_due(&mut self) {
        while let Some(peer) = self.relayed.poll_dial(now()) {
            self.dial_through_nodes(peer);
        }
        while let Some((peer, addresses)) = self.dialler.poll_dial(now()) {
            // A connection through a relay is none on the LAN.
            let condition =
                if self.book.is_near(&peer) { PeerCondition::DisconnectedAndNotDialing } else { PeerCondition::Always };
            // From the port that is listened on, two who dial each other at once would meet as two who dial.
            let options = DialOpts::peer_id(peer).addresses(addresses).condition(condition).allocate_new_port().build();
            if let Err(error) = self.swarm.dial(options) {
                match error {
                    DialError::DialPeerConditionFalse(_) => {}
                    error => {
                        tracing::debug!(%peer, %error, "dialling failed");
                        self.dialler.failed(now(), peer, rand::random());
                    }
                }
            }
        }
    }

    fn emit_all(&mut self, events: Option<Event>) {
        events.into_iter().for_each(|event| self.emit(event));
    }

    fn emit(&mut self, event: Event) {
        log(&event);
        if let Err(Overflow { peer, call }) = self.outbox.push(event) {
            self.swarm.behaviour_mut().signalling.refuse(peer, call);
        }
    }

    /// Waits until the last messages are delivered, then tells everyone, and waits until they have heard it: they
    /// close the connection.
    async fn say_goodbye(&mut self) {
        self.run_until(DELIVER_WITHIN, |swarm| swarm.behaviour().signalling.is_idle()).await;
        self.swarm.behaviour_mut().heartbeat.say_goodbye(self.session);
        self.swarm.behaviour_mut().directory.say_goodbye();
        self.run_until(GOODBYE_WITHIN, |swarm| swarm.network_info().num_peers() == 0).await;
    }

    /// Only the swarm, and only for so long.
    async fn run_until(&mut self, limit: Duration, done: impl Fn(&Swarm<Behaviour>) -> bool) {
        let run = poll_fn(|cx| {
            while let Poll::Ready(Some(event)) = self.swarm.poll_next_unpin(cx) {
                self.on_swarm_event(event);
            }
            if done(&self.swarm) { Poll::Ready(()) } else { Poll::Pending }
        });
        if tokio::time::timeout(limit, run).await.is_err() {
            tracing::debug!("not everyone has answered in time");
        }
    }
}

/// What the user would notice.
fn log(event: &Event) {
    match event {
        Event::PeerOnline(person) => tracing::info!(peer = %person.peer, name = person.profile.name, "online"),
        Event::PeerChanged(person) => {
            tracing::info!(peer = %person.peer, name = person.profile.name, status = ?person.profile.status, "changed");
        }
        Event::PeerOffline { peer, reason } => tracing::info!(%peer, ?reason, "offline"),
        Event::SignalFailed { peer, call, error } => tracing::info!(%peer, %call, error, "signalling failed"),
        Event::NetworkChanged => tracing::info!("the addresses of this machine changed"),
        Event::LearnedNodes(nodes) => tracing::info!(addresses = nodes.len(), "our nodes know others"),
        Event::Node(NodeState { node, link }) => tracing::info!(%node, ?link, "node"),
        Event::Signal { .. } | Event::Listening { .. } | Event::IceServers(_) => {}
    }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[expect(
    clippy::disallowed_methods,
    reason = "announcements carry the time of day; the event loop is where it is read"
)]
fn unix_time_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
