//! What is beyond the LAN: nodes, who is seen through them, and the ways there.

use libp2p::{
    PeerId,
    swarm::dial_opts::{DialOpts, PeerCondition},
};

use super::{EventLoop, now, unix_time_ms};
use crate::{Circle, Event, NodeLink, directory::Outcome, presence::Rejected};

impl EventLoop {
    /// A node has something to tell.
    pub(super) fn on_directory(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Seen { node, peer, found, said } => match self.book.seen(now(), node, peer, found, &said) {
                Ok(event) => self.emit_all(event),
                Err(Rejected::Departed | Rejected::Stale) => tracing::debug!(%node, %peer, "an old card"),
                Err(reason) => tracing::debug!(%node, %peer, %reason, "a card is dropped"),
            },
            Outcome::Unseen { node, peer, found, reason } => {
                let event = self.book.unseen(now(), node, peer, found, reason);
                self.emit_all(event);
            }
            Outcome::Node(state) => {
                match state.link {
                    NodeLink::Online { .. } => self.relayed.hurry(now()),
                    NodeLink::Connecting | NodeLink::Failed { .. } | NodeLink::Idle => {}
                }
                self.emit(Event::Node(state));
            }
            Outcome::Learned(nodes) => {
                // Before any of them is dialled.
                self.swarm.behaviour_mut().tell_nodes_from_people();
                self.emit(Event::LearnedNodes(nodes));
            }
            Outcome::IceServers(servers) => self.emit(Event::IceServers(servers)),
            Outcome::Shim { node } => match self.shims.start(node) {
                Ok(port) => self.swarm.behaviour_mut().directory.shim_at(node, port),
                Err(error) => tracing::warn!(%error, "no local port for TURN over a stream"),
            },
            Outcome::Forget { node } => self.shims.stop(&node),
        }
    }

    /// Changes who is found, and by whom. Whoever is blocked is first of all cut off.
    pub(super) fn set_circle(&mut self, circle: Circle) {
        self.blocked = circle.blocked.iter().take(Circle::MAX_BLOCKED).copied().collect();
        let behaviour = self.swarm.behaviour_mut();
        behaviour.block(&self.blocked);
        behaviour.directory.set_circle(circle);
        behaviour.tell_nodes_from_people();
        for event in self.book.block(self.blocked.clone()) {
            self.emit(event);
        }
    }

    pub(super) fn look_at_the_network(&mut self) {
        if now() < self.network.poll_timeout() || !self.network.has_changed(now(), unix_time_ms()) {
            return;
        }
        self.emit(Event::NetworkChanged);
        self.dialler.network_changed(now());
        self.swarm.behaviour_mut().directory.network_changed();
    }

    /// An attempt to reach somebody through nodes has failed.
    pub(super) fn not_reached_through_nodes(&mut self, peer: PeerId) {
        let near = self.book.is_near(&peer);
        if !self.relayed.failed(now(), peer) && !near {
            self.swarm.behaviour_mut().signalling.unreachable(peer);
        }
    }

    /// Through all nodes that show them: the first way that opens is taken.
    pub(super) fn dial_through_nodes(&mut self, peer: PeerId) {
        let routes = self.swarm.behaviour().directory.routes(&peer);
        if routes.is_empty() {
            return self.not_reached_through_nodes(peer);
        }
        let options = DialOpts::peer_id(peer).addresses(routes).condition(PeerCondition::Always).build();
        let connection = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.relayed_dials.insert(connection, peer);
            }
            Err(error) => {
                tracing::debug!(%peer, %error, "dialling through a relay failed");
                self.not_reached_through_nodes(peer);
            }
        }
    }
}
