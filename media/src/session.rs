//! The media of one call: a peer connection, the devices, and the pipelines between them.
//!
//! A [`Session`] is driven by commands that never block and answers through [`SessionEvent`]s, in order. It opens no
//! device and sends no packet before it is told to: [`Session::create_offer`] and [`Session::accept_offer`] only
//! prepare (and gather candidates, which are reported as events: whoever drives the session decides when they may
//! leave the machine).

mod camera;
mod candidates;
mod driver;
mod event;
mod link;
mod media;
mod sharing;
mod stats;
mod trial;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::{sync::mpsc, task::JoinHandle};

pub use event::{CameraState, DeviceKind, DeviceProblem, Path, PathKind, Problem, SessionEvent, Sharing};
pub use stats::{AudioRecvStats, Limit, Stats, VideoRecvStats, VideoSendStats};
pub use trial::{Trial, TrialConfig, TrialEvent, TrialPhase, TrialProgress, TrialResult};

use crate::{
    AudioSink, AudioSource, DeviceChoice, FrameSender, ScreenSource, VideoSink, VideoSource, codec::VideoCodec,
};
use driver::{Command, Driver};

/// Commands that wait for the session.
const MAX_COMMANDS: usize = 256;
/// The last commands that wait may not be candidates: those come from the far end, as many as it likes.
const RESERVED_COMMANDS: usize = 64;
/// Events that wait for whoever drives the session.
const MAX_EVENTS: usize = 256;
/// How long [`Session::close`] waits.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// What a session is made of.
#[derive(Debug)]
pub struct SessionConfig {
    /// Camera; [`VideoSource::None`] for a call without an own picture.
    pub camera: VideoSource,
    /// Microphone.
    pub microphone: AudioSource,
    /// Loudspeaker.
    pub speaker: AudioSink,
    /// Free what a microphone hears of echo and noise, and bring it to an even level. Files and tones are never touched.
    pub voice_processing: bool,
    /// Where the remote picture is recorded, if anywhere.
    pub video_out: VideoSink,
    /// Where the other's screen is recorded, if anywhere.
    pub screen_out: VideoSink,
    /// A call with pictures, or voice alone. An answerer follows the offer.
    pub with_video: bool,
    /// Which interfaces candidates are gathered on.
    pub interfaces: Interfaces,
    /// Which paths media may take, and which servers help to find them.
    pub ice: Ice,
    /// Own pictures, for the preview.
    pub preview: FrameSender,
    /// The other's pictures.
    pub remote: FrameSender,
    /// The other's screen.
    pub remote_screen: FrameSender,
    /// A CSV file that gets `captured|shown,MARK,UNIX_US` lines for frames that carry a bar code (see
    /// [`crate::frame_mark`]): how delays are measured.
    pub frame_log: Option<std::path::PathBuf>,
    /// Send and take pictures of this codec alone; `None`: all that were built, whichever suits.
    pub video_codec: Option<VideoCodec>,
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

/// Which paths media may take, and which servers help to find them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ice {
    /// STUN and TURN servers, the nearest first.
    pub servers: Vec<IceServer>,
    /// Which candidates may be gathered and used.
    pub policy: IcePolicy,
}

/// A STUN or TURN server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IceServer {
    /// As in RFC 7064 and RFC 7065, such as `turn:192.0.2.1:3478?transport=udp`.
    pub url: String,
    /// For TURN; empty for STUN.
    pub username: String,
    /// For TURN; empty for STUN.
    pub password: String,
}

/// Which candidates may be gathered and used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IcePolicy {
    /// All: directly if possible, through a relay if not.
    #[default]
    All,
    /// Relays alone: the other side learns no address of ours.
    RelayOnly,
    /// No relays: no server carries media.
    DirectOnly,
}

/// The media of one call. Dropping it stops everything in the background; [`Session::close`] also waits.
#[derive(Debug)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

/// Receives a session's events; `None` after [`Session::close`]. Whoever does not read them loses the newest.
pub type SessionEvents = mpsc::Receiver<SessionEvent>;

impl Session {
    /// Starts a session on the current tokio runtime. Opens nothing.
    pub fn spawn(config: SessionConfig) -> (Self, SessionEvents) {
        let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
        let (events, outbox) = mpsc::channel(MAX_EVENTS);
        // The task ends when the session, which holds the only sender of commands, is gone.
        let task = tokio::spawn(Driver::new(config, events).run(inbox));
        (Self { commands, task }, outbox)
    }

    /// As the caller: prepares the connection and answers with [`SessionEvent::OfferReady`].
    pub fn create_offer(&self) {
        self.command(Command::CreateOffer);
    }

    /// As the callee, for the first offer and for restarts: answers with [`SessionEvent::AnswerReady`] or
    /// [`SessionEvent::DescriptionRefused`].
    pub fn accept_offer(&self, sdp: String) {
        self.command(Command::AcceptOffer(sdp));
    }

    /// As the caller: the callee's answer. [`SessionEvent::DescriptionRefused`] when it can't be used.
    pub fn accept_answer(&self, sdp: String) {
        self.command(Command::AcceptAnswer(sdp));
    }

    /// A candidate of the far end. Held (at most 64) until there is a remote description; malformed ones are dropped.
    pub fn add_candidate(&self, json: String) {
        if self.commands.capacity() > RESERVED_COMMANDS {
            self.command(Command::AddCandidate(json));
        }
    }

    /// As the caller, in a running call: answers with [`SessionEvent::OfferReady`] (RFC 8445, section 9).
    pub fn restart_ice(&self) {
        self.command(Command::RestartIce);
    }

    /// Newer servers and credentials, for the next restart: those of TURN expire in a long call. The policy stays that of
    /// the configuration.
    pub fn set_ice(&self, ice: Ice) {
        self.command(Command::SetIce(ice));
    }

    /// Opens the camera for the preview; nothing is sent.
    pub fn start_preview(&self) {
        self.command(Command::StartPreview);
    }

    /// Both people agreed: opens what is not open yet, and sends as soon as the connection is up.
    pub fn start(&self) {
        self.command(Command::Start);
    }

    /// Turns the own picture on or off. Off releases the camera.
    pub fn set_camera(&self, on: bool) {
        self.command(Command::SetCamera(on));
    }

    /// Turns the own voice on or off. Off sends nothing; the device stays open, so that on is immediate.
    pub fn set_microphone(&self, on: bool) {
        self.command(Command::SetMicrophone(on));
    }

    /// Uses another camera, microphone or loudspeaker from now on; nothing is negotiated anew. What is in use goes on until
    /// the new one works. Answers with [`SessionEvent::DeviceInUse`] or [`SessionEvent::DeviceRefused`].
    pub fn use_device(&self, choice: DeviceChoice) {
        self.command(Command::UseDevice(choice));
    }

    /// Captures this screen or window from now on and sends it next to the camera's pictures; in the place of what was shared
    /// before. Only in a call that both people agreed to. Answers with [`SessionEvent::Sharing`].
    pub fn share(&self, source: ScreenSource) {
        self.command(Command::Share(source));
    }

    /// Shares nothing any more: the capture ends. Answers with [`SessionEvent::Sharing`].
    pub fn stop_sharing(&self) {
        self.command(Command::StopSharing);
    }

    /// Stops, releases every device, closes the connection, and waits for all of it (at most a second).
    pub async fn close(self) {
        drop(self.commands);
        if tokio::time::timeout(CLOSE_PATIENCE, self.task).await.is_err() {
            tracing::warn!("a device or the connection is slow to close; it goes on in the background");
        }
    }

    fn command(&self, command: Command) {
        if let Err(error) = self.commands.try_send(command) {
            tracing::error!(%error, "the session takes no more commands");
        }
    }
}
