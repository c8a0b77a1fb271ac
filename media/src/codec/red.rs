//! Redundancy for voice (RFC 2198): every packet carries copies of some before it, so that what is lost comes again with
//! the packets after it, without a round trip. A voice is small: on most links several copies cost less than a hundredth
//! of what the picture takes.
//!
//! The payload is a header of four bytes for each copy (oldest first), one byte for the primary, then their data:
//! <https://www.rfc-editor.org/rfc/rfc2198#section-3>

use std::collections::VecDeque;

use bytes::Bytes;

use crate::payload_memory::PayloadMemory;

/// Copies in a packet, at most.
pub const MOST_COPIES: usize = 8;

/// A copy is of a packet at most so much older: the offset has 14 bits.
const LONGEST_OFFSET: u32 = (1 << 14) - 1;

/// A copy's length has 10 bits.
const LONGEST_COPY: usize = (1 << 10) - 1;

/// Headers that are looked at; nobody sends more.
const MOST_HEADERS: usize = 32;

/// All that a packet may hold, so that it is never cut on its way.
const LONGEST_PAYLOAD: usize = 1_100;

/// Puts copies of the packets before into each packet.
#[derive(Debug, Default)]
pub struct Packer {
    /// The newest at the end.
    past: VecDeque<(u32, Bytes)>,
    memory: PayloadMemory,
}

impl Packer {
    /// The payload for `primary`, with `copies` of the packets right before it: consecutive ones, so that the far end can
    /// tell their sequence numbers, which are not sent.
    pub fn pack(&mut self, timestamp: u32, primary: Bytes, payload_type: u8, copies: u8) -> Bytes {
        let mut size = 1 + primary.len();
        let mut first = self.past.len();
        for (then, payload) in self.past.iter().rev().take(usize::from(copies)) {
            let offset = timestamp.wrapping_sub(*then);
            if offset > LONGEST_OFFSET || payload.len() > LONGEST_COPY || size + 4 + payload.len() > LONGEST_PAYLOAD {
                break;
            }
            size += 4 + payload.len();
            first -= 1;
        }
        let packed = self.memory.room(size);
        for (then, payload) in self.past.range(first..) {
            let offset = timestamp.wrapping_sub(*then);
            let header = 1 << 31 | u32::from(payload_type & 0x7f) << 24 | offset << 10 | payload.len() as u32;
            packed.extend_from_slice(&header.to_be_bytes());
        }
        packed.extend_from_slice(&[payload_type & 0x7f]);
        for (_, payload) in self.past.range(first..) {
            packed.extend_from_slice(payload);
        }
        packed.extend_from_slice(&primary);
        let packed = packed.split().freeze();
        if self.past.len() == MOST_COPIES {
            self.past.pop_front();
        }
        self.past.push_back((timestamp, primary));
        packed
    }
}

/// One block of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// How much older than the packet it is, in samples; 0 for the primary.
    pub offset: u32,
    /// How many packets older; 0 for the primary.
    pub distance: u16,
    /// One packet of the codec.
    pub payload: Bytes,
}

/// Takes a payload apart into `blocks`, which is cleared: copies first (oldest first), the primary last. Empty when it is
/// none; copies of no bytes are left out.
pub fn unpack_into(payload: &Bytes, blocks: &mut Vec<Block>) {
    blocks.clear();
    let (mut at, mut heads) = (0, [(0_u32, 0_usize); MOST_HEADERS]);
    let mut count = 0;
    loop {
        let Some(&first) = payload.get(at) else { return };
        if first & 0x80 == 0 {
            at += 1;
            break;
        }
        let Some(head) = payload.get(at..).and_then(|rest| rest.first_chunk::<4>()) else { return };
        let head = u32::from_be_bytes(*head);
        if count == MOST_HEADERS {
            return;
        }
        heads[count] = (head >> 10 & LONGEST_OFFSET, (head & LONGEST_COPY as u32) as usize);
        count += 1;
        at += 4;
    }
    for (i, &(offset, len)) in heads[..count].iter().enumerate() {
        if payload.len() < at + len {
            return blocks.clear();
        }
        if len > 0 && offset > 0 {
            blocks.push(Block { offset, distance: (count - i) as u16, payload: payload.slice(at..at + len) });
        }
        at += len;
    }
    blocks.push(Block { offset: 0, distance: 0, payload: payload.slice(at..) });
}

/// The same, into a list of its own.
pub fn unpack(payload: &Bytes) -> Vec<Block> {
    let mut blocks = Vec::new();
    unpack_into(payload, &mut blocks);
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mutator::fuzz;

    fn packet(n: u32) -> Bytes {
        Bytes::from(vec![n as u8; 10 + n as usize])
    }

    #[test]
    fn a_payload_holds_the_packet_and_the_copies_that_were_asked_for() {
        let mut packer = Packer::default();
        for n in 0..6 {
            packer.pack(n * 960, packet(n), 111, 0);
        }
        let payload = packer.pack(6 * 960, packet(6), 111, 3);
        let blocks = unpack(&payload);
        let told: Vec<_> = blocks.iter().map(|block| (block.offset, block.payload.clone())).collect();
        assert_eq!(told, [(3 * 960, packet(3)), (2 * 960, packet(4)), (960, packet(5)), (0, packet(6))]);
        assert_eq!(payload.len(), 3 * 4 + 1 + 13 + 14 + 15 + 16);
    }

    #[test]
    fn there_are_no_copies_of_the_distant_past() {
        let mut packer = Packer::default();
        packer.pack(960, packet(2), 111, 0);
        assert_eq!(unpack(&packer.pack(960 + 20_000, packet(3), 111, 1)).len(), 1);
    }

    #[test]
    fn a_payload_fits_into_a_packet_whatever_is_asked_for() {
        let mut packer = Packer::default();
        for n in 0..20 {
            let large = Bytes::from(vec![0; 300]);
            let payload = packer.pack(n * 960, large, 111, 8);
            assert!(payload.len() <= LONGEST_PAYLOAD);
        }
    }

    #[test]
    fn what_is_cut_short_is_no_payload() {
        let mut packer = Packer::default();
        packer.pack(0, packet(1), 111, 0);
        let payload = packer.pack(960, packet(2), 111, 1);
        for len in 0..4 + 1 + 11 {
            assert_eq!(unpack(&payload.slice(..len)), []);
        }
    }

    #[test]
    fn fuzz_redundant_payloads() {
        let mut packer = Packer::default();
        packer.pack(0, packet(1), 111, 0);
        fuzz(&[packer.pack(960, packet(2), 111, 1), packer.pack(1_920, packet(3), 111, 2)], |bytes| {
            let blocks = unpack(&Bytes::copy_from_slice(bytes));
            assert!(blocks.iter().map(|block| block.payload.len()).sum::<usize>() <= bytes.len());
            assert!(blocks.len() <= MOST_HEADERS + 1);
        });
    }
}
