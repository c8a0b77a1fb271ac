//! The RTP payload format of H.264, packetization mode 1 ([RFC 6184](https://www.rfc-editor.org/rfc/rfc6184)).

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{START_CODE, nal_units};
use crate::{codec::payload::MAX_PAYLOAD, payload_memory::PayloadMemory};

const TYPE_MASK: u8 = 0x1f;
const NRI_MASK: u8 = 0x60;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

const SPS: u8 = 7;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

/// Cuts access units into payloads.
#[derive(Default)]
pub(crate) struct Packetizer {
    memory: PayloadMemory,
    payloads: Vec<Bytes>,
}

impl Packetizer {
    /// The payloads of one access unit, in order, of at most so many bytes each.
    pub(crate) fn packetize(&mut self, bitstream: &[u8], largest: usize) -> std::vec::Drain<'_, Bytes> {
        let largest = largest.clamp(100, MAX_PAYLOAD);
        self.payloads.clear();
        let mut units = nal_units(bitstream).peekable();
        while let Some(unit) = units.next() {
            if unit.len() > largest {
                self.fragment(unit, largest);
                continue;
            }
            // Parameter sets travel together with what follows, as long as it fits (section 5.7.1).
            let mut aggregate = 1 + 2 + unit.len();
            let followers = |next: &&[u8], aggregate: usize| aggregate + 2 + next.len() <= largest;
            let payload = self.memory.room(largest);
            if units.peek().is_some_and(|next| followers(next, aggregate)) {
                payload.put_u8(STAP_A);
                put_aggregated(payload, unit);
                while let Some(next) = units.next_if(|next| followers(next, aggregate)) {
                    aggregate += 2 + next.len();
                    put_aggregated(payload, next);
                }
            } else {
                payload.put_slice(unit);
            }
            self.payloads.push(payload.split().freeze());
        }
        self.payloads.drain(..)
    }

    /// Cuts a unit into fragments of about the same length (section 5.8).
    fn fragment(&mut self, unit: &[u8], largest: usize) {
        let (header, body) = (unit[0], &unit[1..]);
        let count = body.len().div_ceil(largest - 2);
        let fragments = body.chunks(body.len().div_ceil(count));
        let last = fragments.len() - 1;
        for (index, fragment) in fragments.enumerate() {
            let start = if index == 0 { FU_START } else { 0 };
            let end = if index == last { FU_END } else { 0 };
            let payload = self.memory.room(largest);
            payload.put_u8(header & !TYPE_MASK | FU_A);
            payload.put_u8(start | end | header & TYPE_MASK);
            payload.put_slice(fragment);
            self.payloads.push(payload.split().freeze());
        }
    }
}

/// Adds a unit to an aggregation packet, which takes the highest NRI of its units.
fn put_aggregated(payload: &mut BytesMut, unit: &[u8]) {
    payload[0] = (payload[0] & NRI_MASK).max(unit[0] & NRI_MASK) | STAP_A;
    payload.put_u16(unit.len() as u16);
    payload.put_slice(unit);
}

/// Puts the payloads of an access unit together again.
#[derive(Default)]
pub(crate) struct Depacketizer {
    bitstream: Vec<u8>,
}

impl Depacketizer {
    /// The access unit that these payloads, all of them and in order, carry. `None`: they don't make one.
    pub(crate) fn depacketize<'a>(&mut self, payloads: impl Iterator<Item = &'a [u8]>) -> Option<&[u8]> {
        self.bitstream.clear();
        let mut in_fragments = false;
        for payload in payloads {
            let (&header, body) = payload.split_first()?;
            let kind = header & TYPE_MASK;
            if in_fragments && kind != FU_A {
                return None;
            }
            match kind {
                1..=23 => self.put_unit(payload),
                STAP_A => self.put_aggregate(body)?,
                FU_A => {
                    let (&fragment_header, body) = body.split_first()?;
                    if (fragment_header & FU_START != 0) == in_fragments {
                        return None;
                    }
                    if !in_fragments {
                        self.put_unit(&[header & !TYPE_MASK | fragment_header & TYPE_MASK]);
                    }
                    self.bitstream.extend_from_slice(body);
                    in_fragments = fragment_header & FU_END == 0;
                }
                // Packetization mode 1 has no other (section 5.4).
                _ => return None,
            }
        }
        (!in_fragments && !self.bitstream.is_empty()).then_some(&self.bitstream)
    }

    fn put_aggregate(&mut self, mut units: &[u8]) -> Option<()> {
        while !units.is_empty() {
            let (length, rest) = units.split_first_chunk()?;
            let (unit, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
            if !unit.is_empty() {
                self.put_unit(unit);
            }
            units = rest;
        }
        Some(())
    }

    fn put_unit(&mut self, unit: &[u8]) {
        self.bitstream.push(0);
        self.bitstream.extend_from_slice(&START_CODE);
        self.bitstream.extend_from_slice(unit);
    }
}

/// A decoder can begin with the frame that this payload begins: it carries the parameter sets of an IDR picture.
pub(crate) fn starts_key_frame(payload: &[u8]) -> bool {
    match payload {
        [header, ..] if header & TYPE_MASK == SPS => true,
        [header, _, _, first, ..] if header & TYPE_MASK == STAP_A => first & TYPE_MASK == SPS,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const IDR: u8 = 5;

    /// An Annex B bitstream of units of these types and lengths.
    fn bitstream(units: &[(u8, usize)]) -> Vec<u8> {
        units.iter().fold(Vec::new(), |mut stream, &(kind, length)| {
            stream.extend_from_slice(&[0, 0, 0, 1, kind | 0x60]);
            stream.extend((1..length).map(|index| (index % 250) as u8 + 1));
            stream
        })
    }

    fn round_trip(stream: &[u8]) -> Vec<Bytes> {
        let payloads: Vec<_> = Packetizer::default().packetize(stream, MAX_PAYLOAD).collect();
        let mut depacketizer = Depacketizer::default();
        assert_eq!(depacketizer.depacketize(payloads.iter().map(|payload| &payload[..])), Some(stream));
        assert!(payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
        payloads
    }

    #[test]
    fn parameter_sets_share_a_packet_and_large_pictures_are_cut() {
        let payloads = round_trip(&bitstream(&[(SPS, 20), (8, 6), (IDR, 5_000)]));
        assert_eq!(payloads.len(), 1 + 5);
        assert_eq!(payloads[0][0], 0x60 | STAP_A);
        assert!(starts_key_frame(&payloads[0]));
        assert!(!payloads[1..].iter().any(|payload| starts_key_frame(payload)));
        assert_eq!(payloads[1][..2], [0x60 | FU_A, FU_START | IDR]);
        assert_eq!(payloads[5][..2], [0x60 | FU_A, FU_END | IDR]);
    }

    #[test]
    fn a_small_picture_is_one_packet_as_it_is() {
        let stream = bitstream(&[(1, MAX_PAYLOAD)]);
        assert_eq!(round_trip(&stream), [Bytes::copy_from_slice(&stream[4..])]);
    }

    #[test]
    fn payloads_that_make_no_access_unit_are_refused() {
        let start = [FU_A, FU_START | 1, 9].as_slice();
        let end = [FU_A, FU_END | 1, 9].as_slice();
        let cases: [&[&[u8]]; 11] = [
            &[],
            &[&[]],
            &[&[0x60]],
            &[&[31, 1, 2]],
            &[&[25, 0, 0, 0]],
            &[start],
            &[end],
            &[start, start],
            &[start, &[0x61, 1]],
            &[&[FU_A]],
            &[&[STAP_A, 0, 9, 1]],
        ];
        for payloads in cases {
            assert_eq!(Depacketizer::default().depacketize(payloads.iter().copied()), None, "{payloads:?}");
        }
        assert!(Depacketizer::default().depacketize([start, end].into_iter()).is_some());
    }

    proptest! {
        #[test]
        fn any_units_survive_the_wire(units in prop::collection::vec((1_u8..=23, 1_usize..4_000), 1..12)) {
            round_trip(&bitstream(&units));
        }

        #[test]
        fn garbage_never_panics(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
            for payload in &payloads {
                starts_key_frame(payload);
            }
            Depacketizer::default().depacketize(payloads.iter().map(|payload| &payload[..]));
        }
    }
}
