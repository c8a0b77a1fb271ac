//! The devices and pipelines of one session: opened when the session says so, and closed again, devices first.

use std::io;

use tokio::{
    sync::mpsc,
    task::{JoinHandle, spawn_blocking},
};

use super::{SessionConfig, Stats};
use crate::{
    AudioSink, AudioSource, CameraState, DeviceProblem, FrameReceiver, FrameSender, VideoSink, VideoSource,
    capture::{Camera, CameraEvent},
    frame_log::FrameLog,
    frame_slot,
    peer::{Kind, Peer},
    pipeline::{
        video_recv::{VideoRecv, VideoRecvEvent},
        video_send::VideoSend,
        voice::{Voice, VoiceEvent},
    },
    rtp::{IncomingPacket, OutgoingPacket, PathReport},
};

/// Events of devices and pipelines that wait for the session.
const MAX_EVENTS: usize = 64;
/// Voice that waits for the connection: a second of it.
const MAX_VOICE_PACKETS: usize = 50;
/// Video that waits for the connection: several key frames. The encoder leaves frames out when it is half full.
const MAX_VIDEO_PACKETS: usize = 256;

/// What happens in devices and pipelines.
#[derive(Debug)]
pub(super) enum MediaEvent {
    Camera(CameraState),
    Problem(DeviceProblem),
    FirstVideoFrame,
    FirstAudio,
    KeyFrameNeeded,
}

/// The devices and pipelines of one session.
pub(super) struct Media {
    sources: Sources,
    events: mpsc::Sender<MediaEvent>,
    camera: CameraControl,
    camera_on: bool,
    microphone_on: bool,
    /// From the camera to the encoder. Kept for the next camera while there is none.
    captured: (FrameSender, FrameReceiver),
    voice: Option<Voice>,
    video_send: Option<VideoSend>,
    video_recv: Option<VideoRecv>,
}

/// What a session was told to use.
struct Sources {
    camera: VideoSource,
    microphone: AudioSource,
    speaker: AudioSink,
    voice_processing: bool,
    video_out: VideoSink,
    preview: FrameSender,
    remote: FrameSender,
    frame_log: Option<FrameLog>,
}

/// The camera, and what becomes of it. It can be opened again only when it is wholly closed.
enum CameraControl {
    Closed,
    Open(Camera),
    Closing { done: JoinHandle<()>, reopen: bool },
}

impl Media {
    /// Opens nothing yet.
    pub(super) fn new(config: SessionConfig) -> (Self, mpsc::Receiver<MediaEvent>) {
        let (events, outbox) = mpsc::channel(MAX_EVENTS);
        let frame_log = config
            .frame_log
            .and_then(|path| FrameLog::create(&path).inspect_err(|error| tracing::warn!(%error, "no frame log")).ok());
        let sources = Sources {
            camera: config.camera,
            microphone: config.microphone,
            speaker: config.speaker,
            voice_processing: config.voice_processing,
            video_out: config.video_out,
            preview: config.preview,
            remote: config.remote,
            frame_log,
        };
        let media = Self {
            sources,
            events,
            camera: CameraControl::Closed,
            camera_on: true,
            microphone_on: true,
            captured: frame_slot(|| {}),
            voice: None,
            video_send: None,
            video_recv: None,
        };
        (media, outbox)
    }

    /// Opens the camera, unless it is turned off or there is none to open.
    pub(super) fn open_camera(&mut self) {
        if !self.camera_on || self.sources.camera == VideoSource::None {
            return;
        }
        match &mut self.camera {
            CameraControl::Open(_) => {}
            CameraControl::Closing { reopen, .. } => *reopen = true,
            CameraControl::Closed => {
                let outputs = vec![self.sources.preview.clone(), self.captured.0.clone()];
                let tell = self.teller();
                let camera =
                    Camera::open(&self.sources.camera, outputs, self.sources.frame_log.clone(), move |event| {
                        tell(match event {
                            CameraEvent::State(state) => MediaEvent::Camera(state),
                            CameraEvent::Problem(problem) => MediaEvent::Problem(problem),
                        });
                    });
                self.camera = CameraControl::Open(camera);
            }
        }
    }

    /// Turns the own picture on or off. `in_use`: on opens the camera now.
    pub(super) fn set_camera(&mut self, on: bool, in_use: bool) {
        self.camera_on = on;
        if on && in_use {
            self.open_camera();
            self.request_key_frame();
        } else if !on {
            self.camera = match std::mem::replace(&mut self.camera, CameraControl::Closed) {
                CameraControl::Closed => CameraControl::Closed,
                CameraControl::Closing { done, .. } => CameraControl::Closing { done, reopen: false },
                CameraControl::Open(camera) => {
                    CameraControl::Closing { done: spawn_blocking(|| camera.close()), reopen: false }
                }
            };
        }
    }

    /// Waits until a camera that is being closed is closed; for ever when there is none. Cancel safe.
    pub(super) async fn camera_closed(&mut self) {
        match &mut self.camera {
            CameraControl::Closing { done, reopen } => {
                if let Err(error) = done.await {
                    tracing::error!(%error, "closing the camera");
                }
                let reopen = *reopen;
                self.camera = CameraControl::Closed;
                if reopen {
                    self.open_camera();
                }
            }
            CameraControl::Closed | CameraControl::Open(_) => std::future::pending().await,
        }
    }

    /// Turns the own voice on or off.
    pub(super) fn set_microphone(&mut self, on: bool) {
        self.microphone_on = on;
        if let Some(voice) = &self.voice {
            voice.set_muted(!on);
        }
    }

    /// Opens microphone and loudspeaker. Gives the packets to send.
    pub(super) fn start_voice(
        &mut self,
        incoming: std::sync::mpsc::Receiver<IncomingPacket>,
    ) -> mpsc::Receiver<OutgoingPacket> {
        let (outgoing, packets) = mpsc::channel(MAX_VOICE_PACKETS);
        let tell = self.teller();
        let Sources { microphone, speaker, voice_processing, frame_log, .. } = &self.sources;
        let log = frame_log.clone();
        let voice = Voice::open(microphone, speaker, *voice_processing, log, outgoing, incoming, move |event| {
            tell(match event {
                VoiceEvent::FirstSound => MediaEvent::FirstAudio,
                VoiceEvent::Problem(problem) => MediaEvent::Problem(problem),
            });
        });
        voice.set_muted(!self.microphone_on);
        self.voice = Some(voice);
        packets
    }

    /// Starts to decode the far end's pictures, and to encode ours, with a key frame of the newest. Gives the packets
    /// to send.
    pub(super) fn start_video(
        &mut self,
        incoming: std::sync::mpsc::Receiver<IncomingPacket>,
    ) -> io::Result<mpsc::Receiver<OutgoingPacket>> {
        let tell = self.teller();
        let (remote, video_out) = (self.sources.remote.clone(), self.sources.video_out.clone());
        let video_recv = VideoRecv::spawn(incoming, remote, video_out, self.sources.frame_log.clone(), move |event| {
            tell(match event {
                VideoRecvEvent::FirstFrame => MediaEvent::FirstVideoFrame,
                VideoRecvEvent::KeyFrameNeeded => MediaEvent::KeyFrameNeeded,
                VideoRecvEvent::Problem(problem) => MediaEvent::Problem(problem),
            });
        })?;
        self.video_recv = Some(video_recv);
        let (outgoing, packets) = mpsc::channel(MAX_VIDEO_PACKETS);
        self.video_send = Some(VideoSend::spawn(self.captured.1.clone(), outgoing)?);
        Ok(packets)
    }

    /// The far end can't go on without a key frame.
    pub(super) fn request_key_frame(&self) {
        if let Some(video_send) = &self.video_send {
            video_send.request_key_frame();
        }
    }

    /// How what we send gets through.
    pub(super) fn report(&self, kind: Kind, report: PathReport) {
        match kind {
            Kind::Audio => {
                if let Some(voice) = &self.voice {
                    voice.report(report);
                }
            }
            Kind::Video => {
                if let Some(video_send) = &self.video_send {
                    video_send.report(report);
                }
            }
        }
    }

    /// Tells the pipelines of the connection, and fills in what they know.
    pub(super) fn fill(&self, stats: &mut Stats, peer: &Peer) {
        if let Some(video_recv) = &self.video_recv {
            if let Some(rtt) = peer.meter().rtt() {
                video_recv.set_rtt(rtt);
            }
            stats.video_recv = video_recv.stats();
        }
        if let Some(video_send) = &self.video_send {
            stats.video_send = video_send.stats();
        }
        if let Some(voice) = &self.voice {
            stats.audio_recv = voice.stats();
        }
    }

    /// Closes the devices, then the pipelines, and waits for that. Each device has a thread to wait on, so that a slow
    /// one holds up no other.
    pub(super) async fn close(self) {
        let camera = match self.camera {
            CameraControl::Closed => None,
            CameraControl::Open(camera) => Some(spawn_blocking(|| camera.close())),
            CameraControl::Closing { done, .. } => Some(done),
        };
        let voice = spawn_blocking(move || drop(self.voice));
        let pipelines = spawn_blocking(move || drop((self.video_send, self.video_recv)));
        for closing in camera.into_iter().chain([voice, pipelines]) {
            if let Err(error) = closing.await {
                tracing::error!(%error, "closing a device or a pipeline");
            }
        }
        self.sources.remote.clear();
    }

    /// Brings events from the threads of devices and pipelines to the session.
    fn teller(&self) -> impl Fn(MediaEvent) + Send + Sync + 'static {
        let events = self.events.clone();
        move |event| {
            if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
                tracing::warn!(?event, "an event of a device was lost");
            }
        }
    }
}
