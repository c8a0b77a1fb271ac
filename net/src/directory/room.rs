use std::{fmt, num::NonZeroU32};

use libp2p::PeerId;
use ring::{aead, hkdf, hmac, pbkdf2};

/// Makes guessing a secret from what a node knows slow: as many rounds as OWASP advises for PBKDF2 with SHA-256.
const ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).expect("not zero");

/// The length of the number that is used once for each sealing.
const NONCE_BYTES: usize = aead::NONCE_LEN;

/// A room: people who know a name and a secret, and so find each other on a node that knows neither.
///
/// From both, one key is stretched (PBKDF2-HMAC-SHA256, RFC 8018); from it come the tag that a node lists the room
/// under, different on every node, and the key that members' cards are sealed with (ChaCha20-Poly1305, RFC 8439).
#[derive(Clone)]
pub struct Room {
    id: RoomId,
    tags: hmac::Key,
    seal: aead::LessSafeKey,
}

/// Names a room on this machine, in memory and in logs: it reveals neither name nor secret.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomId([u8; 16]);

impl Room {
    /// Derives the keys: about a quarter of a second of work, so not in a task that must not block. Blanks around name
    /// and secret do not count, nor does the case of the name.
    pub fn derive(name: &str, secret: &str) -> Self {
        let salt = format!("parlor room 1: {}", name.trim().to_lowercase());
        let mut root = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ROUNDS, salt.as_bytes(), secret.trim().as_bytes(), &mut root);
        let root = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &root);
        let seal = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &expand::<32>(&root, b"seal"));
        Self {
            id: RoomId(expand(&root, b"id")),
            tags: hmac::Key::new(hmac::HMAC_SHA256, &expand::<32>(&root, b"tag")),
            seal: aead::LessSafeKey::new(seal.expect("the key has the algorithm's length")),
        }
    }

    /// Names it on this machine.
    pub fn id(&self) -> RoomId {
        self.id
    }

    /// What `node` lists the room under.
    pub(crate) fn tag(&self, node: PeerId) -> Vec<u8> {
        hmac::sign(&self.tags, &node.to_bytes()).as_ref().to_vec()
    }

    /// Seals a card for the members, in a form that fits `author` only.
    pub(crate) fn seal(&self, author: PeerId, card: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let mut sealed = card.to_vec();
        let author = aead::Aad::from(author.to_bytes());
        self.seal
            .seal_in_place_append_tag(aead::Nonce::assume_unique_for_key(nonce), author, &mut sealed)
            .expect("a card is not gigabytes long");
        sealed.splice(0..0, nonce);
        sealed
    }

    /// What `author` sealed for the members; `None` for what nobody with the secret sealed, or not for this author.
    pub(crate) fn unseal(&self, author: PeerId, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let mut card = sealed.to_vec();
        let author = aead::Aad::from(author.to_bytes());
        let opened = self.seal.open_in_place(aead::Nonce::assume_unique_for_key(*nonce), author, &mut card).ok()?.len();
        card.truncate(opened);
        Some(card)
    }
}

fn expand<const N: usize>(root: &hkdf::Prk, purpose: &[u8]) -> [u8; N] {
    struct Length(usize);
    impl hkdf::KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut key = [0; N];
    let purposes = [purpose];
    let okm = root.expand(&purposes, Length(N)).expect("32 bytes are not too many for HKDF");
    okm.fill(&mut key).expect("the lengths are the same");
    key
}

impl RoomId {
    /// The same for all members.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl PartialEq for Room {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Room {}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Room").field(&self.id).finish()
    }
}

impl fmt::Display for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RoomId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_knows_name_and_secret_reads_what_the_others_sealed_and_nobody_else_does() {
        let (room, same) = (Room::derive("Chess", "e4 e5"), Room::derive(" chess ", "e4 e5"));
        let other = Room::derive("Chess", "e4 e6");
        let (ada, bo, node) = (PeerId::random(), PeerId::random(), PeerId::random());
        let sealed = room.seal(ada, b"card");
        assert_eq!(same.unseal(ada, &sealed).as_deref(), Some(&b"card"[..]));
        assert_eq!(other.unseal(ada, &sealed), None);
        assert_eq!(same.unseal(bo, &sealed), None, "nobody can pass it off as theirs");
        assert_eq!(same.unseal(ada, &sealed[..5]), None);
        assert_ne!(sealed, room.seal(ada, b"card"));
        assert_eq!((room.id(), room.tag(node)), (same.id(), same.tag(node)));
        assert_ne!(room.tag(node), other.tag(node));
        assert_ne!(room.tag(node), room.tag(bo), "two nodes can't tell that they list one room");
    }
}
