//! Who is there, and what they send.

use parlor_net::{OfflineReason, PeerId, Profile, Status};
use tracing::{debug, error, info};

use super::{ADDRESSES_SETTLE, Engine, Notice, now};
use crate::call::Input;

impl Engine {
    /// Nobody is announced without a name.
    pub(super) fn profile(&self) -> Option<Profile> {
        let name = self.settings.name.clone()?;
        let status = if self.machine.is_free() && !self.config.always_busy { Status::Free } else { Status::InCall };
        Some(Profile { name, status })
    }

    pub(super) fn announce(&self) {
        if let (Some((net, _)), Some(profile)) = (&self.net, self.profile()) {
            net.set_profile(profile);
        }
    }

    pub(super) fn start_network(&mut self) {
        let Some(profile) = self.profile() else { return };
        let started = parlor_net::spawn(parlor_net::Config {
            keypair: self.config.keypair.clone(),
            profile,
            lan: self.config.lan,
            listen: self.config.listen.clone(),
            circle: self.circle(),
        });
        match started {
            Ok((net, events)) => {
                for address in &self.config.dial {
                    net.dial(address.clone());
                }
                self.net = Some((net, events));
                self.renew_circle();
            }
            Err(error) => {
                error!(%error, "the network did not start");
                self.notify(Notice::Network(error.to_string()));
            }
        }
    }

    pub(super) fn on_net_event(&mut self, event: parlor_net::Event) {
        use parlor_net::Event;
        match event {
            Event::Listening { address } => {
                if !self.people.is_ready() || self.ready_at.is_some() {
                    self.ready_at = Some(now() + ADDRESSES_SETTLE);
                }
                self.people.listening(address);
            }
            Event::PeerOnline(person) => self.on_peer_online(person),
            Event::PeerChanged(person) => {
                let peer = person.peer;
                self.people.put(person);
                self.people_changed = true;
                self.heard_name(peer);
            }
            Event::PeerOffline { peer, reason } => self.on_peer_offline(peer, reason),
            Event::Signal { peer, call, .. } if self.contacts.is_blocked(&peer) => {
                debug!(%peer, %call, "dropped a message of somebody who is blocked");
            }
            Event::Signal { peer, call, body } => self.machine.handle(now(), Input::Signal { peer, call, body }),
            Event::Node(state) => self.on_node(state),
            Event::LearnedNodes(nodes) => self.notify(Notice::LearnedNodes(nodes)),
            Event::IceServers(servers) => self.on_ice_servers(servers),
            Event::NetworkChanged => self.machine.handle(now(), Input::NetworkChanged),
            Event::SignalFailed { peer, call, error } => {
                info!(%peer, %call, error, "signalling failed");
                self.machine.handle(now(), Input::SignalFailed { peer, call });
            }
        }
    }

    /// The addresses are all there, or something else happens: whoever waits for it need not wait longer.
    pub(super) fn say_ready(&mut self) {
        if self.ready_at.take().is_some() {
            self.notify(Notice::Ready { listen: self.people.addresses() });
        }
    }

    pub(super) fn on_peer_online(&mut self, person: parlor_net::Person) {
        self.say_ready();
        let (peer, via) = (person.peer, person.via);
        self.people.put(person);
        self.people_changed = true;
        self.heard_name(peer);
        if self.contacts.is_blocked(&peer) {
            return;
        }
        self.notify(Notice::PeerOnline { peer, name: self.name_of(peer), via });
        self.machine.handle(now(), Input::PeerOnline { peer });
    }

    pub(super) fn on_peer_offline(&mut self, peer: PeerId, reason: OfflineReason) {
        let name = self.name_of(peer);
        self.people_changed = true;
        if self.people.remove(peer) && !self.contacts.is_blocked(&peer) {
            self.notify(Notice::PeerOffline { peer, name, reason });
        }
        self.machine.handle(now(), Input::PeerOffline { peer, reason });
    }

    pub(super) fn on_network_stopped(&mut self) {
        error!("the network stopped");
        self.net = None;
        self.people_changed = true;
        self.ready_at = None;
        self.nodes.clear();
        self.notify(Notice::Network("the network stopped; restart Parlor".to_owned()));
        for peer in self.people.clear() {
            self.machine.handle(now(), Input::PeerOffline { peer, reason: OfflineReason::Lost });
        }
    }
}
