//! The RTP payload format of VP8 ([RFC 7741](https://www.rfc-editor.org/rfc/rfc7741)), and what a frame says of itself.

use bytes::{BufMut as _, Bytes};

use super::payload::{MAX_PAYLOAD, even_parts};
use crate::payload_memory::PayloadMemory;

/// Before the VP8 payload of each packet (section 4.2).
const EXTENDED: u8 = 0x80;
const START_OF_PARTITION: u8 = 0x10;
const PARTITION: u8 = 0x07;
/// In the extension.
const PICTURE_ID: u8 = 0x80;
const TL0_PICTURE_INDEX: u8 = 0x40;
const TEMPORAL_LAYER: u8 = 0x20;
const KEY_INDEX: u8 = 0x10;
/// The picture ID has 15 bits.
const LONG_PICTURE_ID: u8 = 0x80;

/// Our descriptor: with a picture ID of 15 bits.
const DESCRIPTOR: usize = 4;

/// Cuts frames into payloads.
#[derive(Default)]
pub(crate) struct Packetizer {
    picture_id: u16,
    memory: PayloadMemory,
    payloads: Vec<Bytes>,
}

impl Packetizer {
    /// The payloads of one frame, in order, of at most so many bytes each.
    pub(crate) fn packetize(&mut self, frame: &[u8], largest: usize) -> std::vec::Drain<'_, Bytes> {
        let largest = largest.clamp(100, MAX_PAYLOAD) - DESCRIPTOR;
        self.payloads.clear();
        self.picture_id = (self.picture_id + 1) & 0x7FFF;
        for (index, part) in even_parts(frame, largest).enumerate() {
            let payload = self.memory.room(DESCRIPTOR + part.len());
            payload.put_u8(EXTENDED | if index == 0 { START_OF_PARTITION } else { 0 });
            payload.put_u8(PICTURE_ID);
            payload.put_u16(u16::from(LONG_PICTURE_ID) << 8 | self.picture_id);
            payload.put_slice(part);
            self.payloads.push(payload.split().freeze());
        }
        self.payloads.drain(..)
    }
}

/// Puts the payloads of a frame together again.
#[derive(Default)]
pub(crate) struct Depacketizer {
    frame: Vec<u8>,
}

impl Depacketizer {
    /// The frame that these payloads, all of them and in order, carry. `None`: they don't make one.
    pub(crate) fn depacketize<'a>(&mut self, payloads: impl Iterator<Item = &'a [u8]>) -> Option<&[u8]> {
        self.frame.clear();
        for payload in payloads {
            let (begins, part) = split(payload)?;
            if begins != self.frame.is_empty() {
                return None;
            }
            self.frame.extend_from_slice(part);
        }
        (!self.frame.is_empty()).then_some(&self.frame)
    }
}

/// A decoder can begin with the frame that this payload begins.
pub(crate) fn starts_key_frame(payload: &[u8]) -> bool {
    split(payload).is_some_and(|(begins, part)| begins && is_key_frame(part))
}

/// Whether a payload begins a frame, and its part of it, which is not empty.
fn split(payload: &[u8]) -> Option<(bool, &[u8])> {
    let (&first, mut rest) = payload.split_first()?;
    if first & EXTENDED != 0 {
        let (&extension, behind) = rest.split_first()?;
        rest = behind;
        if extension & PICTURE_ID != 0 {
            let is_long = rest.first()? & LONG_PICTURE_ID != 0;
            rest = rest.get(1 + usize::from(is_long)..)?;
        }
        let has_layer_or_key = extension & (TEMPORAL_LAYER | KEY_INDEX) != 0;
        let others = usize::from(extension & TL0_PICTURE_INDEX != 0) + usize::from(has_layer_or_key);
        rest = rest.get(others..)?;
    }
    (!rest.is_empty()).then_some((first & START_OF_PARTITION != 0 && first & PARTITION == 0, rest))
}

/// Whether a frame needs no other ([RFC 6386](https://www.rfc-editor.org/rfc/rfc6386), section 9.1).
pub(crate) fn is_key_frame(frame: &[u8]) -> bool {
    frame.first().is_some_and(|first| first & 1 == 0)
}

/// The size that a key frame gives the pictures from there on.
pub(crate) fn declared_size(frame: &[u8]) -> Option<(u32, u32)> {
    let (tag, start_code, rest) = (frame.first()?, frame.get(3..6)?, frame.get(6..10)?);
    if tag & 1 != 0 || start_code != [0x9D, 0x01, 0x2A] {
        return None;
    }
    // The upper two bits say how a player may enlarge it.
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3FFF);
    Some((side(rest[0], rest[1]), side(rest[2], rest[3])))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(frame: &[u8], largest: usize) -> Vec<Bytes> {
        let payloads: Vec<_> = Packetizer::default().packetize(frame, largest).collect();
        let mut depacketizer = Depacketizer::default();
        assert_eq!(depacketizer.depacketize(payloads.iter().map(|payload| &payload[..])), Some(frame));
        assert!(payloads.iter().all(|payload| payload.len() <= largest));
        payloads
    }

    #[test]
    fn a_large_frame_is_cut_and_only_its_first_payload_starts_it() {
        let payloads = round_trip(&[0; 5_000], MAX_PAYLOAD);
        assert_eq!(payloads.len(), 5);
        let starts: Vec<_> = payloads.iter().map(|payload| starts_key_frame(payload)).collect();
        assert_eq!(starts, [true, false, false, false, false]);
        assert_eq!(payloads[0][..4], [0x90, 0x80, 0x80, 0x01]);
        assert_eq!(payloads[4][..4], [0x80, 0x80, 0x80, 0x01]);
        assert!(!starts_key_frame(&round_trip(&[1; 50], MAX_PAYLOAD)[0]));
    }

    #[test]
    fn every_descriptor_of_the_standard_is_understood() {
        let key = [0_u8, 7, 7];
        // Bare; with a picture ID of 7 and of 15 bits; with all that there is.
        for head in [&[0x10][..], &[0x90, 0x80, 0x11], &[0x90, 0x80, 0x81, 0x11], &[0xB0, 0xF0, 0x81, 0x11, 9, 0x21]] {
            assert!(starts_key_frame(&[head, &key].concat()), "{head:?}");
        }
        // Another partition than the first.
        assert!(!starts_key_frame(&[0x11, 0, 7, 7]));
    }

    #[test]
    fn payloads_that_make_no_frame_are_refused() {
        let (start, middle) = ([0x10, 0, 1].as_slice(), [0x00, 2, 3].as_slice());
        let cases: [&[&[u8]]; 8] = [
            &[],
            &[&[]],
            &[&[0x10]],
            &[&[0x90, 0x80]],
            &[&[0x90, 0x80, 0x80]],
            &[&[0x90, 0xF0, 0x80, 1, 2]],
            &[middle],
            &[start, start],
        ];
        for payloads in cases {
            assert_eq!(Depacketizer::default().depacketize(payloads.iter().copied()), None, "{payloads:?}");
        }
        assert_eq!(Depacketizer::default().depacketize([start, middle].into_iter()), Some(&[0, 1, 2, 3][..]));
    }

    #[test]
    fn sizes_are_read_of_key_frames_alone() {
        let key = [0x10, 0, 0, 0x9D, 0x01, 0x2A, 0x00, 0x45, 0xD0, 0x02];
        assert_eq!(declared_size(&key), Some((1_280, 720)));
        assert_eq!(declared_size(&key[..9]), None);
        assert_eq!(declared_size(&[&[0x11], &key[1..]].concat()), None);
    }

    proptest! {
        #[test]
        fn any_frame_survives_the_wire(frame in prop::collection::vec(any::<u8>(), 1..6_000), largest in 100..=MAX_PAYLOAD) {
            round_trip(&frame, largest);
        }

        #[test]
        fn garbage_never_panics(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            for payload in &payloads {
                starts_key_frame(payload);
                declared_size(payload);
            }
            Depacketizer::default().depacketize(payloads.iter().map(|payload| &payload[..]));
        }
    }
}
