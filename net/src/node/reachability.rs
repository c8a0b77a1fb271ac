//! Whether other nodes reach us at the addresses that we give to people, and the same service to them (AutoNAT v2).
//!
//! The library carries questions and answers. What is asked, whom, and who is answered is decided here: one question at
//! a time, about one address, to one node that we have dialled; and dialling back, for whoever asks, at a rate that
//! does not make us a nuisance, and never into private networks.
//!
//! The library would keep two handlers for each of ten thousand people's connections, none of whom ever asks: here these
//! are made when they are needed.

mod book;
mod on_demand;
mod turnstile;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    future::Future,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    autonat::v2::{client, server},
    core::{ConnectedPoint, Endpoint, transport::PortUse},
    swarm::{
        ConnectionClosed, ConnectionDenied, ConnectionHandler, ConnectionHandlerSelect, ConnectionId, DialFailure,
        FromSwarm, NetworkBehaviour, NewExternalAddrCandidate, NotifyHandler, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm, behaviour::ConnectionEstablished, derive_prelude::Either,
    },
};
use tokio::time::Sleep;

pub use self::book::Reached;
use self::{
    book::{Answer, Book},
    on_demand::{Admission, OnDemand, Told},
    turnstile::Turnstile,
};
use super::turn::Destinations;
use crate::{address, directory::nodes::split};

const ASKING: StreamProtocol = StreamProtocol::new("/libp2p/autonat/2/dial-request");
const DIALLING_BACK: StreamProtocol = StreamProtocol::new("/libp2p/autonat/2/dial-back");

/// How long a question may take: longer than the other side dials.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// How soon the library asks.
const ASK_AFTER: Duration = Duration::from_millis(100);

/// The two sides of an `Either`, to name types of the library that have no public names.
pub(super) trait Sides {
    type Left;
    type Right;
}

impl<L, R> Sides for Either<L, R> {
    type Left = L;
    type Right = R;
}

/// On connections that we have opened: asks, or dials back.
type Asker = <THandler<client::Behaviour> as Sides>::Left;
type Returner = <THandler<server::Behaviour> as Sides>::Left;
/// On connections that others have opened: is asked, or is dialled back.
type Asked = <THandler<server::Behaviour> as Sides>::Right;
type Returned = <THandler<client::Behaviour> as Sides>::Right;
/// What an asker tells.
type AskerTells = <THandlerOutEvent<client::Behaviour> as Sides>::Left;

type Inbound = ConnectionHandlerSelect<OnDemand<Asked>, OnDemand<Returned>>;
type Outbound = ConnectionHandlerSelect<Asker, Returner>;

/// A node that we have dialled.
#[derive(Debug)]
struct Dialled {
    node: PeerId,
    endpoint: ConnectedPoint,
    answers: bool,
}

/// The question that is being answered.
#[derive(Debug)]
struct Question {
    connection: ConnectionId,
    node: PeerId,
    address: Multiaddr,
    /// The library has asked. It would ask again as soon as it is turned away.
    is_sent: bool,
}

/// See the module.
pub(super) struct Behaviour {
    /// Made anew for each question, since it asks whom it likes.
    client: client::Behaviour,
    server: server::Behaviour,
    book: Book,
    destinations: Destinations,
    /// As many as nodes are dialled.
    dialled: HashMap<ConnectionId, Dialled>,
    question: Option<Question>,
    /// When the question is given up.
    alarm: Pin<Box<Sleep>>,
    /// Connections that are being opened to dial somebody back. As many as are admitted within a dialling time.
    returning: HashSet<ConnectionId>,
    turnstile: Turnstile,
    queue: VecDeque<Action>,
}

/// What the swarm is to do, or to tell of.
type Action = ToSwarm<Vec<(Multiaddr, Reached)>, THandlerInEvent<Behaviour>>;

/// Why nobody is dialled back there.
#[derive(Debug, thiserror::Error)]
#[error("nobody is dialled back in a private network")]
struct NotThere;

impl Behaviour {
    /// Must be called on a tokio runtime: has a timer.
    pub(super) fn new(allow_private: bool) -> Self {
        let now = tokio::time::Instant::now();
        Self {
            client: new_client(),
            server: server::Behaviour::default(),
            book: Book::default(),
            destinations: Destinations { private: allow_private, loopback: allow_private },
            dialled: HashMap::new(),
            question: None,
            alarm: Box::pin(tokio::time::sleep_until(now)),
            returning: HashSet::new(),
            turnstile: Turnstile::new(now.into_std()),
            queue: VecDeque::new(),
        }
    }

    /// These are the addresses that we give to people. Without `/p2p`.
    pub(super) fn set_addresses(&mut self, addresses: &[Multiaddr]) {
        let asked: Vec<Multiaddr> = addresses.iter().filter(|address| self.is_allowed(address)).cloned().collect();
        self.book.set(asked);
        self.queue.push_back(ToSwarm::GenerateEvent(self.book.verdicts()));
    }

    /// Whether others may be made to dial this, and we by them.
    fn is_allowed(&self, address: &Multiaddr) -> bool {
        let bare = split(address).map_or_else(|| address.clone(), |(_, bare)| bare);
        address::of(&bare).is_some_and(|ip| self.destinations.allow(ip))
    }

    /// Asks the next question, if there is one.
    fn ask(&mut self) {
        if self.question.is_some() {
            return;
        }
        let now = now();
        let next = self.dialled.iter().filter(|(_, dialled)| dialled.answers).find_map(|(connection, dialled)| {
            let family = address::of(dialled.endpoint.get_remote_address())?.is_ipv6();
            let can = |asked: &Multiaddr| address::of(asked).is_some_and(|ip| ip.is_ipv6() == family);
            let address = self.book.next(now, &dialled.node, can)?;
            Some((*connection, dialled, address))
        });
        let Some((connection, Dialled { node, endpoint, .. }, address)) = next else { return };
        let mut client = new_client();
        client.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: *node,
            connection_id: connection,
            endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
        client.on_connection_handler_event(*node, connection, Either::Left(AskerTells::PeerHasServerSupport));
        client.on_swarm_event(FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr: &address }));
        self.question = Some(Question { connection, node: *node, address, is_sent: false });
        self.client = client;
        self.alarm.as_mut().reset(tokio::time::Instant::now() + ANSWER_WITHIN);
    }

    fn answered(&mut self, answer: Answer) {
        let Some(Question { node, address, .. }) = self.question.take() else { return };
        tracing::debug!(%node, %address, ?answer, "another node says whether it reaches us");
        if self.book.answered(now(), node, &address, answer) {
            self.queue.push_back(ToSwarm::GenerateEvent(self.book.verdicts()));
        }
    }

    fn admission(&mut self, connection: ConnectionId, peer: PeerId, ip: Option<IpAddr>) -> Option<Box<Asked>> {
        if !self.turnstile.admits(now(), ip) {
            tracing::debug!(%peer, "asks too often whether we reach it");
            return None;
        }
        // Whom it is from matters only to spare them a proof that we ask of everybody.
        let nowhere = Multiaddr::empty();
        match self.server.handle_established_inbound_connection(connection, peer, &nowhere, &nowhere) {
            Ok(Either::Right(handler)) => Some(Box::new(handler)),
            Ok(Either::Left(_)) | Err(_) => None,
        }
    }

    /// Whoever we have asked dials back, and nobody else.
    fn expected(&mut self, connection: ConnectionId, peer: PeerId) -> Option<Box<Returned>> {
        self.question.as_ref().filter(|question| question.node == peer)?;
        let nowhere = Multiaddr::empty();
        match self.client.handle_established_inbound_connection(connection, peer, &nowhere, &nowhere) {
            Ok(Either::Right(handler)) => Some(Box::new(handler)),
            Ok(Either::Left(_)) | Err(_) => None,
        }
    }

    fn notify(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerInEvent<Self>) {
        let handler = NotifyHandler::One(connection);
        self.queue.push_back(ToSwarm::NotifyHandler { peer_id: peer, handler, event });
    }
}

fn new_client() -> client::Behaviour {
    client::Behaviour::new(rand::make_rng(), client::Config::default().with_probe_interval(ASK_AFTER))
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Either<Inbound, Outbound>;
    /// What is known of our addresses, whenever that changes.
    type ToSwarm = Vec<(Multiaddr, Reached)>;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let ip = address::of(remote);
        Ok(Either::Left(OnDemand::new(ASKING, ip).select(OnDemand::new(DIALLING_BACK, ip))))
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        _: Option<PeerId>,
        addresses: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let is_fine = !self.returning.contains(&connection) || addresses.iter().all(|address| self.is_allowed(address));
        if is_fine { Ok(Vec::new()) } else { Err(ConnectionDenied::new(NotThere)) }
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.returning.remove(&connection);
        let asker = match self.client.handle_established_outbound_connection(connection, peer, remote, role, port)? {
            Either::Left(asker) => asker,
            Either::Right(_) => return Err(ConnectionDenied::new(NotThere)),
        };
        let returner = match self.server.handle_established_outbound_connection(connection, peer, remote, role, port)? {
            Either::Left(returner) => returner,
            Either::Right(_) => return Err(ConnectionDenied::new(NotThere)),
        };
        Ok(Either::Right(asker.select(returner)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(ConnectionEstablished { peer_id, connection_id, endpoint, .. })
                if endpoint.is_dialer() =>
            {
                let dialled = Dialled { node: peer_id, endpoint: endpoint.clone(), answers: false };
                self.dialled.insert(connection_id, dialled);
            }
            FromSwarm::ConnectionClosed(ConnectionClosed { connection_id, .. }) => {
                self.dialled.remove(&connection_id);
                if self.question.as_ref().is_some_and(|question| question.connection == connection_id) {
                    self.answered(Answer::Silence);
                }
            }
            FromSwarm::DialFailure(DialFailure { connection_id, .. }) => {
                self.returning.remove(&connection_id);
                self.server.on_swarm_event(event);
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {
            Either::Left(Either::Left(Told::Wanted { ip })) => {
                let admission = Admission(self.admission(connection, peer, ip));
                self.notify(peer, connection, Either::Left(Either::Left(admission)));
            }
            Either::Left(Either::Left(Told::Inner(event))) => {
                self.server.on_connection_handler_event(peer, connection, Either::Right(event));
            }
            Either::Left(Either::Right(Told::Wanted { .. })) => {
                let admission = Admission(self.expected(connection, peer));
                self.notify(peer, connection, Either::Left(Either::Right(admission)));
            }
            Either::Left(Either::Right(Told::Inner(event))) => {
                self.client.on_connection_handler_event(peer, connection, Either::Right(event));
            }
            Either::Right(Either::Left(AskerTells::PeerHasServerSupport)) => {
                if let Some(dialled) = self.dialled.get_mut(&connection) {
                    dialled.answers = true;
                }
            }
            Either::Right(Either::Left(event)) => {
                // The client knows no other connection.
                if self.question.as_ref().is_some_and(|question| question.connection == connection) {
                    self.client.on_connection_handler_event(peer, connection, Either::Left(event));
                }
            }
            Either::Right(Either::Right(event)) => {
                self.server.on_connection_handler_event(peer, connection, Either::Left(event));
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Poll::Ready(event);
            }
            match self.server.poll(cx) {
                Poll::Ready(ToSwarm::GenerateEvent(event)) => {
                    tracing::debug!(client = %event.client, "a node asked whether we reach it");
                    continue;
                }
                Poll::Ready(event) => {
                    if let ToSwarm::Dial { opts } = &event {
                        self.returning.insert(opts.connection_id());
                    }
                    let event = event.map_out(|_| Vec::new()).map_in(|event| match event {
                        Either::Left(event) => Either::Right(Either::Right(event)),
                        Either::Right(never) => match never {},
                    });
                    return Poll::Ready(event);
                }
                Poll::Pending => {}
            }
            self.ask();
            let Some(question) = &mut self.question else { return Poll::Pending };
            match self.client.poll(cx) {
                Poll::Ready(ToSwarm::GenerateEvent(event)) => {
                    if event.tested_addr == question.address {
                        let answer = if event.result.is_ok() { Answer::Reached } else { Answer::NotReached };
                        self.answered(answer);
                    }
                }
                // We say ourselves where we are.
                Poll::Ready(ToSwarm::ExternalAddrConfirmed(_)) => {}
                Poll::Ready(event) => {
                    if std::mem::replace(&mut question.is_sent, true) {
                        continue;
                    }
                    return Poll::Ready(event.map_out(|_| Vec::new()).map_in(|event| match event {
                        Either::Left(event) => Either::Right(Either::Left(event)),
                        Either::Right(never) => match never {},
                    }));
                }
                Poll::Pending if self.alarm.as_mut().poll(cx).is_ready() => self.answered(Answer::Silence),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_public_addresses_are_asked_about_and_dialled_back() {
        let strict = Behaviour::new(false);
        let table = [
            ("/ip4/8.8.8.8/tcp/4001", true),
            ("/ip6/2606:4700::1/udp/4001/quic-v1", true),
            ("/ip4/10.0.0.1/tcp/4001", false),
            ("/ip4/127.0.0.1/tcp/9464", false),
            ("/ip4/169.254.169.254/tcp/80", false),
            ("/ip6/fe80::1/tcp/4001", false),
            ("/dns4/localhost/tcp/4001", false),
        ];
        for (address, allowed) in table {
            let address: Multiaddr = address.parse().unwrap();
            assert_eq!(strict.is_allowed(&address), allowed, "{address}");
            let named = address.clone().with(libp2p::multiaddr::Protocol::P2p(PeerId::random()));
            assert_eq!(strict.is_allowed(&named), allowed, "{named}");
        }
    }
}
