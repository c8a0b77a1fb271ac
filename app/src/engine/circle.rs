//! What lies beyond the LAN: nodes, rooms, and the relays that nodes offer.

use parlor_media::{Ice, IcePolicy, IceServer};
use parlor_net::{Circle, Multiaddr, NodeLink, NodeState, PeerId, Room, Via};
use tracing::info;

use super::{Done, Engine, NodeView, Notice, RoomView};
use crate::{link::node_of, room::RoomKey};

impl Engine {
    /// Addresses of nodes: those of this run, then those that were kept.
    pub(super) fn node_addresses(&self) -> Vec<Multiaddr> {
        let mut addresses = self.config.overrides.nodes.clone();
        for address in &self.settings.nodes {
            if !addresses.contains(address) {
                addresses.push(address.clone());
            }
        }
        addresses.truncate(Circle::MAX_NODES);
        addresses
    }

    fn room_keys(&self) -> Vec<RoomKey> {
        let mut keys = self.config.overrides.rooms.clone();
        keys.extend(self.settings.rooms.iter().filter(|key| !self.config.overrides.rooms.contains(key)).cloned());
        keys.truncate(Circle::MAX_ROOMS);
        keys
    }

    pub(super) fn relay_policy(&self) -> IcePolicy {
        self.config.overrides.relay.unwrap_or(self.settings.relay)
    }

    /// Who is found, and by whom, as far as the rooms' keys are known yet.
    pub(super) fn circle(&self) -> Circle {
        let contacts = self.contacts.contacts().map(|(peer, _)| peer);
        let mut watched: Vec<PeerId> = self.config.watch.iter().copied().chain(contacts).collect();
        watched.truncate(Circle::MAX_CONTACTS);
        Circle {
            nodes: self.node_addresses(),
            lobby: self.config.overrides.lobby.unwrap_or(self.settings.lobby),
            rooms: self.room_keys().iter().filter_map(|key| self.rooms.get(key).cloned()).collect(),
            contacts: watched,
            blocked: self.contacts.blocked().map(|(peer, _)| peer).collect(),
            learn_nodes: self.config.overrides.learn_nodes || self.settings.learn_nodes,
            relay_only: self.relay_policy() == IcePolicy::RelayOnly,
        }
    }

    /// Tells the network who is to be found, after any change of that.
    pub(super) fn renew_circle(&mut self) {
        for key in self.rooms.want(&self.room_keys()) {
            self.work.spawn_blocking(move || {
                let room = Room::derive(&key.name, key.secret.reveal());
                Done::RoomDerived(key, Box::new(room))
            });
        }
        let configured = self.node_addresses();
        self.nodes.retain(|node, _| configured.iter().any(|address| node_of(address) == Some(*node)));
        if let Some((net, _)) = &self.net {
            net.set_circle(self.circle());
        }
    }

    pub(super) fn on_node(&mut self, NodeState { node, link }: NodeState) {
        let configured = self.node_addresses().iter().any(|address| node_of(address) == Some(node));
        // Of those that our nodes know, of which there may be many, no one asks later.
        let before = if configured { self.nodes.insert(node, link.clone()) } else { None };
        if before.is_none_or(|before| is_news(&before, &link)) {
            info!(%node, ?link, "node");
            self.notify(Notice::Node { node, link });
        }
    }

    /// Calls from now on use these; a running one when it looks for new paths.
    pub(super) fn on_ice_servers(&mut self, servers: Vec<parlor_net::IceServer>) {
        self.ice_servers = servers
            .into_iter()
            .map(|parlor_net::IceServer { url, username, password }| IceServer { url, username, password })
            .collect();
        if let Some(call) = self.machine.state().call() {
            self.media.renew_ice(call.id, self.ice_with(call.peer));
        }
    }

    /// Which paths the media of a call with this person may take.
    pub(super) fn ice_with(&self, peer: PeerId) -> Ice {
        let policy = self.relay_policy();
        if policy == IcePolicy::RelayOnly && self.people.via(peer) == Some(Via::Lan) {
            // They see our address on the LAN anyway; servers would only tell them our public one.
            return Ice { servers: Vec::new(), policy: IcePolicy::All };
        }
        Ice { servers: self.ice_servers.clone(), policy }
    }

    pub(super) fn node_views(&self) -> Vec<NodeView> {
        let mut views: Vec<NodeView> = Vec::new();
        for address in self.node_addresses() {
            let Some(node) = node_of(&address) else { continue };
            let kept = self.settings.nodes.contains(&address);
            match views.iter_mut().find(|view| view.node == node) {
                Some(view) => {
                    view.addresses.push(address);
                    view.kept |= kept;
                }
                None => {
                    let link = self.nodes.get(&node).cloned().unwrap_or(NodeLink::Connecting);
                    views.push(NodeView { node, addresses: vec![address], link, kept });
                }
            }
        }
        views
    }

    pub(super) fn room_views(&self) -> Vec<RoomView> {
        let view = |key: RoomKey| RoomView { id: self.rooms.id(&key), key };
        self.room_keys().into_iter().map(view).collect()
    }
}

/// More than another round-trip time.
fn is_news(before: &NodeLink, after: &NodeLink) -> bool {
    match (before, after) {
        (NodeLink::Online { turn: before, .. }, NodeLink::Online { turn: after, .. }) => before != after,
        (NodeLink::Connecting, NodeLink::Connecting) | (NodeLink::Idle, NodeLink::Idle) => false,
        (NodeLink::Failed { reason: before }, NodeLink::Failed { reason: after }) => before != after,
        (
            NodeLink::Connecting | NodeLink::Online { .. } | NodeLink::Failed { .. } | NodeLink::Idle,
            NodeLink::Connecting | NodeLink::Online { .. } | NodeLink::Failed { .. } | NodeLink::Idle,
        ) => true,
    }
}
