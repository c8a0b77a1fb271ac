//! All that a client does about its nodes, decided here and done elsewhere. Pure: time and what connections bring go in,
//! effects come out.
//!
//! Owns which nodes are needed and what each is asked for, when one is dialled, taken for lost and tried again, and whom
//! each shows. Nothing that a node says is believed unless the person it is about has signed it; who is there, and who
//! of two cards is newer, the [book](crate::presence::Book) decides.

mod asked;
mod homes;
mod ice;
mod known;
mod node;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use rand::{SeedableRng, rngs::StdRng};

use self::{
    homes::{nodes_of, plan, ranked},
    node::{Context, Node},
};
use super::{
    Card, Push, Request,
    nodes::{MAX_ADDRESSES_TOLD, MAX_NODES_TOLD},
};
use crate::{Circle, Found, IceServer, NodeState, OfflineReason, presence::Announcement};

/// Through how many nodes somebody is tried to be reached at a time.
const MAX_ROUTES: usize = 3;

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Connect to a node. An earlier attempt that still runs does not count any more.
    Dial { node: PeerId, addresses: Vec<Multiaddr> },
    /// Close a connection to a node.
    HangUp { node: PeerId, connection: ConnectionId },
    /// Send requests over the stream of this connection; open it first if need be.
    Say { node: PeerId, connection: ConnectionId, requests: Vec<Request> },
    /// Listen on a node's relay.
    Reserve { node: PeerId, address: Multiaddr },
    /// Somebody is there, and has signed this.
    Seen { node: PeerId, peer: PeerId, found: Found, said: Announcement },
    /// A node shows somebody no more.
    Unseen { node: PeerId, peer: PeerId, found: Found, reason: OfflineReason },
    /// How a node is doing has changed.
    State(NodeState),
    /// Our nodes know these others, which are used, too, from now on.
    Learned(Vec<Multiaddr>),
    /// These serve media from now on.
    IceServers(Vec<IceServer>),
    /// Offer the node's TURN relay on a port of this machine, and [say which](Client::shim_at).
    Shim { node: PeerId },
    /// The node is no longer in the circle.
    Forget { node: PeerId },
}

/// All nodes.
pub(crate) struct Client {
    local: PeerId,
    circle: Circle,
    card: Card,
    nodes: BTreeMap<PeerId, Node>,
    /// Those of them that we have only been told of.
    learned: BTreeMap<PeerId, Vec<Multiaddr>>,
    /// Those that were taken for ailing when it was last decided what each is asked for.
    ailing: Vec<PeerId>,
    ice_servers: Vec<IceServer>,
    random: StdRng,
    effects: VecDeque<Effect>,
}

impl Client {
    /// Without any node at first.
    pub(crate) fn new(local: PeerId, card: Card, seed: u64) -> Self {
        Self {
            local,
            circle: Circle::default(),
            card,
            nodes: BTreeMap::new(),
            learned: BTreeMap::new(),
            ailing: Vec::new(),
            ice_servers: Vec::new(),
            random: StdRng::seed_from_u64(seed),
            effects: VecDeque::new(),
        }
    }

    /// What is to be done next.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`Client::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.nodes.values().filter_map(Node::poll_timeout).min()
    }

    /// Who is found, and by whom, has changed.
    pub(crate) fn set_circle(&mut self, now: Instant, circle: Circle) {
        self.circle = circle;
        self.renew_nodes(now);
    }

    /// Which nodes there are has changed: those of the circle, or those that they know.
    fn renew_nodes(&mut self, now: Instant) {
        let mut nodes = nodes_of(&self.circle);
        nodes.remove(&self.local);
        let own: BTreeSet<PeerId> = nodes.keys().copied().collect();
        let learned = self.learned(&own);
        if self.learned != learned {
            self.learned.clone_from(&learned);
            let with_id = |(node, addresses): (&PeerId, &Vec<Multiaddr>)| {
                addresses.iter().filter_map(|address| address.clone().with_p2p(*node).ok()).collect::<Vec<_>>()
            };
            self.effects.push_back(Effect::Learned(learned.iter().flat_map(with_id).collect()));
        }
        nodes.extend(learned);
        let removed: Vec<PeerId> = self.nodes.keys().filter(|node| !nodes.contains_key(node)).copied().collect();
        for id in removed {
            self.with(now, id, |node, cx| node.set_duty(cx, None));
            self.nodes.remove(&id);
            self.effects.push_back(Effect::Forget { node: id });
        }
        for (id, addresses) in nodes {
            let node = self.nodes.entry(id).or_insert_with(|| Node::new(now, id));
            node.addresses = addresses;
            node.learned = !own.contains(&id);
        }
        self.assign(now);
        self.publish_ice_servers();
    }

    /// We say something else of ourselves now.
    pub(crate) fn set_card(&mut self, now: Instant, card: Card) {
        self.card = card;
        self.assign(now);
    }

    /// There is a direct connection to a node, reached at `address`.
    pub(crate) fn connected(&mut self, now: Instant, node: PeerId, connection: ConnectionId, address: Multiaddr) {
        self.with(now, node, |node, cx| node.connected(cx, connection, address));
    }

    /// A connection to a node, or the stream on it, has ended.
    pub(crate) fn disconnected(&mut self, now: Instant, node: PeerId, connection: ConnectionId, reason: String) {
        self.with(now, node, |node, cx| node.disconnected(cx, connection, reason));
        self.after(now);
    }

    /// The latest attempt to connect to a node has failed.
    pub(crate) fn dial_failed(&mut self, now: Instant, node: PeerId, reason: String) {
        self.with(now, node, |node, cx| node.dial_failed(cx, reason));
        self.after(now);
    }

    /// A node said something.
    pub(crate) fn pushed(&mut self, now: Instant, node: PeerId, connection: ConnectionId, push: Push) {
        let about_nodes = matches!(push, Push::Nodes { .. });
        self.with(now, node, |node, cx| node.pushed(cx, connection, push));
        if about_nodes {
            self.renew_nodes(now);
        }
        self.after(now);
    }

    /// The reservation on a node's relay was refused or has ended.
    pub(crate) fn unreserved(&mut self, now: Instant, node: PeerId) {
        self.with(now, node, |node, cx| node.unreserved(cx));
    }

    /// A node's TURN relay is behind this port of this machine now.
    pub(crate) fn shim_at(&mut self, node: PeerId, port: u16) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.shim_at(port);
        }
        self.publish_ice_servers();
    }

    /// The addresses of this machine have changed, or it has slept.
    pub(crate) fn network_changed(&mut self, now: Instant) {
        self.with_all(now, |node, cx| node.network_changed(cx));
    }

    /// This process ends.
    pub(crate) fn say_goodbye(&mut self, now: Instant) {
        self.with_all(now, |node, cx| node.say_goodbye(cx));
    }

    /// Deadlines.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        let due = |node: &Node| node.poll_timeout().is_some_and(|at| at <= now);
        let due: Vec<PeerId> = self.nodes.iter().filter(|(_, node)| due(node)).map(|(id, _)| *id).collect();
        for id in due {
            self.with(now, id, |node, cx| node.handle_timeout(cx));
        }
        self.after(now);
    }

    /// Whether a peer is a node.
    pub(crate) fn is_node(&self, peer: &PeerId) -> bool {
        self.nodes.contains_key(peer)
    }

    /// The nodes.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = PeerId> {
        self.nodes.keys().copied()
    }

    /// The connection to a node that is online.
    pub(crate) fn connection(&self, node: &PeerId) -> Option<ConnectionId> {
        self.nodes.get(node).and_then(Node::connection)
    }

    /// Where somebody can be reached through nodes: those that show them, or else those where they may be.
    pub(crate) fn routes(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let ids: Vec<PeerId> = self.nodes.keys().copied().collect();
        let (showing, others): (Vec<&Node>, Vec<&Node>) = ranked(&peer.to_bytes(), &ids)
            .iter()
            .filter_map(|id| self.nodes.get(id))
            .filter(|node| node.circuit().is_some())
            .partition(|node| node.shows(peer));
        let chosen = if showing.is_empty() { others } else { showing };
        chosen.into_iter().filter_map(Node::circuit).take(MAX_ROUTES).collect()
    }

    /// Whether a node is being connected, or will be tried again: ways to people may open soon.
    pub(crate) fn awaits_a_node(&self) -> bool {
        self.nodes.values().any(Node::is_on_its_way)
    }

    /// Decides what each node is asked for.
    fn assign(&mut self, now: Instant) {
        let (learned, own): (Vec<PeerId>, Vec<PeerId>) =
            self.nodes.keys().partition(|id| self.learned.contains_key(id));
        self.ailing = self.ailing_now();
        let mut duties = plan(self.local, &self.circle, &own, &learned, |node| self.ailing.contains(node));
        for id in own.into_iter().chain(learned) {
            let duty = duties.remove(&id);
            self.with(now, id, |node, cx| node.set_duty(cx, duty));
        }
    }

    /// The nodes that ours know, as far as they may be used. Those of which more of ours know come first, and then the
    /// order is the same for everybody.
    fn learned(&self, own: &BTreeSet<PeerId>) -> BTreeMap<PeerId, Vec<Multiaddr>> {
        // Whoever hides their address does not show it to nodes that nobody has chosen.
        if !self.circle.learn_nodes || self.circle.relay_only {
            return BTreeMap::new();
        }
        let mut told: BTreeMap<PeerId, (usize, Vec<Multiaddr>)> = BTreeMap::new();
        for node in own.iter().filter_map(|id| self.nodes.get(id)) {
            for (id, addresses) in node.told().iter().filter(|(id, _)| **id != self.local && !own.contains(id)) {
                let (tellers, known) = told.entry(*id).or_default();
                *tellers += 1;
                for address in addresses {
                    if known.len() < MAX_ADDRESSES_TOLD && !known.contains(address) {
                        known.push(address.clone());
                    }
                }
            }
        }
        let mut told: Vec<(PeerId, (usize, Vec<Multiaddr>))> = told.into_iter().collect();
        told.sort_by_key(|(id, (tellers, _))| (std::cmp::Reverse(*tellers), *id));
        told.into_iter().take(MAX_NODES_TOLD).map(|(id, (_, addresses))| (id, addresses)).collect()
    }

    fn ailing_now(&self) -> Vec<PeerId> {
        self.nodes.iter().filter(|(_, node)| node.is_ailing()).map(|(id, _)| *id).collect()
    }

    fn after(&mut self, now: Instant) {
        if self.ailing != self.ailing_now() {
            self.assign(now);
        }
        self.publish_ice_servers();
    }

    fn publish_ice_servers(&mut self) {
        let ids: Vec<PeerId> = self.nodes.keys().copied().collect();
        let mut servers = Vec::new();
        let mut streamed = Vec::new();
        for id in ranked(&self.local.to_bytes(), &ids) {
            let (direct, stream) = self.nodes.get(&id).map(Node::ice_servers).unwrap_or_default();
            servers.extend(direct);
            streamed.extend(stream);
        }
        // Where UDP gets through, it is better.
        servers.extend(streamed);
        if servers != self.ice_servers {
            self.ice_servers.clone_from(&servers);
            self.effects.push_back(Effect::IceServers(servers));
        }
    }

    fn with(&mut self, now: Instant, id: PeerId, act: impl FnOnce(&mut Node, &mut Context<'_>)) {
        let Self { local, circle, card, nodes, random, effects, .. } = self;
        if let Some(node) = nodes.get_mut(&id) {
            act(node, &mut Context { now, local: *local, card, circle, random, effects });
        }
    }

    fn with_all(&mut self, now: Instant, mut act: impl FnMut(&mut Node, &mut Context<'_>)) {
        let ids: Vec<PeerId> = self.nodes.keys().copied().collect();
        for id in ids {
            self.with(now, id, &mut act);
        }
    }
}

#[cfg(test)]
mod tests;
