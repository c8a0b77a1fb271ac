//! RTP payload formats of pictures, whichever codec is in use.

use bytes::Bytes;

use super::{VideoCodec, h264, vp8, vp9};

/// Payload bytes of a packet: leaves room for SRTP, TURN, IPv6 and tunnels within a path of 1,280 bytes and more.
pub(crate) const MAX_PAYLOAD: usize = 1_200;

/// Cuts encoded pictures into payloads.
pub(crate) enum Packetizer {
    H264(h264::Packetizer),
    Vp8(vp8::Packetizer),
    Vp9(vp9::Packetizer),
}

impl Packetizer {
    pub(crate) fn new(codec: VideoCodec) -> Self {
        match codec {
            VideoCodec::H264 => Self::H264(h264::Packetizer::default()),
            VideoCodec::Vp8 => Self::Vp8(vp8::Packetizer::default()),
            VideoCodec::Vp9 => Self::Vp9(vp9::Packetizer::default()),
        }
    }

    /// The payloads of one picture, in order, of at most so many bytes each.
    pub(crate) fn packetize(&mut self, bitstream: &[u8], largest: usize) -> std::vec::Drain<'_, Bytes> {
        match self {
            Self::H264(format) => format.packetize(bitstream, largest),
            Self::Vp8(format) => format.packetize(bitstream, largest),
            Self::Vp9(format) => format.packetize(bitstream, largest),
        }
    }
}

/// Puts the payloads of a picture together again.
pub(crate) enum Depacketizer {
    H264(h264::Depacketizer),
    Vp8(vp8::Depacketizer),
    Vp9(vp9::Depacketizer),
}

impl Depacketizer {
    pub(crate) fn new(codec: VideoCodec) -> Self {
        match codec {
            VideoCodec::H264 => Self::H264(h264::Depacketizer::default()),
            VideoCodec::Vp8 => Self::Vp8(vp8::Depacketizer::default()),
            VideoCodec::Vp9 => Self::Vp9(vp9::Depacketizer::default()),
        }
    }

    /// What these payloads, all of one picture and in order, carry. `None`: they don't make one.
    pub(crate) fn depacketize<'a>(&mut self, payloads: impl Iterator<Item = &'a [u8]>) -> Option<&[u8]> {
        match self {
            Self::H264(format) => format.depacketize(payloads),
            Self::Vp8(format) => format.depacketize(payloads),
            Self::Vp9(format) => format.depacketize(payloads),
        }
    }
}

/// A decoder can begin with the picture that this payload begins.
pub(crate) fn starts_key_frame(codec: VideoCodec, payload: &[u8]) -> bool {
    match codec {
        VideoCodec::H264 => h264::starts_key_frame(payload),
        VideoCodec::Vp8 => vp8::starts_key_frame(payload),
        VideoCodec::Vp9 => vp9::starts_key_frame(payload),
    }
}

/// Parts of about the same length, none of them longer than `largest`.
pub(super) fn even_parts(bytes: &[u8], largest: usize) -> std::slice::Chunks<'_, u8> {
    let count = bytes.len().div_ceil(largest).max(1);
    bytes.chunks(bytes.len().div_ceil(count).max(1))
}
