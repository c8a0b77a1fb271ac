use std::collections::{BTreeMap, HashMap};

use parlor_net::{Found, Multiaddr, PeerId, Person, Via};

use super::{PersonView, Presence};
use crate::{
    contacts::{Contacts, Standing},
    name::display_name,
};

/// Who is online, as the network tells. The network bounds how many there are.
#[derive(Debug, Default)]
pub(super) struct People {
    online: BTreeMap<PeerId, Person>,
    listen: Vec<Multiaddr>,
}

impl People {
    /// Notes an address that we are reached at.
    pub(super) fn listening(&mut self, address: Multiaddr) {
        if !self.listen.contains(&address) {
            self.listen.push(address);
        }
    }

    /// Where we are reached.
    pub(super) fn addresses(&self) -> Vec<String> {
        self.listen.iter().map(Multiaddr::to_string).collect()
    }

    pub(super) fn is_ready(&self) -> bool {
        !self.listen.is_empty()
    }

    pub(super) fn put(&mut self, mut person: Person) {
        person.profile.name = display_name(&person.profile.name);
        self.online.insert(person.peer, person);
    }

    pub(super) fn remove(&mut self, peer: PeerId) -> bool {
        self.online.remove(&peer).is_some()
    }

    pub(super) fn clear(&mut self) -> Vec<PeerId> {
        self.listen.clear();
        std::mem::take(&mut self.online).into_keys().collect()
    }

    /// The name that they say, if they are online.
    pub(super) fn said_name(&self, peer: PeerId) -> Option<&str> {
        self.online.get(&peer).map(|person| person.profile.name.as_str())
    }

    /// How they are reached, if they are online.
    pub(super) fn via(&self, peer: PeerId) -> Option<Via> {
        self.online.get(&peer).map(|person| person.via)
    }

    /// Everybody but the blocked, and contacts who are offline: by name, then by key, so that rows never jump about.
    /// `mine` is our own name: a namesake of ours is marked too.
    pub(super) fn view(&self, mine: Option<&str>, contacts: &Contacts) -> Vec<PersonView> {
        let online = self.online.values().filter(|person| !contacts.is_blocked(&person.peer));
        let mut view: Vec<_> = online.map(|person| online_view(person, contacts)).collect();
        for (peer, contact) in contacts.contacts().filter(|(peer, _)| !self.online.contains_key(peer)) {
            view.push(PersonView {
                peer,
                name: contact.shown_name().to_owned(),
                says: None,
                has_namesake: false,
                borrows_name: false,
                presence: Presence::Offline,
                standing: contact.standing,
                rooms: Vec::new(),
                nodes: contact.nodes.clone(),
            });
        }
        mark_namesakes(&mut view, mine);
        mark_borrowed_names(&mut view, contacts);
        view.sort_by_cached_key(|person| (person.name.to_lowercase(), person.peer));
        view
    }
}

fn online_view(person: &Person, contacts: &Contacts) -> PersonView {
    let said = &person.profile.name;
    let own = contacts.get(&person.peer).and_then(|contact| contact.name.clone());
    let room = |found: &Found| match found {
        Found::Room(room) => Some(*room),
        Found::Lobby | Found::Contact => None,
    };
    PersonView {
        peer: person.peer,
        says: own.is_some().then(|| said.clone()),
        name: own.unwrap_or_else(|| said.clone()),
        has_namesake: false,
        borrows_name: false,
        presence: Presence::Online { status: person.profile.status, via: person.via },
        standing: contacts.standing(&person.peer),
        rooms: person.found.iter().filter_map(room).collect(),
        nodes: contacts.get(&person.peer).map(|contact| contact.nodes.clone()).unwrap_or_default(),
    }
}

fn mark_namesakes(view: &mut [PersonView], mine: Option<&str>) {
    let mut bearers: HashMap<String, usize> = HashMap::new();
    for name in view.iter().map(|person| person.name.as_str()).chain(mine) {
        *bearers.entry(name.to_owned()).or_default() += 1;
    }
    for person in view {
        person.has_namesake = bearers.get(&person.name).is_some_and(|bearers| *bearers > 1);
    }
}

/// As [`Contacts::borrowed_name`], for many people at once.
fn mark_borrowed_names(view: &mut [PersonView], contacts: &Contacts) {
    let mut known: HashMap<String, PeerId> = HashMap::new();
    for (peer, contact) in contacts.contacts() {
        for name in [Some(&contact.last_name), contact.name.as_ref()].into_iter().flatten() {
            known.insert(name.to_lowercase(), peer);
        }
    }
    for person in view.iter_mut().filter(|person| person.standing == Standing::Stranger) {
        person.borrows_name = known.contains_key(&person.name.to_lowercase());
    }
}

#[cfg(test)]
mod tests {
    use parlor_net::{Profile, Room, Status};

    use super::*;
    use crate::contacts::ContactChange;

    fn person(name: &str) -> Person {
        let profile = Profile { name: name.to_owned(), status: Status::Free };
        Person { peer: PeerId::random(), profile, via: Via::Lan, found: Vec::new() }
    }

    fn none() -> Contacts {
        Contacts::default()
    }

    #[test]
    fn people_are_sorted_by_name_and_namesakes_are_marked() {
        let mut people = People::default();
        for name in ["Li Wei", "ada", "Li Wei", "Bo"] {
            people.put(person(name));
        }
        let view = people.view(Some("Bo"), &none());
        let names: Vec<_> = view.iter().map(|person| (person.name.as_str(), person.has_namesake)).collect();
        assert_eq!(names, [("ada", false), ("Bo", true), ("Li Wei", true), ("Li Wei", true)]);
        assert!(view[2].peer < view[3].peer);
    }

    #[test]
    fn a_name_with_control_characters_is_shown_without_them() {
        let mut people = People::default();
        people.put(person("A\u{202e}\nda"));
        assert_eq!(people.view(None, &none())[0].name, "Ada");
    }

    #[test]
    fn contacts_are_listed_when_offline_and_under_the_name_that_the_person_gave_them() {
        let (ada, bo) = (person("Ada"), PeerId::random());
        let mut contacts = none();
        contacts.change(ada.peer, "Ada", ContactChange::Name(Some("Sis".to_owned()))).unwrap();
        contacts.change(bo, "Bo", ContactChange::Standing(Standing::Favourite)).unwrap();
        let mut people = People::default();
        people.put(ada);
        let view = people.view(None, &contacts);
        assert_eq!((view[0].name.as_str(), view[0].presence), ("Bo", Presence::Offline));
        assert_eq!((view[1].name.as_str(), view[1].says.as_deref()), ("Sis", Some("Ada")));
        assert!(matches!(view[1].presence, Presence::Online { .. }));
    }

    #[test]
    fn who_is_blocked_is_not_listed_online_or_offline() {
        let spammer = person("Spam");
        let mut contacts = none();
        contacts.change(spammer.peer, "Spam", ContactChange::Standing(Standing::Contact)).unwrap();
        contacts.change(spammer.peer, "Spam", ContactChange::Blocked(true)).unwrap();
        let mut people = People::default();
        assert_eq!(people.view(None, &contacts), []);
        people.put(spammer);
        assert_eq!(people.view(None, &contacts), []);
    }

    #[test]
    fn a_new_key_under_a_contacts_name_is_marked_and_the_contact_is_not() {
        let (ada, thief) = (person("Ada"), person("aDA"));
        let mut contacts = none();
        contacts.change(ada.peer, "Ada", ContactChange::Standing(Standing::Contact)).unwrap();
        let mut people = People::default();
        let (ada_key, thief_key) = (ada.peer, thief.peer);
        people.put(ada);
        people.put(thief);
        for view in people.view(None, &contacts) {
            assert_eq!(view.borrows_name, view.peer == thief_key, "{view:?}");
            assert_eq!(contacts.borrowed_name(&view.peer, &view.name).is_some(), view.borrows_name);
        }
        assert_ne!(ada_key, thief_key);
    }

    #[test]
    fn rooms_where_somebody_was_found_are_told() {
        let room = Room::derive("Chess", "e4").id();
        let mut people = People::default();
        people.put(Person { via: Via::Node, found: vec![Found::Lobby, Found::Room(room)], ..person("Ada") });
        assert_eq!(people.view(None, &none())[0].rooms, [room]);
    }
}
