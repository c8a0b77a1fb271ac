//! The people whom a person knows, kept on this machine and nowhere else.

use std::{collections::BTreeMap, path::Path};

use parlor_net::{Circle, Multiaddr, PeerId};
use serde::{Deserialize, Serialize};

use crate::{
    kept_file::{self, Damage, SaveError},
    link::{MAX_ADDRESSES, PersonLink},
    name::{display_name, validate_name},
};

/// Everybody whom the person decided something about. Strangers about whom nothing was decided are not in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "File", into = "File")]
pub struct Contacts {
    people: BTreeMap<PeerId, Contact>,
}

/// What the person decided about somebody, and what is known of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contact {
    /// The person's own name for them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What they called themselves last.
    pub last_name: String,
    /// Whether they belong to the contacts.
    pub standing: Standing,
    /// They can't call, and are not listed.
    pub blocked: bool,
    /// Nodes where they are found, as their link said.
    pub nodes: Vec<Multiaddr>,
}

/// What somebody is to the person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// A contact who comes first.
    Favourite,
    /// A contact.
    Contact,
    /// Not a contact.
    #[default]
    Stranger,
}

/// What the person decides about somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContactChange {
    /// They become a contact, a favourite, or neither.
    Standing(Standing),
    /// The person's own name for them; `None` for the one that they chose. They become a contact by that.
    Name(Option<String>),
    /// They can't call any more and are not listed; or they can again.
    Blocked(bool),
}

/// Why a change can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContactError {
    /// There is no more space.
    #[error("there are too many contacts: remove some first")]
    Full,
}

impl Contact {
    /// What they are called here.
    pub fn shown_name(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.last_name)
    }

    /// A name that the person knows them by.
    fn is_called(&self, name: &str) -> bool {
        let folded = name.to_lowercase();
        self.last_name.to_lowercase() == folded || self.name.as_ref().is_some_and(|own| own.to_lowercase() == folded)
    }

    fn is_worth_keeping(&self) -> bool {
        self.blocked || self.standing != Standing::Stranger
    }
}

impl Contacts {
    /// Reads the contacts. Without a file there are none; with a damaged one neither, and the second value says what
    /// became of it.
    pub fn load(path: &Path) -> (Self, Option<Damage>) {
        kept_file::load(path)
    }

    /// Writes the contacts, whole or not at all.
    pub fn save(&self, path: &Path) -> Result<(), SaveError> {
        kept_file::save(self, path)
    }

    /// What was decided about somebody.
    pub fn get(&self, peer: &PeerId) -> Option<&Contact> {
        self.people.get(peer)
    }

    /// What somebody is to the person.
    pub fn standing(&self, peer: &PeerId) -> Standing {
        self.people.get(peer).map_or(Standing::Stranger, |contact| contact.standing)
    }

    /// They can't call, and are not listed.
    pub fn is_blocked(&self, peer: &PeerId) -> bool {
        self.people.get(peer).is_some_and(|contact| contact.blocked)
    }

    /// Contacts who are not blocked.
    pub fn contacts(&self) -> impl Iterator<Item = (PeerId, &Contact)> {
        self.people
            .iter()
            .filter(|(_, contact)| contact.standing != Standing::Stranger && !contact.blocked)
            .map(|(peer, contact)| (*peer, contact))
    }

    /// People who are blocked.
    pub fn blocked(&self) -> impl Iterator<Item = (PeerId, &Contact)> {
        self.people.iter().filter(|(_, contact)| contact.blocked).map(|(peer, contact)| (*peer, contact))
    }

    /// The contact whose name this is, if it is not their key that bears it here.
    pub fn borrowed_name(&self, peer: &PeerId, name: &str) -> Option<PeerId> {
        if self.standing(peer) != Standing::Stranger {
            return None;
        }
        self.contacts().find(|(_, contact)| contact.is_called(name)).map(|(owner, _)| owner)
    }

    /// Makes a change. `name` is what they call themselves now.
    pub fn change(&mut self, peer: PeerId, name: &str, change: ContactChange) -> Result<(), ContactError> {
        let mut contact = self.people.get(&peer).cloned().unwrap_or_default();
        if !name.is_empty() {
            contact.last_name = display_name(name);
        }
        match change {
            ContactChange::Standing(standing) => contact.standing = standing,
            ContactChange::Name(own) => {
                contact.name = own.and_then(|own| validate_name(&own).ok()).filter(|own| *own != contact.last_name);
                contact.standing = contact.standing.min(Standing::Contact);
            }
            ContactChange::Blocked(blocked) => contact.blocked = blocked,
        }
        self.put(peer, contact)
    }

    /// Adds whom a link names, as far as they agreed to; what was known of them stays.
    pub fn add_link(&mut self, link: &PersonLink) -> Result<(), ContactError> {
        let mut contact = self.people.get(&link.peer).cloned().unwrap_or_default();
        if let (Some(name), true) = (&link.name, contact.last_name.is_empty()) {
            contact.last_name.clone_from(name);
        }
        contact.standing = contact.standing.min(Standing::Contact);
        contact.blocked = false;
        for node in &link.nodes {
            if contact.nodes.len() < MAX_ADDRESSES && !contact.nodes.contains(node) {
                contact.nodes.push(node.clone());
            }
        }
        self.put(link.peer, contact)
    }

    /// Notes what somebody calls themselves now. True when that is news.
    pub fn heard_name(&mut self, peer: &PeerId, name: &str) -> bool {
        match self.people.get_mut(peer) {
            Some(contact) if contact.last_name != name => {
                contact.last_name = name.to_owned();
                true
            }
            Some(_) | None => false,
        }
    }

    fn put(&mut self, peer: PeerId, contact: Contact) -> Result<(), ContactError> {
        if !contact.is_worth_keeping() {
            self.people.remove(&peer);
            return Ok(());
        }
        let others = || self.people.iter().filter(|(other, _)| **other != peer).map(|(_, contact)| contact);
        let contacts = others().filter(|contact| contact.standing != Standing::Stranger).count();
        let blocked = others().filter(|contact| contact.blocked).count();
        let full = (contact.standing != Standing::Stranger && contacts >= Circle::MAX_CONTACTS)
            || (contact.blocked && blocked >= Circle::MAX_BLOCKED);
        if full {
            return Err(ContactError::Full);
        }
        self.people.insert(peer, contact);
        Ok(())
    }
}

/// The file: a list, so that it is read and mended easily.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct File {
    person: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    peer: PeerId,
    #[serde(flatten)]
    contact: Contact,
}

impl From<File> for Contacts {
    fn from(file: File) -> Self {
        let mut contacts = Self::default();
        for Entry { peer, mut contact } in file.person {
            // Whoever edits the file may write anything into it.
            contact.last_name = display_name(&contact.last_name);
            contact.name = contact.name.and_then(|name| validate_name(&name).ok());
            contact.nodes.truncate(MAX_ADDRESSES);
            if contacts.put(peer, contact).is_err() {
                tracing::warn!("there are more contacts than Parlor can hold; the last ones are left out");
                break;
            }
        }
        contacts
    }
}

impl From<Contacts> for File {
    fn from(contacts: Contacts) -> Self {
        Self { person: contacts.people.into_iter().map(|(peer, contact)| Entry { peer, contact }).collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn ada_and_friends() -> (Contacts, PeerId) {
        let ada = PeerId::random();
        let mut contacts = Contacts::default();
        contacts.change(ada, "Ada", ContactChange::Standing(Standing::Favourite)).unwrap();
        contacts.change(ada, "Ada", ContactChange::Name(Some("阿达 \"A\"".to_owned()))).unwrap();
        contacts.change(PeerId::random(), "Bo", ContactChange::Standing(Standing::Contact)).unwrap();
        contacts.change(PeerId::random(), "Spammer", ContactChange::Blocked(true)).unwrap();
        let link = PersonLink {
            peer: ada,
            name: Some("Eve".to_owned()),
            nodes: vec![format!("/ip4/192.0.2.7/tcp/1/p2p/{}", PeerId::random()).parse().unwrap()],
            addresses: Vec::new(),
        };
        contacts.add_link(&link).unwrap();
        (contacts, ada)
    }

    #[test]
    fn contacts_survive_being_saved_and_loaded_and_only_the_owner_reads_them() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("contacts.toml");
        let (contacts, ada) = ada_and_friends();
        contacts.save(&file).unwrap();
        assert_eq!(Contacts::load(&file), (contacts.clone(), None));
        let kept = contacts.get(&ada).unwrap();
        assert_eq!((kept.shown_name(), kept.last_name.as_str()), ("阿达 \"A\"", "Ada"));
        assert_eq!((kept.standing, kept.nodes.len()), (Standing::Favourite, 1));
        assert_eq!((contacts.contacts().count(), contacts.blocked().count()), (2, 1));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_damaged_file_is_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("contacts.toml");
        for (number, content) in ["[[person]]\npeer = \"Ada\"", "[[person", "person = 7"].into_iter().enumerate() {
            fs::write(&file, content).unwrap();
            let (contacts, damage) = Contacts::load(&file);
            assert_eq!(contacts, Contacts::default());
            assert!(damage.unwrap().to_string().contains("contacts"));
            let kept = directory.path().join(format!("contacts.damaged-{}.toml", number + 1));
            assert_eq!(fs::read_to_string(kept).unwrap(), content);
        }
    }

    #[test]
    fn what_was_written_by_hand_is_made_fit_for_display() {
        let peer = PeerId::random();
        let text = format!("[[person]]\npeer = \"{peer}\"\nlast_name = \"A\\u202eda\"\nname = \"\"\nblocked = true\n");
        let contacts: Contacts = toml::from_str(&text).unwrap();
        let contact = contacts.get(&peer).unwrap();
        assert_eq!((contact.shown_name(), &contact.name), ("Ada", &None));
    }

    #[test]
    fn somebody_about_whom_nothing_is_decided_any_more_is_forgotten() {
        let mut contacts = Contacts::default();
        let peer = PeerId::random();
        for change in [
            ContactChange::Blocked(true),
            ContactChange::Blocked(false),
            ContactChange::Name(Some("Bo".to_owned())),
            ContactChange::Standing(Standing::Stranger),
        ] {
            contacts.change(peer, "Ada", change).unwrap();
        }
        assert_eq!(contacts, Contacts::default());
    }

    #[test]
    fn a_blocked_contact_is_a_contact_again_when_unblocked() {
        let (mut contacts, ada) = ada_and_friends();
        contacts.change(ada, "", ContactChange::Blocked(true)).unwrap();
        assert!(contacts.is_blocked(&ada) && contacts.contacts().all(|(peer, _)| peer != ada));
        contacts.change(ada, "", ContactChange::Blocked(false)).unwrap();
        assert_eq!((contacts.standing(&ada), contacts.is_blocked(&ada)), (Standing::Favourite, false));
    }

    #[test]
    fn a_stranger_with_the_name_of_a_contact_is_noticed() {
        let (contacts, ada) = ada_and_friends();
        let stranger = PeerId::random();
        assert_eq!(contacts.borrowed_name(&stranger, "ADA"), Some(ada));
        assert_eq!(contacts.borrowed_name(&stranger, "阿达 \"A\""), Some(ada));
        assert_eq!(contacts.borrowed_name(&stranger, "Cleo"), None);
        assert_eq!(contacts.borrowed_name(&ada, "Ada"), None);
        assert_eq!(contacts.borrowed_name(&stranger, "Spammer"), None, "nobody is warned for a blocked name");
    }

    #[test]
    fn there_is_an_end_to_the_contacts() {
        let mut contacts = Contacts::default();
        let add = || ContactChange::Standing(Standing::Contact);
        for _ in 0..Circle::MAX_CONTACTS {
            contacts.change(PeerId::random(), "x", add()).unwrap();
        }
        assert_eq!(contacts.change(PeerId::random(), "x", add()), Err(ContactError::Full));
        let known = contacts.contacts().next().unwrap().0;
        contacts.change(known, "y", ContactChange::Standing(Standing::Favourite)).unwrap();
    }
}
