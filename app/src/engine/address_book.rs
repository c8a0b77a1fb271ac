//! What the person decides about others, and what follows from it.

use parlor_media::IcePolicy;
use parlor_net::PeerId;
use tracing::{info, warn};

use super::{Engine, Notice, now};
use crate::{call::Input, contacts::ContactChange, fingerprint::Fingerprint, link::Link, settings::Settings};

impl Engine {
    pub(super) fn change_contact(&mut self, peer: PeerId, change: ContactChange) {
        if peer == self.me {
            return;
        }
        let name = self.people.said_name(peer).map(str::to_owned).unwrap_or_default();
        let blocks = change == ContactChange::Blocked(true);
        if let Err(error) = self.contacts.change(peer, &name, change) {
            warn!(%error, "a contact was not changed");
            return self.notify(Notice::ContactsFull);
        }
        if blocks && self.machine.state().call().is_some_and(|call| call.peer == peer) {
            self.machine.handle(now(), Input::HangUp);
        }
        self.contacts_changed();
    }

    /// The person saw whom it leads to, and agreed.
    pub(super) fn accept_link(&mut self, link: &Link) {
        match link {
            Link::Person(person) if person.peer == self.me => return,
            Link::Person(person) => {
                if let Err(error) = self.contacts.add_link(person) {
                    warn!(%error, "a contact was not added");
                    return self.notify(Notice::ContactsFull);
                }
                if let Some((net, _)) = &self.net
                    && self.relay_policy() != IcePolicy::RelayOnly
                {
                    person.dial_addresses().into_iter().for_each(|address| net.dial(address));
                }
            }
            Link::Node(_) | Link::Room(_) => {}
        }
        info!("a link was accepted");
        let mut settings: Settings = self.settings.clone();
        settings.add_nodes(link.nodes());
        if let Link::Room(room) = link {
            settings.add_room(room.room.clone());
        }
        self.set_settings(settings);
        self.contacts_changed();
    }

    /// Somebody's profile came: a contact may have a new name.
    pub(super) fn heard_name(&mut self, peer: PeerId) {
        let Some(name) = self.people.said_name(peer) else { return };
        if self.contacts.heard_name(&peer, name) {
            self.contacts_writer.save(&self.contacts, &mut self.work);
        }
    }

    fn contacts_changed(&mut self) {
        self.people_changed = true;
        self.contacts_writer.save(&self.contacts, &mut self.work);
        self.renew_circle();
    }

    /// What somebody is called here: by the person, by themselves, or by their key.
    pub(super) fn name_of(&self, peer: PeerId) -> String {
        let contact = self.contacts.get(&peer);
        let own = contact.and_then(|contact| contact.name.as_deref());
        let last = || contact.map(|contact| contact.last_name.as_str()).filter(|name| !name.is_empty());
        let name = own.or_else(|| self.people.said_name(peer)).or_else(last);
        name.map_or_else(|| Fingerprint::of(&peer).to_string(), str::to_owned)
    }

    /// The person's own name for somebody who says this name.
    pub(super) fn known_as(&self, peer: PeerId, said: String) -> String {
        self.contacts.get(&peer).and_then(|contact| contact.name.clone()).unwrap_or(said)
    }
}
