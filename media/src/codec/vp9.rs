//! The RTP payload format of VP9 ([RFC 9628](https://www.rfc-editor.org/rfc/rfc9628)). We send one layer, in flexible
//! mode, where each picture says which one it refers to; what comes may have layers.

mod header;

use bytes::{BufMut as _, Bytes};

use super::payload::{MAX_PAYLOAD, even_parts};
use crate::payload_memory::PayloadMemory;
pub(crate) use header::{FrameKind, MAX_FRAMES, frames, index_of_one, put_index, read_frame};

/// Before the VP9 payload of each packet (section 4.2).
const PICTURE_ID: u8 = 0x80;
const INTER_PICTURE: u8 = 0x40;
const LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const START_OF_FRAME: u8 = 0x08;
const END_OF_FRAME: u8 = 0x04;
const STRUCTURE: u8 = 0x02;
/// The picture ID has 15 bits.
const LONG_PICTURE_ID: u8 = 0x80;
/// In the layers' byte.
const SPATIAL_LAYER: u8 = 0x0E;
/// Behind a reference: another follows. There are three at most.
const ANOTHER_REFERENCE: u8 = 0x01;
const MAX_REFERENCES: usize = 3;
/// In the scalability structure.
const SIZES: u8 = 0x10;
const PICTURE_GROUP: u8 = 0x08;

/// Our descriptor at most: flags, a picture ID of 15 bits, a reference.
const DESCRIPTOR: usize = 4;
/// The picture before this one.
const PREVIOUS: u8 = 1 << 1;

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
        let refers = !is_key_frame(frame);
        let mut parts = even_parts(frame, largest).peekable();
        let mut position = START_OF_FRAME;
        while let Some(part) = parts.next() {
            let end = if parts.peek().is_none() { END_OF_FRAME } else { 0 };
            let inter = if refers { INTER_PICTURE } else { 0 };
            let payload = self.memory.room(DESCRIPTOR + part.len());
            payload.put_u8(PICTURE_ID | FLEXIBLE | inter | position | end);
            payload.put_u16(u16::from(LONG_PICTURE_ID) << 8 | self.picture_id);
            if refers {
                payload.put_u8(PREVIOUS);
            }
            payload.put_slice(part);
            self.payloads.push(payload.split().freeze());
            position = 0;
        }
        self.payloads.drain(..)
    }
}

/// Puts the payloads of a picture together again.
#[derive(Default)]
pub(crate) struct Depacketizer {
    picture: Vec<u8>,
}

impl Depacketizer {
    /// The picture that these payloads, all of them and in order, carry: one frame, or the frames of its layers with an
    /// index behind them. `None`: they don't make one.
    pub(crate) fn depacketize<'a>(&mut self, payloads: impl Iterator<Item = &'a [u8]>) -> Option<&[u8]> {
        self.picture.clear();
        let (mut sizes, mut count) = ([0_usize; MAX_FRAMES], 0);
        let mut in_frame = false;
        for payload in payloads {
            let Part { starts, ends, bytes, .. } = split(payload)?;
            if starts == in_frame || count == MAX_FRAMES {
                return None;
            }
            self.picture.extend_from_slice(bytes);
            sizes[count] += bytes.len();
            in_frame = !ends;
            count += usize::from(ends);
        }
        if in_frame || count == 0 {
            return None;
        }
        if count > 1 {
            put_index(&sizes[..count], &mut self.picture);
        }
        Some(&self.picture)
    }
}

/// A decoder can begin with the picture that this payload begins.
pub(crate) fn starts_key_frame(payload: &[u8]) -> bool {
    split(payload).is_some_and(|part| part.starts && part.is_base && !part.refers && is_key_frame(part.bytes))
}

/// Whether a frame needs no other.
pub(crate) fn is_key_frame(frame: &[u8]) -> bool {
    matches!(header::kind(frame), Some(FrameKind::Key))
}

/// What a payload is of a picture.
struct Part<'a> {
    /// The frame of a layer begins and ends with it.
    starts: bool,
    ends: bool,
    /// Of the lowest layer.
    is_base: bool,
    refers: bool,
    /// Not empty.
    bytes: &'a [u8],
}

fn split(payload: &[u8]) -> Option<Part<'_>> {
    let (&flags, mut rest) = payload.split_first()?;
    let mut take = |count: usize| {
        let (taken, behind) = rest.split_at_checked(count)?;
        rest = behind;
        Some(taken)
    };
    if flags & PICTURE_ID != 0 && take(1)?[0] & LONG_PICTURE_ID != 0 {
        take(1)?;
    }
    let mut is_base = true;
    if flags & LAYERS != 0 {
        is_base = take(1)?[0] & SPATIAL_LAYER == 0;
        if flags & FLEXIBLE == 0 {
            take(1)?;
        }
    }
    if flags & FLEXIBLE != 0 && flags & INTER_PICTURE != 0 {
        let mut references = 1;
        while take(1)?[0] & ANOTHER_REFERENCE != 0 {
            references += 1;
            if references > MAX_REFERENCES {
                return None;
            }
        }
    }
    if flags & STRUCTURE != 0 {
        let head = take(1)?[0];
        if head & SIZES != 0 {
            take(4 * (usize::from(head >> 5) + 1))?;
        }
        if head & PICTURE_GROUP != 0 {
            for _ in 0..take(1)?[0] {
                let references = take(1)?[0] >> 2 & 3;
                take(usize::from(references))?;
            }
        }
    }
    (!rest.is_empty()).then_some(Part {
        starts: flags & START_OF_FRAME != 0,
        ends: flags & END_OF_FRAME != 0,
        is_base,
        refers: flags & INTER_PICTURE != 0,
        bytes: rest,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The first byte of a key frame, and of one that is not.
    const KEY: u8 = 0x82;
    const DELTA: u8 = 0x86;

    fn round_trip(frame: &[u8], largest: usize) -> Vec<Bytes> {
        let payloads: Vec<_> = Packetizer::default().packetize(frame, largest).collect();
        let mut depacketizer = Depacketizer::default();
        assert_eq!(depacketizer.depacketize(payloads.iter().map(|payload| &payload[..])), Some(frame));
        assert!(payloads.iter().all(|payload| payload.len() <= largest));
        payloads
    }

    #[test]
    fn a_large_frame_is_cut_and_only_its_first_payload_starts_it() {
        let payloads = round_trip(&[KEY; 5_000], MAX_PAYLOAD);
        assert_eq!(payloads.len(), 5);
        let starts: Vec<_> = payloads.iter().map(|payload| starts_key_frame(payload)).collect();
        assert_eq!(starts, [true, false, false, false, false]);
        assert_eq!(payloads[0][..3], [0x98, 0x80, 0x01]);
        assert_eq!(payloads[1][..3], [0x90, 0x80, 0x01]);
        assert_eq!(payloads[4][..3], [0x94, 0x80, 0x01]);
        let small = &round_trip(&[DELTA; 50], MAX_PAYLOAD)[0];
        assert!(!starts_key_frame(small));
        assert_eq!(small[..4], [0xDC, 0x80, 0x01, 0x02]);
    }

    #[test]
    fn every_descriptor_of_the_standard_is_understood() {
        let heads: [&[u8]; 6] = [
            &[0x08],
            &[0x88, 0x11],
            // Layers, in both modes.
            &[0xA8, 0x80, 0x11, 0x01, 0x07],
            &[0xB8, 0x80, 0x11, 0x01],
            // A structure of two layers with their sizes, and of a group of two pictures with 1 and 2 references.
            &[0x8A, 0x11, 0x30, 5, 0, 2, 208, 5, 0, 2, 208],
            &[0x8A, 0x11, 0x08, 2, 0x04, 1, 0x08, 1, 2],
        ];
        for head in heads {
            assert!(starts_key_frame(&[head, &[KEY, 1, 2]].concat()), "{head:02x?}");
        }
        let three_references = [0xD8, 0x11, 0x03, 0x05, 0x06, DELTA, 1];
        assert_eq!(split(&three_references).map(|part| part.bytes), Some(&[DELTA, 1][..]));
        // A higher layer of a key picture.
        assert!(!starts_key_frame(&[0xA8, 0x80, 0x11, 0x02, 0x07, KEY, 1, 2]));
    }

    #[test]
    fn layers_become_one_picture_with_an_index() {
        let base = [0x88 | END_OF_FRAME | LAYERS, 0x11, 0x00, 0x07, KEY, 1];
        let higher = [0x88 | END_OF_FRAME | LAYERS, 0x11, 0x02, 0x07, DELTA, 2, 3];
        let mut depacketizer = Depacketizer::default();
        let picture = depacketizer.depacketize([&base[..], &higher].into_iter()).unwrap();
        assert_eq!(frames(picture).collect::<Vec<_>>(), [&[KEY, 1][..], &[DELTA, 2, 3]]);
    }

    #[test]
    fn payloads_that_make_no_frame_are_refused() {
        let (start, middle, end) = ([0x08, 1].as_slice(), [0x00, 2].as_slice(), [0x04, 3].as_slice());
        let cases: [&[&[u8]]; 11] = [
            &[],
            &[&[]],
            &[&[0x0C]],
            &[&[0x8C, 0x80]],
            &[&[0x8C | FLEXIBLE | INTER_PICTURE, 1, 1, 1, 1, 1, 1]],
            &[&[0x0E, 0xF0, 1, 2]],
            &[&[0x0E, 0x08, 200, 0xFF]],
            &[start],
            &[middle, end],
            &[start, start, end],
            &[start, end, middle],
        ];
        for payloads in cases {
            assert_eq!(Depacketizer::default().depacketize(payloads.iter().copied()), None, "{payloads:02x?}");
        }
        let whole = [0x0C, 1].as_slice();
        assert_eq!(Depacketizer::default().depacketize([whole; MAX_FRAMES + 1].into_iter()), None);
        assert_eq!(Depacketizer::default().depacketize([start, middle, end].into_iter()), Some(&[1, 2, 3][..]));
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
                read_frame(payload);
                frames(payload).for_each(drop);
            }
            Depacketizer::default().depacketize(payloads.iter().map(|payload| &payload[..]));
        }
    }
}
