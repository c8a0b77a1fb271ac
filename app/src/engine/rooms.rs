use std::collections::{HashMap, HashSet};

use parlor_net::{Room, RoomId};

use crate::room::RoomKey;

/// The rooms' keys, each derived once: that takes a quarter of a second of work, which others do.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    derived: HashMap<RoomKey, Room>,
    deriving: HashSet<RoomKey>,
}

impl Rooms {
    /// Forgets all but the wanted ones, and tells which are to be derived now.
    pub(super) fn want(&mut self, wanted: &[RoomKey]) -> Vec<RoomKey> {
        self.derived.retain(|key, _| wanted.contains(key));
        let missing = wanted.iter().filter(|key| !self.derived.contains_key(key) && !self.deriving.contains(key));
        let missing: Vec<_> = missing.cloned().collect();
        self.deriving.extend(missing.iter().cloned());
        missing
    }

    pub(super) fn derived(&mut self, key: RoomKey, room: Room) {
        self.deriving.remove(&key);
        self.derived.insert(key, room);
    }

    pub(super) fn get(&self, key: &RoomKey) -> Option<&Room> {
        self.derived.get(key)
    }

    pub(super) fn id(&self, key: &RoomKey) -> Option<RoomId> {
        self.get(key).map(Room::id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_room_is_derived_once_and_forgotten_when_left() {
        let (chess, go) = (RoomKey::new("Chess", "e4").unwrap(), RoomKey::new("Go", "d4").unwrap());
        let mut rooms = Rooms::default();
        assert_eq!(rooms.want(&[chess.clone(), go.clone()]), [chess.clone(), go.clone()]);
        assert_eq!(rooms.want(&[chess.clone(), go.clone()]), [], "they are on their way");
        rooms.derived(chess.clone(), Room::derive("Chess", "e4"));
        assert!(rooms.id(&chess).is_some() && rooms.id(&go).is_none());
        assert_eq!(rooms.want(&[go]), []);
        assert_eq!(rooms.want(std::slice::from_ref(&chess)), [chess], "it was left in between");
    }
}
