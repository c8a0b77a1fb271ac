//! How a session does, in figures.

use serde::Serialize;

pub use crate::rate::Limit;

/// How the session does, over the last second where a field is a rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Bits per second sent, RTP payload of both media.
    pub send_bps: u32,
    /// Bits per second received.
    pub recv_bps: u32,
    /// Round-trip time, milliseconds.
    pub rtt_ms: Option<f32>,
    /// What the path to the other side carries, as far as is known: everything together, with all headers, bits per
    /// second.
    pub available_bps: u32,
    /// How long our packets stand in queues on the way, milliseconds.
    pub queue_ms: f32,
    /// How long what we have to send waits for its turn here, milliseconds.
    pub pacer_ms: f32,
    /// What the voice's encoder aims at, bits per second.
    pub voice_target_bps: u32,
    /// Loss of what we send, as the far end reports it, 0.0 to 1.0.
    pub send_loss: f32,
    /// Loss of what we receive, before repair, 0.0 to 1.0.
    pub recv_loss: f32,
    /// Pictures sent.
    pub video_send: VideoSendStats,
    /// Pictures received.
    pub video_recv: VideoRecvStats,
    /// The shared screen, sent.
    pub screen_send: VideoSendStats,
    /// The shared screen, received.
    pub screen_recv: VideoRecvStats,
    /// Sound received.
    pub audio_recv: AudioRecvStats,
}

/// Pictures sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VideoSendStats {
    /// Frames encoded in the last second.
    pub fps: f32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Codec name as in SDP.
    pub codec: &'static str,
    /// What the encoder aims at, bits per second; 0 while the picture pauses.
    pub target_bps: u32,
    /// What keeps the picture from being larger or smoother.
    pub limit: Limit,
    /// Frames encoded since the start.
    pub frames: u64,
    /// Key frames since the start.
    pub key_frames: u64,
    /// Mean encoding time per frame in the last second, milliseconds.
    pub encode_ms: f32,
}

/// Pictures received.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct VideoRecvStats {
    /// Frames put into the slot in the last second.
    pub fps: f32,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Codec name as in SDP.
    pub codec: &'static str,
    /// Frames completely received since the start.
    pub received: u64,
    /// Frames decoded since the start.
    pub decoded: u64,
    /// Frames put into the slot since the start.
    pub shown: u64,
    /// Frames given up because packets never came.
    pub dropped: u64,
    /// Times that no new frame came for more than 200 ms.
    pub freezes: u64,
    /// Key frames asked for.
    pub key_frames_asked: u64,
    /// Packets asked for again.
    pub nacks: u64,
    /// Packets that were lost and made from what was sent ahead of losses.
    pub recovered: u64,
    /// Capture to shown, milliseconds, median of the last second, when the sender's clock can be compared.
    pub latency_ms: Option<f32>,
}

/// Sound received.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AudioRecvStats {
    /// Depth of the jitter buffer, milliseconds.
    pub jitter_buffer_ms: f32,
    /// Part of the last second that had to be made up, 0.0 to 1.0.
    pub concealed: f32,
    /// Packets decoded since the start.
    pub packets: u64,
    /// Packets rebuilt from forward error correction since the start.
    pub fec: u64,
    /// Packets that came too late to be played.
    pub late: u64,
    /// Loudness of the last second, dBFS (RMS).
    pub level_dbfs: f32,
}
