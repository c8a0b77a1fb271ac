//! Who is listed where. Pure.

use parlor_net::Via;

use crate::{
    contacts::Standing,
    engine::{PersonView, Presence, Snapshot},
};

/// A line of the list.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Item<'a> {
    /// A heading, and how many people stand below it.
    Heading(Section<'a>, usize),
    /// Somebody.
    Person {
        /// The number of the heading above.
        section: usize,
        /// That heading is a room's.
        in_room: bool,
        /// Who.
        person: &'a PersonView,
    },
}

/// Where somebody is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section<'a> {
    /// On the same network.
    Near,
    /// In a room that we are in.
    Room(&'a str),
    /// Found through a node, and in no room of ours.
    Online,
    /// Contacts who are not there.
    Offline,
}

/// The lines of the list: those near us, then by room, then everybody else; favourites first, and last those who are not
/// there. Who is near and in a room stands in both places. A room stands there even if nobody else is in it.
pub(super) fn items(snapshot: &Snapshot) -> Vec<Item<'_>> {
    let people = || snapshot.people.iter();
    let is_in = |person: &PersonView, room: &crate::engine::RoomView| {
        via(person).is_some() && room.id.is_some_and(|id| person.rooms.contains(&id))
    };
    let near = people().filter(|person| via(person) == Some(Via::Lan));
    let mut sections: Vec<(Section<'_>, Vec<&PersonView>)> = vec![(Section::Near, near.collect())];
    for room in &snapshot.rooms {
        sections.push((Section::Room(&room.key.name), people().filter(|person| is_in(person, room)).collect()));
    }
    let elsewhere =
        |person: &&PersonView| via(person) == Some(Via::Node) && !snapshot.rooms.iter().any(|room| is_in(person, room));
    sections.push((Section::Online, people().filter(elsewhere).collect()));
    sections.push((Section::Offline, people().filter(|person| via(person).is_none()).collect()));

    let mut items = Vec::with_capacity(snapshot.people.len() + sections.len());
    for (number, (section, mut members)) in sections.into_iter().enumerate() {
        let in_room = matches!(section, Section::Room(_));
        if members.is_empty() && !in_room {
            continue;
        }
        // The snapshot is sorted by name; this keeps that order among equals.
        members.sort_by_key(|person: &&PersonView| person.standing != Standing::Favourite);
        items.push(Item::Heading(section, members.len()));
        items.extend(members.into_iter().map(|person| Item::Person { section: number, in_room, person }));
    }
    items
}

fn via(person: &PersonView) -> Option<Via> {
    match person.presence {
        Presence::Online { via, .. } => Some(via),
        Presence::Offline => None,
    }
}

#[cfg(test)]
mod tests {
    use parlor_net::{Room, Status};

    use super::*;
    use crate::{
        engine::RoomView,
        room::RoomKey,
        settings::Language,
        ui::tests::{person, snapshot},
    };

    fn online(via: Via) -> Presence {
        Presence::Online { status: Status::Free, via }
    }

    #[test]
    fn people_stand_under_near_their_rooms_online_and_offline() {
        let room = Room::derive("Chess", "e4").id();
        let mut snapshot = snapshot(Language::English);
        snapshot.rooms = [("Chess", Some(room)), ("Go", None)]
            .map(|(name, id)| RoomView { key: RoomKey::new(name, "e4").unwrap(), id })
            .into();
        let with = |seed, name: &str, presence, rooms| PersonView { presence, rooms, ..person(seed, name) };
        snapshot.people = vec![
            with(1, "Ada", online(Via::Lan), vec![room]),
            with(2, "Bo", online(Via::Node), vec![]),
            with(3, "Cleo", online(Via::Node), vec![room]),
            with(4, "Dan", Presence::Offline, vec![]),
            PersonView { standing: Standing::Favourite, ..with(5, "Eve", online(Via::Node), vec![]) },
        ];
        let shown: Vec<String> = items(&snapshot)
            .iter()
            .map(|item| match item {
                Item::Heading(section, count) => format!("{section:?} {count}"),
                Item::Person { person, .. } => person.name.clone(),
            })
            .collect();
        assert_eq!(
            shown,
            [
                "Near 1",
                "Ada",
                "Room(\"Chess\") 2",
                "Ada",
                "Cleo",
                "Room(\"Go\") 0",
                "Online 2",
                "Eve",
                "Bo",
                "Offline 1",
                "Dan"
            ]
        );
    }
}
