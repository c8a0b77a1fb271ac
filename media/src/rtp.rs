//! The RTP packets that pipelines and the WebRTC adapter hand to each other, as plain data (RFC 3550).

use std::time::Instant;

use bytes::Bytes;

use crate::codec::VideoCodec;

/// A packet on its way out, without the fields that the adapter fills in (SSRC, payload type, extensions' ids).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingPacket {
    /// Sequence number, ours, contiguous per stream.
    pub sequence: u16,
    /// Media clock: 90 kHz for video, 48 kHz for audio; derived from the capture clock.
    pub timestamp: u32,
    /// Last packet of a frame (video); first after silence (audio).
    pub marker: bool,
    /// RTP payload in the codec's packetization (RFC 6184, RFC 7741, RFC 9628, RFC 7587).
    pub payload: Bytes,
    /// What the picture is coded with; `None` for audio.
    pub codec: Option<VideoCodec>,
    /// How many of the packets before it this one should repeat, where the far end takes that (RFC 2198).
    pub copies: u8,
    /// Unix time of capture in microseconds, for the absolute capture time extension.
    pub captured_unix_us: Option<u64>,
    /// Loudness of the audio in it, 0 (loudest) to 127 (silence) -dBov (RFC 6464); `None` for video.
    pub level: Option<u8>,
}

/// A packet that came in, after SRTP, RTX unwrapping and removal of duplicates; not yet in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncomingPacket {
    /// Sequence number of the sender.
    pub sequence: u16,
    /// Media clock of the sender.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// RTP payload.
    pub payload: Bytes,
    /// What the picture is coded with; `None` for audio.
    pub codec: Option<VideoCodec>,
    /// When it came in.
    pub arrived: Instant,
    /// Unix time of capture in microseconds, as the sender says.
    pub captured_unix_us: Option<u64>,
}

/// What the far end, or the path to it, says of what we send.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathReport {
    /// Part of our packets that was lost in the last report's interval, 0.0 to 1.0 (RFC 3550, section 6.4.1).
    pub loss: f32,
    /// Round-trip time in milliseconds.
    pub rtt_ms: f32,
    /// Interarrival jitter in milliseconds.
    pub jitter_ms: f32,
}

/// How much the path to the far end carries, and how it does.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Network {
    /// For everything that is sent, with all headers, bits per second.
    pub available_bps: u32,
    /// The same, when the queue that is just being drained is gone.
    pub sustainable_bps: u32,
    /// Part of packets that was lost lately, 0.0 to 1.0.
    pub loss: f32,
    /// What repairs take, as a part of the pictures that they repair.
    pub repair: f32,
    /// How long packets stand in queues on the way, milliseconds.
    pub queue_ms: f32,
    /// The path is the limit, not what there is to send.
    pub is_limited: bool,
    /// Two packets that leave together, once a second, would tell whether it still is so narrow.
    pub wants_pairs: bool,
}
