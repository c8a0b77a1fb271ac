//! Forward error correction for pictures: packets sent ahead of losses, from which the far end makes those that it
//! missed, without the round trip that asking takes.
//!
//! In the shape of RFC 8627 (repair packets in a stream of their own, which name the packets that they repair), with
//! another code: Reed-Solomon instead of XOR. Any `m` repair packets of a block replace any `m` lost ones, where parities over
//! rows and columns replace them only in lucky places: for blocks as small as a picture is that is a third of the bits
//! for the same rest of losses. The code is systematic, over GF(2^8) as RFC 5510 has it, with a Cauchy matrix, every
//! square part of which can be inverted.
//!
//! Pure: packets go in, packets come out.

mod block;
mod decoder;
mod encoder;
mod field;
#[cfg(test)]
mod tests;

pub(crate) use block::Header;
pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;

use bytes::Bytes;

/// Packets that are protected together, at most; so many repair packets protect them, at most.
pub(crate) const MAX_BLOCK: usize = 48;
pub(crate) const MAX_REPAIR: usize = 48;

/// What is protected of a packet; all else of it the stream's other packets tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Protected {
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) payload: Bytes,
}
