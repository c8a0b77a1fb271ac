use std::collections::{BTreeMap, HashMap};

use parlor_net::{Multiaddr, PeerId, Person};

use super::PersonView;
use crate::{fingerprint::Fingerprint, name::display_name};

/// Who is online, as the network tells. The network bounds how many there are.
#[derive(Debug, Default)]
pub(super) struct People {
    online: BTreeMap<PeerId, Person>,
    listen: Vec<Multiaddr>,
}

impl People {
    /// Notes an address that we are reached at. The first one is news: the network is ready.
    pub(super) fn listening(&mut self, address: Multiaddr) -> Option<Vec<String>> {
        let first = self.listen.is_empty();
        self.listen.push(address);
        first.then(|| self.listen.iter().map(Multiaddr::to_string).collect())
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

    /// The name, or what stands in for it when they are not online.
    pub(super) fn name_of(&self, peer: PeerId) -> String {
        self.online.get(&peer).map_or_else(|| Fingerprint::of(&peer).to_string(), |person| person.profile.name.clone())
    }

    /// By name, then by key, so that rows never jump about. `mine` is our own name: a namesake of ours is marked too.
    pub(super) fn view(&self, mine: Option<&str>) -> Vec<PersonView> {
        let mut bearers: HashMap<&str, usize> = HashMap::new();
        for name in self.online.values().map(|person| person.profile.name.as_str()).chain(mine) {
            *bearers.entry(name).or_default() += 1;
        }
        let mut view: Vec<_> = self
            .online
            .values()
            .map(|person| PersonView {
                peer: person.peer,
                name: person.profile.name.clone(),
                has_namesake: bearers[person.profile.name.as_str()] > 1,
                status: person.profile.status,
                via: person.via,
            })
            .collect();
        view.sort_by_cached_key(|person| (person.name.to_lowercase(), person.peer));
        view
    }
}

#[cfg(test)]
mod tests {
    use parlor_net::{Profile, Status, Via};

    use super::*;

    fn person(name: &str) -> Person {
        let profile = Profile { name: name.to_owned(), status: Status::Free };
        Person { peer: PeerId::random(), profile, via: Via::Lan, found: Vec::new() }
    }

    #[test]
    fn people_are_sorted_by_name_and_namesakes_are_marked() {
        let mut people = People::default();
        for name in ["Li Wei", "ada", "Li Wei", "Bo"] {
            people.put(person(name));
        }
        let view = people.view(Some("Bo"));
        let names: Vec<_> = view.iter().map(|person| (person.name.as_str(), person.has_namesake)).collect();
        assert_eq!(names, [("ada", false), ("Bo", true), ("Li Wei", true), ("Li Wei", true)]);
        assert!(view[2].peer < view[3].peer);
    }

    #[test]
    fn a_name_with_control_characters_is_shown_without_them() {
        let mut people = People::default();
        people.put(person("A\u{202e}\nda"));
        assert_eq!(people.view(None)[0].name, "Ada");
    }
}
