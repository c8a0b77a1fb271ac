//! What a session reports.

use serde::Serialize;

use super::Stats;
use crate::{DeviceChoice, ScreenProblem};

/// What happens in a session.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    /// Answers [`Session::create_offer`](crate::Session::create_offer) and [`Session::restart_ice`](crate::Session::restart_ice): an SDP offer without candidates.
    OfferReady(String),
    /// Answers [`Session::accept_offer`](crate::Session::accept_offer): an SDP answer without candidates.
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
    /// What was chosen with [`Session::use_device`](crate::Session::use_device) is in use.
    DeviceInUse(DeviceChoice),
    /// What was chosen can't be used: the one before stays in use.
    DeviceRefused(DeviceChoice, DeviceProblem),
    /// What became of [`Session::share`](crate::Session::share), or of what was shared.
    Sharing(Sharing),
    /// The first picture of the other's screen was put into the slot.
    FirstScreenFrame,
    /// Once a second while connected.
    Stats(Box<Stats>),
}

/// What is done about sharing a screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The screen or window of this name is shared.
    Begun(String),
    /// Nothing is shared any more; why, unless it was asked for.
    Over(Option<ScreenProblem>),
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
    /// The file that the remote picture, or the other's screen, is recorded in.
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
    /// It was unplugged; another one is used until it is back.
    Replaced,
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
