//! Nodes that know each other, through Kademlia under a name of its own. Only nodes are in it: people ask their nodes.
//!
//! The library's table and queries find the others; the [`Book`] decides who is taken up. No records are kept, and
//! answers to queries make us dial nothing but plain addresses as far out as our own.

mod book;

use std::{
    future::Future,
    net::IpAddr,
    num::NonZeroUsize,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::{Endpoint, transport::PortUse},
    identity::PublicKey,
    kad::{self, store::MemoryStore},
    swarm::{
        ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::time::Sleep;

use self::book::Book;
use crate::directory::nodes::{Reach, split};

/// The protocol of nodes among themselves.
pub(super) const PROTOCOL: StreamProtocol = StreamProtocol::new("/parlor/kad/1");

/// How often others are looked for, besides whenever one is found.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);

/// How long one search may take.
const SEARCH_WITHIN: Duration = Duration::from_secs(20);

/// Searches go through so many nodes at a time.
const AT_A_TIME: NonZeroUsize = NonZeroUsize::new(3).expect("three is not zero");

/// See the module.
pub(super) struct Behaviour {
    kad: kad::Behaviour<MemoryStore>,
    book: Book,
    /// Wakes us at `alarm_at`.
    alarm: Pin<Box<Sleep>>,
    alarm_at: Option<Instant>,
}

impl Behaviour {
    /// Must be called on a tokio runtime: has a timer.
    pub(super) fn new(local: &PublicKey, named: &[Multiaddr], allow_private: bool) -> Self {
        let local = local.to_peer_id();
        let mut config = kad::Config::new(PROTOCOL);
        config
            .set_kbucket_inserts(kad::BucketInserts::Manual)
            .set_record_filtering(kad::StoreInserts::FilterBoth)
            .set_replication_interval(None)
            .set_publication_interval(None)
            .set_provider_publication_interval(None)
            .set_caching(kad::Caching::Disabled)
            .set_parallelism(AT_A_TIME)
            .disjoint_query_paths(true)
            .set_query_timeout(SEARCH_WITHIN)
            .set_periodic_bootstrap_interval(Some(LOOK_EVERY));
        let mut kad = kad::Behaviour::with_config(local, MemoryStore::new(local), config);
        kad.set_mode(Some(kad::Mode::Server));
        let nearest = if allow_private { Reach::Loopback } else { Reach::Public };
        Self {
            kad,
            book: Book::new(local, named, nearest),
            alarm: Box::pin(tokio::time::sleep_until(tokio::time::Instant::now())),
            alarm_at: None,
        }
    }

    /// We listen, and our addresses are known: others are looked for from now on.
    pub(super) fn begin(&mut self) {
        self.book.begin(now());
        self.alarm_at = None;
    }

    /// Somebody who is connected from `ip` says of themselves what they speak and where they are.
    pub(super) fn identified(&mut self, peer: PeerId, ip: IpAddr, speaks: &[StreamProtocol], listens: &[Multiaddr]) {
        if speaks.contains(&PROTOCOL) {
            self.book.claimed(now(), peer, ip, listens);
            // Looked at when we are polled: not much later, since the swarm has just been busy.
            self.alarm_at = None;
        }
    }

    /// How many nodes are known and there.
    pub(super) fn count(&self) -> usize {
        self.book.count()
    }

    /// Whom people are told of, if that has changed.
    pub(super) fn take_told(&mut self) -> Option<Vec<Multiaddr>> {
        self.book.take_told()
    }

    fn on_kad(&mut self, event: &kad::Event) {
        match event {
            // It has proved its key at an address that we have dialled, and speaks the protocol.
            kad::Event::RoutablePeer { peer, address } => {
                if self.book.proven(now(), *peer, address) {
                    tracing::info!(node = %peer, "another node is known");
                    self.kad.add_address(peer, address.clone());
                }
            }
            event => tracing::trace!(?event, "nodes"),
        }
    }

    fn failed(&mut self, node: &PeerId) {
        if self.book.failed(now(), node) {
            tracing::info!(%node, "another node is gone");
            self.kad.remove_peer(node);
        }
    }
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = THandler<kad::Behaviour<MemoryStore>>;
    type ToSwarm = kad::Event;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad.handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let mut found = self.kad.handle_pending_outbound_connection(connection, peer, addresses, role)?;
        found.retain(|address| {
            let bare = split(address).map_or_else(|| address.clone(), |(_, address)| address);
            self.book.allows(&bare)
        });
        if let Some(peer) = peer {
            found.extend(self.book.addresses(&peer).iter().cloned());
        }
        Ok(found)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        remote: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.kad.handle_established_outbound_connection(connection, peer, remote, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionEstablished(established) if established.endpoint.is_dialer() => {
                self.book.connected(now(), &established.peer_id);
            }
            FromSwarm::DialFailure(failure) => match (failure.peer_id, failure.error) {
                // Connected by now, or about to be.
                (Some(node), DialError::DialPeerConditionFalse(_)) => self.book.connected(now(), &node),
                (Some(node), _) => self.failed(&node),
                (None, _) => {}
            },
            _ => {}
        }
        self.kad.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, connection: ConnectionId, event: THandlerOutEvent<Self>) {
        self.kad.on_connection_handler_event(peer, connection, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        loop {
            match self.kad.poll(cx) {
                Poll::Ready(event) => {
                    if let ToSwarm::GenerateEvent(event) = &event {
                        self.on_kad(event);
                    }
                    return Poll::Ready(event);
                }
                Poll::Pending => {}
            }
            if let Some((node, addresses)) = self.book.poll_dial(now()) {
                // A connection that the node has opened does not show where it is.
                let opts = DialOpts::peer_id(node).addresses(addresses).condition(PeerCondition::NotDialing).build();
                return Poll::Ready(ToSwarm::Dial { opts });
            }
            let wanted = self.book.poll_timeout();
            if let Some(at) = wanted
                && self.alarm_at != wanted
            {
                self.alarm.as_mut().reset(at.into());
            }
            self.alarm_at = wanted;
            if wanted.is_some() && self.alarm.as_mut().poll(cx).is_ready() {
                self.alarm_at = None;
                continue;
            }
            return Poll::Pending;
        }
    }
}

/// The runtime's clock, which tests can pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
