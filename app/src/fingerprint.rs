//! How people with the same name are told apart: a few digits and a colour, both derived from their key.
//!
//! Eight digits tell friends apart; they do not prove who somebody is (another key with the same digits can be found by
//! trying). The connection itself is authenticated by the whole key.

use std::fmt;

use parlor_net::PeerId;

/// What is shown of a key: the last bytes of a [`PeerId`]. For ed25519 those are bytes of the public key itself, which
/// are as good as random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    digits: u32,
    hue: u8,
}

/// Red, green, blue.
pub type Rgb = [u8; 3];

/// Colours that white letters can be read on, and that differ from each other at a glance.
const COLOURS: [Rgb; 12] = [
    [0xDB, 0x4C, 0x51],
    [0xC2, 0x3F, 0x8E],
    [0x93, 0x4F, 0xC4],
    [0x6A, 0x5A, 0xD0],
    [0x3F, 0x65, 0xD8],
    [0x1A, 0x7F, 0xC8],
    [0x0E, 0x8A, 0xA3],
    [0x0F, 0x8F, 0x7C],
    [0x3A, 0x8F, 0x4D],
    [0x84, 0x7B, 0x2A],
    [0xB8, 0x6A, 0x1F],
    [0x97, 0x69, 0x4F],
];

impl Fingerprint {
    /// The fingerprint of a key.
    pub fn of(peer: &PeerId) -> Self {
        let bytes = peer.to_bytes();
        let mut tail = [0; 5];
        for (to, from) in tail.iter_mut().rev().zip(bytes.iter().rev()) {
            *to = *from;
        }
        let [hue, digits @ ..] = tail;
        Self { digits: u32::from_be_bytes(digits), hue }
    }

    /// The person's colour.
    pub fn colour(self) -> Rgb {
        COLOURS[usize::from(self.hue) % COLOURS.len()]
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}-{:04X}", self.digits >> 16, self.digits & 0xFFFF)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn a_fingerprint_is_always_the_same_for_the_same_key() {
        let peer: PeerId = PEER.parse().unwrap();
        assert_eq!(Fingerprint::of(&peer), Fingerprint::of(&PEER.parse().unwrap()));
        assert_eq!(Fingerprint::of(&peer).to_string().len(), "0123-4567".len());
    }

    #[test]
    fn different_keys_have_different_fingerprints_and_use_every_colour() {
        let fingerprints: Vec<_> = (0..500).map(|_| Fingerprint::of(&PeerId::random())).collect();
        let digits: HashSet<_> = fingerprints.iter().map(ToString::to_string).collect();
        let colours: HashSet<_> = fingerprints.iter().map(|fingerprint| fingerprint.colour()).collect();
        assert_eq!(digits.len(), fingerprints.len());
        assert_eq!(colours.len(), COLOURS.len());
    }

    #[test]
    fn white_letters_can_be_read_on_every_colour() {
        for [r, g, b] in COLOURS {
            let linear = |channel: u8| (f32::from(channel) / 255.0).powf(2.2);
            let luminance = 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
            let contrast = 1.05 / (luminance + 0.05);
            assert!(contrast >= 3.0, "{r:02x}{g:02x}{b:02x}: {contrast}");
        }
    }
}
