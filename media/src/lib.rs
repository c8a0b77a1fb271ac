//! Devices, codecs, RTP and playout: everything between a camera or microphone here and a screen or loudspeaker there.
//!
//! `parlor-media` knows nothing of libp2p, of people, or of calls. A [`Session`] is the media of one call: it makes and
//! takes session descriptions and candidates as opaque strings, and reports through [`SessionEvent`]s.

pub mod audio;
#[doc(hidden)]
pub mod bottleneck;
pub mod capture;
mod clock;
pub mod codec;
mod devices;
mod fec;
pub mod frame;
pub mod frame_log;
pub mod frame_mark;
mod frame_slot;
mod interceptors;
#[cfg(test)]
#[path = "../../tests/fuzz/mutator.rs"]
mod mutator;
mod payload_memory;
mod peer;
mod pipe;
pub mod pipeline;
pub mod playout;
mod rate;
pub mod rtp;
mod screen;
mod session;
mod source;
#[doc(hidden)]
pub mod stages;
mod stats;
mod y4m;

pub use capture::{Camera, CameraEvent, cameras};
pub use codec::VideoCodec;
pub use devices::{Device, DeviceChoice, DeviceWatch, Devices};
pub use frame::{Frame, MediaTime};
pub use frame_log::FrameLog;
pub use frame_slot::{FrameReceiver, FrameSender, frame_slot};
pub use screen::{ScreenCapture, ScreenEvent, ScreenInfo, ScreenProblem, ScreenSource, Thumbnail, screens};
pub use session::{
    AudioRecvStats, CameraState, DeviceKind, DeviceProblem, Ice, IcePolicy, IceServer, Interfaces, Limit, Path,
    PathKind, Problem, Session, SessionConfig, SessionEvent, SessionEvents, Sharing, Stats, Trial, TrialConfig,
    TrialEvent, TrialPhase, TrialProgress, TrialResult, VideoRecvStats, VideoSendStats,
};
pub use source::{AudioSink, AudioSource, ParseSourceError, VideoSink, VideoSource};
