//! Access to TURN: short-lived, made for one person, checked without remembering anything.
//!
//! As coturn and others do it ("A REST API for access to TURN services"): the username says whom and until when, the
//! password proves that the node said so.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use libp2p::PeerId;
use md5::{Digest, Md5};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};

/// The realm of every node (RFC 8489, section 9.2).
pub(super) const REALM: &str = "parlor";

/// Longer usernames are none of ours.
const MAX_USERNAME_BYTES: usize = 128;

/// Gives and checks access. Its secret dies with the node: so do the allocations.
pub(super) struct Credentials {
    secret: hmac::Key,
}

/// Access that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) username: String,
    pub(super) password: String,
}

/// A username that the node has given, if the message that carries it proves so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    pub(super) username: &'a str,
    /// Unix time in seconds.
    pub(super) expires_s: u64,
    /// Who.
    pub(super) person: &'a str,
    /// The key of messages with this username (RFC 8489, section 9.2.2).
    pub(super) key: [u8; 16],
}

impl Credentials {
    pub(super) fn new() -> Option<Self> {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).ok()?;
        Some(Self { secret: hmac::Key::new(hmac::HMAC_SHA256, &secret) })
    }

    /// Gives access from `unix_s` on, for so many seconds. Running allocations may be kept for longer.
    pub(super) fn give(&self, unix_s: u64, ttl_s: u32, peer: PeerId) -> Access {
        let username = format!("{}:{peer}", unix_s + u64::from(ttl_s));
        let password = self.password(&username);
        Access { username, password }
    }

    /// What is to be held against a message with this username.
    pub(super) fn claim<'a>(&self, username: &'a str) -> Option<Claim<'a>> {
        if username.len() > MAX_USERNAME_BYTES {
            return None;
        }
        let (expires, person) = username.split_once(':')?;
        let key = key(username, &self.password(username));
        Some(Claim { username, expires_s: expires.parse().ok()?, person, key })
    }

    fn password(&self, username: &str) -> String {
        STANDARD.encode(hmac::sign(&self.secret, username.as_bytes()))
    }

    /// A nonce for whoever is at `from`. It says when it was made, and that we made it, so it need not be remembered.
    pub(super) fn nonce(&self, unix_s: u64, from: &str) -> String {
        let tag = hmac::sign(&self.secret, format!("nonce {unix_s} {from}").as_bytes());
        format!("{unix_s:x}-{}", STANDARD.encode(&tag.as_ref()[..12]))
    }

    /// Whether a nonce is ours, and at most `age_s` old.
    pub(super) fn is_fresh(&self, unix_s: u64, from: &str, nonce: &str, age_s: u64) -> bool {
        let made = nonce.split_once('-').and_then(|(made, _)| u64::from_str_radix(made, 16).ok());
        made.is_some_and(|made| unix_s.saturating_sub(made) <= age_s && nonce == self.nonce(made, from))
    }
}

fn key(username: &str, password: &str) -> [u8; 16] {
    Md5::digest(format!("{username}:{REALM}:{password}")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_is_for_one_person_and_names_its_end() {
        let credentials = Credentials::new().unwrap();
        let peer = PeerId::random();
        let access = credentials.give(1000, 3600, peer);
        let claim = credentials.claim(&access.username).unwrap();
        assert_eq!((claim.expires_s, claim.person), (4600, peer.to_string().as_str()));
        assert_eq!(claim.key, key(&access.username, &access.password));
        let longer = access.username.replace("4600", "9999");
        assert_ne!(credentials.claim(&longer).unwrap().key, key(&longer, &access.password));
        assert_ne!(Credentials::new().unwrap().claim(&access.username).unwrap().key, claim.key, "of another node");
        assert_eq!(credentials.claim("no colon"), None);
    }

    #[test]
    fn a_nonce_holds_for_a_while_and_for_one_address() {
        let credentials = Credentials::new().unwrap();
        let nonce = credentials.nonce(1000, "a");
        assert!(credentials.is_fresh(1100, "a", &nonce, 100));
        assert!(!credentials.is_fresh(1101, "a", &nonce, 100));
        assert!(!credentials.is_fresh(1100, "b", &nonce, 100));
        assert!(!credentials.is_fresh(1100, "a", "3e8-forged", 100));
        assert!(!credentials.is_fresh(1100, "a", "", 100));
    }
}
