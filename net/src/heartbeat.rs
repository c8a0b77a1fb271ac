//! Whether the people we are connected to are still there.
//!
//! `/parlor/heartbeat/1`: on every connection each side opens one stream and sends a hello (who I am), a beat every
//! 400 ms (800 ms in a call), the hello again when it changes, and a goodbye when its process ends. What arrives is as authentic as the
//! connection: nobody can speak for anybody else. A side that misses four beats closes the connection,
//! since TCP takes many minutes to notice a pulled cable. Through a relay beats are rarer, and nobody says who they are:
//! that is for those near. With nodes it is not spoken.

mod false_alarms;
mod frame;
#[cfg(test)]
mod fuzz;
mod handler;
mod liveness;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    task::{Context, Poll, Waker},
    time::Instant,
};

use libp2p::{
    Multiaddr, PeerId,
    core::{Endpoint, transport::PortUse},
    swarm::{
        CloseConnection, ConnectionClosed, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, NotifyHandler,
        THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
    },
};

pub(crate) use self::handler::Death;
use self::{
    false_alarms::FalseAlarms,
    handler::{Command, Handler, Pace, Report},
};
use crate::{gate::is_relayed, presence::Announcement};

/// How many times longer than usual somebody may be silent whose voice is heard.
const VOUCHED: u32 = 8;

/// What a connection's other end said, or that it fell silent.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) heard: Heard,
}

/// What was heard on a connection.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Who they are.
    Hello(Announcement),
    /// Their process with this session ends.
    Goodbye { session: u64 },
    /// Nothing any more, or nothing sensible. The connection is being closed.
    Dead(Death),
}

/// Sends and hears heartbeats on every connection. Its queue holds at most one command a connection and what the
/// swarm has not fetched yet.
pub(crate) struct Behaviour {
    /// What new connections are greeted with. `None`: nothing, we are not to be seen.
    hello: Option<Announcement>,
    connections: HashMap<ConnectionId, Connection>,
    false_alarms: FalseAlarms,
    /// Media of a call with them flows.
    vouched: Option<PeerId>,
    /// They are no people.
    nodes: HashSet<PeerId>,
    queue: VecDeque<ToSwarm<Event, Command>>,
    waker: Option<Waker>,
}

#[derive(Debug)]
struct Connection {
    peer: PeerId,
    pace: Pace,
    /// Of the other end's program, when it has said so.
    session: Option<u64>,
}

impl Behaviour {
    pub(crate) fn new(hello: Option<Announcement>) -> Self {
        Self {
            hello,
            connections: HashMap::new(),
            false_alarms: FalseAlarms::default(),
            vouched: None,
            nodes: HashSet::new(),
            queue: VecDeque::new(),
            waker: None,
        }
    }

    /// Who we are now: for new connections and, if it is news, for all who are connected.
    pub(crate) fn greet_with(&mut self, hello: Announcement, is_news: bool) {
        if is_news {
            self.tell_all(|pace| pace == Pace::Near, || Command::Say(hello.clone()));
        }
        self.hello = Some(hello);
    }

    /// Tells everyone that this process ends.
    pub(crate) fn say_goodbye(&mut self, session: u64) {
        self.tell_all(|pace| pace != Pace::Off, || Command::Goodbye { session });
    }

    /// With these it is not spoken, on connections to come.
    pub(crate) fn set_nodes(&mut self, nodes: HashSet<PeerId>) {
        self.nodes = nodes;
    }

    /// Something else shows that they live, or nothing does any more.
    pub(crate) fn vouch_for(&mut self, peer: Option<PeerId>) {
        let before = std::mem::replace(&mut self.vouched, peer);
        let changed = |connection: &&Connection| before != peer && [before, peer].contains(&Some(connection.peer));
        let now = now();
        for (id, connection) in self.connections.iter().filter(|(_, connection)| changed(connection)) {
            let event = self.be_patient(now, connection.peer);
            let handler = NotifyHandler::One(*id);
            self.queue.push_back(ToSwarm::NotifyHandler { peer_id: connection.peer, handler, event });
        }
        self.wake();
    }

    /// How many times longer than usual they may be silent.
    fn patience(&self, now: Instant, peer: PeerId) -> u32 {
        if self.vouched == Some(peer) { VOUCHED } else { self.false_alarms.patience(now, peer) }
    }

    fn be_patient(&self, now: Instant, peer: PeerId) -> Command {
        Command::BePatient { times: self.patience(now, peer), in_call: self.vouched == Some(peer) }
    }

    fn handler(&self, peer: &PeerId, relayed: bool) -> Handler {
        let times = self.patience(now(), *peer);
        match self.pace(peer, relayed) {
            Pace::Near => Handler::new(self.hello.clone(), Pace::Near, times),
            pace @ (Pace::Relayed | Pace::Off) => Handler::new(None, pace, times),
        }
    }

    fn pace(&self, peer: &PeerId, relayed: bool) -> Pace {
        match (relayed, self.nodes.contains(peer)) {
            (true, _) => Pace::Relayed,
            (false, true) => Pace::Off,
            (false, false) => Pace::Near,
        }
    }

    /// They are there, in this run of their program.
    fn heard(&mut self, peer: PeerId, connection: ConnectionId, session: u64) {
        let Some(known) = self.connections.get_mut(&connection) else { return };
        if known.session.replace(session) != Some(session) {
            self.false_alarms.heard(now(), peer, session);
            let event = self.be_patient(now(), peer);
            let handler = NotifyHandler::One(connection);
            self.queue.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event });
        }
    }

    fn tell_all(&mut self, who: impl Fn(Pace) -> bool, command: impl Fn() -> Command) {
        for (connection, Connection { peer, .. }) in self.connections.iter().filter(|(_, to)| who(to.pace)) {
            self.queue.push_back(ToSwarm::NotifyHandler {
                peer_id: *peer,
                handler: NotifyHandler::One(*connection),
                event: command(),
            });
        }
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Event;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(&peer, is_relayed(local) || is_relayed(remote)))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(self.handler(&peer, is_relayed(address)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                let (peer, relayed) = (established.peer_id, established.endpoint.is_relayed());
                let connection = Connection { peer, pace: self.pace(&peer, relayed), session: None };
                self.connections.insert(established.connection_id, connection);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.connections.remove(&connection_id);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, report: THandlerOutEvent<Self>) {
        let heard = match report {
            Report::Hello(announcement) => {
                self.heard(peer, connection, announcement.session);
                Heard::Hello(announcement)
            }
            Report::Goodbye { session } => Heard::Goodbye { session },
            Report::Dead(death) => {
                let session = self.connections.get(&connection).and_then(|connection| connection.session);
                if let (Death::Silent, Some(session)) = (death, session) {
                    self.false_alarms.silent(now(), peer, session);
                }
                self.queue.push_back(ToSwarm::CloseConnection {
                    peer_id: peer,
                    connection: CloseConnection::One(connection),
                });
                Heard::Dead(death)
            }
        };
        self.queue.push_back(ToSwarm::GenerateEvent(Event { peer, connection, heard }));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        match self.queue.pop_front() {
            Some(event) => Poll::Ready(event),
            None => {
                self.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Of the runtime's clock.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
