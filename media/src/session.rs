//! The media of one call: a peer connection, the devices, and the pipelines between them.
//!
//! A [`Session`] is driven by commands that never block and answers through [`SessionEvent`]s, in order. It opens no
//! device and sends no packet before it is told to: [`Session::create_offer`] and [`Session::accept_offer`] only
//! prepare (and gather candidates, which are reported as events: whoever drives the session decides when they may
//! leave the machine).

use serde::Serialize;

use crate::{AudioSink, AudioSource, FrameSender, VideoSink, VideoSource};

/// What a session is made of.
#[derive(Debug)]
pub struct SessionConfig {
    /// Camera; [`VideoSource::None`] for a call without an own picture.
    pub camera: VideoSource,
    /// Microphone.
    pub microphone: AudioSource,
    /// Loudspeaker.
    pub speaker: AudioSink,
    /// Where the remote picture is recorded, if anywhere.
    pub video_out: VideoSink,
    /// A call with pictures, or voice alone. An answerer follows the offer.
    pub with_video: bool,
    /// Which interfaces candidates are gathered on.
    pub interfaces: Interfaces,
    /// Own pictures, for the preview.
    pub preview: FrameSender,
    /// The other's pictures.
    pub remote: FrameSender,
    /// A CSV file that gets `captured|shown,MARK,UNIX_US` lines for frames that carry a bar code (see
    /// [`crate::frame_mark`]): how delays are measured.
    pub frame_log: Option<std::path::PathBuf>,
}

/// Which interfaces candidates are gathered on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interfaces {
    /// Every interface but loopback.
    #[default]
    All,
    /// Loopback alone, for tests on one machine.
    Loopback,
}

/// What happens in a session.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    /// Answers [`Session::create_offer`] and [`Session::restart_ice`]: an SDP offer without candidates.
    OfferReady(String),
    /// Answers [`Session::accept_offer`]: an SDP answer without candidates.
    AnswerReady(String),
    /// A description from the far end can't be used.
    DescriptionRefused(String),
    /// A candidate was gathered: the JSON of `RTCIceCandidateInit`.
    LocalCandidate(String),
    /// ICE and DTLS are up: media flows.
    Connected(Path),
    /// The path broke; ICE may find another, or be restarted.
    Disconnected,
    /// The session can't go on.
    Failed(String),
    /// The first remote picture was put into the slot.
    FirstVideoFrame,
    /// The first remote sound was decoded.
    FirstAudio,
    /// The camera of a video call opened and gives pictures, or was closed.
    Camera(CameraState),
    /// Something about a device or file that the person should know; the session goes on.
    Device(DeviceProblem),
    /// Once a second while connected.
    Stats(Box<Stats>),
}

/// What the own camera does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// Gives pictures.
    Open,
    /// Gives pictures, but they are the test card's because there is no camera.
    TestCard,
    /// Released.
    Closed,
}

/// Something about a device or file that the person should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceProblem {
    /// Which device.
    pub device: DeviceKind,
    /// What is wrong with it.
    pub problem: Problem,
    /// Detail for the log and for the curious, in English: the device's or system's own words.
    pub detail: String,
}

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    /// Camera, or the clip that stands in for it.
    Camera,
    /// Microphone, or the file that stands in for it.
    Microphone,
    /// Loudspeaker, or the file that stands in for it.
    Speaker,
    /// The file that the remote picture is recorded in.
    VideoOut,
}

/// What is wrong with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// There is none.
    Missing,
    /// Another program has it.
    Busy,
    /// The system does not permit its use.
    Denied,
    /// It was unplugged, or stopped giving data, while in use.
    Lost,
    /// A file that can't be read or written, or is damaged.
    BadFile,
    /// Anything else.
    Failed,
}

/// The path that media takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Path {
    /// Directly, or through a relay.
    pub kind: PathKind,
    /// Local candidate's type and transport, such as `host/udp`; no address.
    pub local: String,
    /// Remote candidate's type and transport.
    pub remote: String,
}

/// Directly, or through a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PathKind {
    /// From one machine to the other.
    Direct,
    /// Through a TURN relay.
    Relayed,
}

/// How the session does, over the last second where a field is a rate.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Bits per second sent, RTP payload of both media.
    pub send_bps: u32,
    /// Bits per second received.
    pub recv_bps: u32,
    /// Round-trip time, milliseconds.
    pub rtt_ms: Option<f32>,
    /// Loss of what we send, as the far end reports it, 0.0 to 1.0.
    pub send_loss: f32,
    /// Loss of what we receive, before repair, 0.0 to 1.0.
    pub recv_loss: f32,
    /// Pictures sent.
    pub video_send: VideoSendStats,
    /// Pictures received.
    pub video_recv: VideoRecvStats,
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
    /// What the encoder aims at, bits per second.
    pub target_bps: u32,
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

/// The media of one call. Dropping it stops everything in the background; [`Session::close`] also waits.
#[derive(Debug)]
pub struct Session {}

/// Receives a session's events; `None` after [`Session::close`].
pub type SessionEvents = tokio::sync::mpsc::Receiver<SessionEvent>;

impl Session {
    /// Starts a session on the current tokio runtime. Opens nothing.
    pub fn spawn(_config: SessionConfig) -> (Self, SessionEvents) {
        unimplemented!()
    }

    /// As the caller: prepares the connection and answers with [`SessionEvent::OfferReady`].
    pub fn create_offer(&self) {}

    /// As the callee, for the first offer and for restarts: answers with [`SessionEvent::AnswerReady`] or
    /// [`SessionEvent::DescriptionRefused`].
    pub fn accept_offer(&self, _sdp: String) {}

    /// As the caller: the callee's answer. [`SessionEvent::DescriptionRefused`] when it can't be used.
    pub fn accept_answer(&self, _sdp: String) {}

    /// A candidate of the far end. Held (at most 64) until there is a remote description; malformed ones are dropped.
    pub fn add_candidate(&self, _json: String) {}

    /// As the caller, in a running call: answers with [`SessionEvent::OfferReady`] (RFC 8445, section 9).
    pub fn restart_ice(&self) {}

    /// Opens the camera for the preview; nothing is sent.
    pub fn start_preview(&self) {}

    /// Both people agreed: opens what is not open yet, and sends as soon as the connection is up.
    pub fn start(&self) {}

    /// Turns the own picture on or off. Off releases the camera.
    pub fn set_camera(&self, _on: bool) {}

    /// Turns the own voice on or off. Off sends nothing; the device stays open, so that on is immediate.
    pub fn set_microphone(&self, _on: bool) {}

    /// Stops, releases every device, closes the connection, and waits for all of it (at most a second).
    pub async fn close(self) {}
}
