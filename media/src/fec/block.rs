//! What a repair packet looks like.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |            SN base            |     packets   |     repairs   |
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
//! |      row      |0|     PT      |  repair symbol ...
//! +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-
//! ```
//!
//! The symbol of a protected packet, to be filled up with zeros to the longest of its block: its marker and the length of
//! its payload (1 and 15 bits), its timestamp (32 bits), its payload. Sequence numbers follow one another from the base on.

use super::{MAX_BLOCK, MAX_REPAIR, Protected, field};

/// Bytes of the header, and of a symbol before the payload.
pub(super) const HEADER: usize = 6;
pub(super) const SYMBOL_HEADER: usize = 6;

/// What a repair packet says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The first packet of the block, and how many they are.
    pub(crate) base: u16,
    pub(crate) packets: u8,
    /// Repair packets for it, and which of them this is.
    pub(crate) repairs: u8,
    pub(crate) row: u8,
    pub(crate) payload_type: u8,
}

impl Header {
    /// Reads the payload of a repair packet: the header and the repair symbol.
    pub(crate) fn parse(payload: &[u8]) -> Option<(Self, &[u8])> {
        let (&[b0, b1, packets, repairs, row, payload_type], symbol) = payload.split_first_chunk::<HEADER>()?;
        let header = Self { base: u16::from_be_bytes([b0, b1]), packets, repairs, row, payload_type };
        let fits = (1..=MAX_BLOCK).contains(&usize::from(packets))
            && (1..=MAX_REPAIR).contains(&usize::from(repairs))
            && row < repairs
            && payload_type < 128
            && symbol.len() >= SYMBOL_HEADER;
        fits.then_some((header, symbol))
    }

    pub(super) fn write(self, payload: &mut Vec<u8>) {
        payload.extend_from_slice(&self.base.to_be_bytes());
        payload.extend_from_slice(&[self.packets, self.repairs, self.row, self.payload_type]);
    }

    /// The last packet of the block.
    pub(crate) fn last(self) -> u16 {
        self.base.wrapping_add(u16::from(self.packets) - 1)
    }

    /// No more repair packets for the block follow.
    pub(crate) fn is_last(self) -> bool {
        self.row + 1 == self.repairs
    }
}

/// The factor of a packet in a repair packet: one of a Cauchy matrix.
pub(super) fn factor(row: u8, packet: u8) -> u8 {
    field::inverse((128 + row) ^ packet)
}

pub(super) fn symbol_header(packet: &Protected) -> [u8; SYMBOL_HEADER] {
    let length = packet.payload.len() as u16 & 0x7FFF | u16::from(packet.marker) << 15;
    let ([l0, l1], [t0, t1, t2, t3]) = (length.to_be_bytes(), packet.timestamp.to_be_bytes());
    [l0, l1, t0, t1, t2, t3]
}

/// Adds a packet's symbol, times its factor.
pub(super) fn add_packet(symbol: &mut [u8], packet: &Protected, factor: u8) {
    field::add_scaled(symbol, &symbol_header(packet), factor);
    if let Some(rest) = symbol.get_mut(SYMBOL_HEADER..) {
        field::add_scaled(rest, &packet.payload, factor);
    }
}
