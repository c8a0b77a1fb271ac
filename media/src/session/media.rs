//! The devices and pipelines of one session: opened when the session says so, and closed again, devices first.

use std::{io, sync::Arc};

use tokio::{sync::mpsc, task::spawn_blocking};

use super::{
    SessionConfig, SessionEvent, Stats, VideoRecvStats,
    camera::{CameraControl, Opener, Tell},
    sharing::ScreenSharing,
};
use crate::{
    AudioSink, AudioSource, DeviceChoice, DeviceProblem, FrameReceiver, FrameSender, ScreenEvent, ScreenSource,
    VideoSink,
    capture::CameraEvent,
    frame_log::FrameLog,
    frame_slot,
    peer::{Kind, Meter, Peer},
    pipeline::{
        Timing,
        video_recv::{VideoRecv, VideoRecvEvent},
        video_send::{Budget, VideoSend},
        voice::{Voice, VoiceBudget, VoiceEvent},
    },
    rate::{Allocation, Bitrate, Demand, packet_size},
    rtp::{IncomingPacket, Network, OutgoingPacket, PathReport},
};

/// Events of devices and pipelines that wait for the session.
const MAX_EVENTS: usize = 64;
/// Voice that waits for the connection: a second of it.
const MAX_VOICE_PACKETS: usize = 50;
/// Video that waits for the connection: several key frames. The encoder leaves frames out when it is half full.
const MAX_VIDEO_PACKETS: usize = 256;

/// What is divided until the path has been measured.
const FIRST_GUESS_BPS: u32 = 1_500_000;

/// What happens in devices and pipelines.
#[derive(Debug)]
pub(super) enum MediaEvent {
    /// Of the camera with this number.
    Camera(u64, CameraEvent),
    /// Of the captured screen with this number.
    Screen(u64, ScreenEvent),
    Problem(DeviceProblem),
    InUse(DeviceChoice),
    Refused(DeviceChoice, DeviceProblem),
    FirstVideoFrame,
    FirstAudio,
    FirstScreenFrame,
    KeyFrameNeeded(Kind),
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
    sharing: ScreenSharing,
    screen_recv: Option<VideoRecv>,
    /// Who gets what of the path.
    allocation: Allocation,
    network: Network,
}

/// What a session was told to use.
struct Sources {
    microphone: AudioSource,
    speaker: AudioSink,
    voice_processing: bool,
    video_out: VideoSink,
    screen_out: VideoSink,
    remote: FrameSender,
    remote_screen: FrameSender,
    timing: Timing,
}

impl Media {
    /// Opens nothing yet.
    pub(super) fn new(config: SessionConfig) -> (Self, mpsc::Receiver<MediaEvent>) {
        let (events, outbox) = mpsc::channel(MAX_EVENTS);
        let frame_log = config
            .frame_log
            .and_then(|path| FrameLog::create(&path).inspect_err(|error| tracing::warn!(%error, "no frame log")).ok());
        let sources = Sources {
            microphone: config.microphone,
            speaker: config.speaker,
            voice_processing: config.voice_processing,
            video_out: config.video_out,
            screen_out: config.screen_out,
            remote: config.remote,
            remote_screen: config.remote_screen,
            timing: Timing { log: frame_log.clone(), ..Timing::default() },
        };
        let captured = frame_slot(|| {});
        let tell = {
            let events = events.clone();
            Box::new(move || -> Tell {
                let tell = teller(&events);
                Box::new(move |number, event| tell(MediaEvent::Camera(number, event)))
            })
        };
        let opener = Opener { outputs: vec![config.preview, captured.0.clone()], frame_log, tell };
        let media = Self {
            sources,
            events,
            camera: CameraControl::new(config.camera, opener),
            camera_on: true,
            microphone_on: true,
            captured,
            voice: None,
            video_send: None,
            video_recv: None,
            sharing: ScreenSharing::new(),
            screen_recv: None,
            allocation: Allocation::full(Budget::default().sustainable),
            network: Network { available_bps: FIRST_GUESS_BPS, sustainable_bps: FIRST_GUESS_BPS, ..Network::default() },
        };
        (media, outbox)
    }

    /// Opens the camera, unless it is turned off or there is none to open.
    pub(super) fn open_camera(&mut self) {
        if self.camera_on {
            self.camera.open();
        }
    }

    /// Turns the own picture on or off. `in_use`: on opens the camera now.
    pub(super) fn set_camera(&mut self, on: bool, in_use: bool) -> Option<SessionEvent> {
        self.camera_on = on;
        if !on {
            return self.camera.close();
        }
        if in_use {
            self.open_camera();
            self.request_key_frame();
        }
        None
    }

    /// Uses another device from now on. What is known of it at once; the rest comes as events. `in_use`: a camera is to be
    /// open.
    pub(super) fn use_device(&mut self, choice: DeviceChoice, in_use: bool) -> Option<SessionEvent> {
        match (choice, &self.voice) {
            (DeviceChoice::Camera(source), _) => {
                let known = self.camera.switch(source);
                if in_use {
                    self.open_camera();
                }
                known
            }
            (DeviceChoice::Microphone(source), Some(voice)) => {
                voice.use_microphone(source);
                None
            }
            (DeviceChoice::Speaker(sink), Some(voice)) => {
                voice.use_speaker(sink);
                None
            }
            (DeviceChoice::Microphone(source), None) => {
                self.sources.microphone = source.clone();
                Some(SessionEvent::DeviceInUse(DeviceChoice::Microphone(source)))
            }
            (DeviceChoice::Speaker(sink), None) => {
                self.sources.speaker = sink.clone();
                Some(SessionEvent::DeviceInUse(DeviceChoice::Speaker(sink)))
            }
        }
    }

    /// What a camera did, in the session's words.
    pub(super) fn on_camera(&mut self, number: u64, event: CameraEvent) -> Vec<SessionEvent> {
        self.camera.on_event(number, event)
    }

    /// Waits until a camera that is being closed is closed; for ever when there is none. Cancel safe.
    pub(super) async fn camera_closed(&mut self) {
        self.camera.closed().await;
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
        let tell = teller(&self.events);
        let Sources { microphone, speaker, voice_processing, timing, .. } = &self.sources;
        let timing = timing.clone();
        let voice = Voice::open(microphone, speaker, *voice_processing, timing, outgoing, incoming, move |event| {
            tell(match event {
                VoiceEvent::FirstSound => MediaEvent::FirstAudio,
                VoiceEvent::Problem(problem) => MediaEvent::Problem(problem),
                VoiceEvent::InUse(choice) => MediaEvent::InUse(choice),
                VoiceEvent::Refused(choice, problem) => MediaEvent::Refused(choice, problem),
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
        meter: &Arc<Meter>,
    ) -> io::Result<mpsc::Receiver<OutgoingPacket>> {
        let tell = teller(&self.events);
        let (remote, video_out) = (self.sources.remote.clone(), self.sources.video_out.clone());
        let video_recv = VideoRecv::spawn(incoming, remote, video_out, self.sources.timing.clone(), move |event| {
            tell(match event {
                VideoRecvEvent::FirstFrame => MediaEvent::FirstVideoFrame,
                VideoRecvEvent::KeyFrameNeeded => MediaEvent::KeyFrameNeeded(Kind::Video),
                VideoRecvEvent::Problem(problem) => MediaEvent::Problem(problem),
            });
        })?;
        self.video_recv = Some(video_recv);
        let (outgoing, packets) = mpsc::channel(MAX_VIDEO_PACKETS);
        let video_send = VideoSend::spawn(self.captured.1.clone(), outgoing, &meter.video_codecs())?;
        video_send.follow(Arc::clone(meter));
        self.video_send = Some(video_send);
        Ok(packets)
    }

    /// Starts to decode the far end's screen.
    pub(super) fn receive_screen(&mut self, incoming: std::sync::mpsc::Receiver<IncomingPacket>) -> io::Result<()> {
        let tell = teller(&self.events);
        let (remote, out) = (self.sources.remote_screen.clone(), self.sources.screen_out.clone());
        // No bar codes of the camera's in it; but what is said of it is to be seen when it is heard.
        let timing = Timing { log: None, ..self.sources.timing.clone() };
        let screen_recv = VideoRecv::spawn(incoming, remote, out, timing, move |event| {
            tell(match event {
                VideoRecvEvent::FirstFrame => MediaEvent::FirstScreenFrame,
                VideoRecvEvent::KeyFrameNeeded => MediaEvent::KeyFrameNeeded(Kind::Screen),
                VideoRecvEvent::Problem(problem) => MediaEvent::Problem(problem),
            });
        })?;
        self.screen_recv = Some(screen_recv);
        Ok(())
    }

    /// The far end has shared a screen before.
    pub(super) const fn receives_screen(&self) -> bool {
        self.screen_recv.is_some()
    }

    /// Shares a screen or window. Gives the packets to send, the first time.
    pub(super) fn share(
        &mut self,
        source: ScreenSource,
        meter: &Arc<Meter>,
    ) -> io::Result<Option<mpsc::Receiver<OutgoingPacket>>> {
        let tell = teller(&self.events);
        let packets = self.sharing.begin(
            source,
            meter,
            Box::new(move |number, event| tell(MediaEvent::Screen(number, event))),
        )?;
        self.adapt(self.network);
        Ok(packets)
    }

    /// Shares nothing any more.
    pub(super) fn stop_sharing(&mut self) -> Option<SessionEvent> {
        let said = self.sharing.end();
        self.adapt(self.network);
        said
    }

    /// What a capture did, in the session's words.
    pub(super) fn on_screen(&mut self, number: u64, event: ScreenEvent) -> Option<SessionEvent> {
        let said = self.sharing.on_event(number, event);
        self.adapt(self.network);
        said
    }

    /// Ends what [`Self::start_video`] started, in the background.
    pub(super) fn stop_video(&mut self) {
        let pipelines = (self.video_send.take(), self.video_recv.take());
        spawn_blocking(move || drop(pipelines));
    }

    /// How loud the microphone was since this was asked last, dBFS.
    pub(super) fn microphone_dbfs(&self) -> f32 {
        self.voice.as_ref().map_or(-127.0, Voice::microphone_dbfs)
    }

    /// The far end can't go on without a key frame.
    pub(super) fn request_key_frame(&self) {
        if let Some(video_send) = &self.video_send {
            video_send.request_key_frame();
        }
    }

    /// The same for everything that is sent.
    pub(super) fn request_key_frames(&self) {
        self.request_key_frame();
        if let Some(sender) = self.sharing.sender() {
            sender.request_key_frame();
        }
    }

    /// What was sent of the pictures is lost.
    pub(super) fn begin_picture_anew(&self) {
        self.video_send.iter().chain(self.sharing.sender()).for_each(VideoSend::begin_anew);
    }

    /// The far end says so itself, of what it had when it said so.
    pub(super) fn key_frame_requested(&self, kind: Kind) {
        let sender = match kind {
            Kind::Audio => None,
            Kind::Video => self.video_send.as_ref(),
            Kind::Screen => self.sharing.sender(),
        };
        if let Some(sender) = sender {
            sender.key_frame_requested();
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
            // The picture goes by what becomes of each packet.
            Kind::Video | Kind::Screen => {}
        }
    }

    /// The path carries more or less than before: divides it anew, the voice first.
    pub(super) fn adapt(&mut self, network: Network) {
        let with_picture = self.video_send.is_some() && self.camera_on && self.camera.is_there();
        let demand =
            Demand { with_picture, with_screen: self.sharing.is_on(), loss: network.loss, repair: network.repair };
        self.network = network;
        let available = Bitrate::from_bps(network.available_bps);
        let sustained = self.allocation.divide(Bitrate::from_bps(network.sustainable_bps), demand);
        self.allocation = self.allocation.divide(available, demand);
        if let Some(video_send) = &self.video_send {
            video_send.set_budget(Budget {
                bitrate: self.allocation.picture,
                sustainable: sustained.picture.or(self.allocation.picture).unwrap_or_default(),
                packet_size: packet_size(available),
            });
        }
        self.sharing.set_budget(Budget {
            bitrate: self.allocation.screen,
            sustainable: sustained.screen.or(self.allocation.screen).unwrap_or_default(),
            packet_size: packet_size(available),
        });
        if let Some(voice) = &self.voice {
            voice.set_budget(VoiceBudget {
                bitrate: self.allocation.voice,
                packets: self.allocation.voice_packets,
                pairs: network.wants_pairs,
            });
        }
    }

    /// Tells the pipelines of the connection, and fills in what they know.
    pub(super) fn fill(&self, stats: &mut Stats, peer: &Peer) {
        if let Some(video_recv) = &self.video_recv {
            if let Some(rtt) = peer.meter().rtt() {
                video_recv.set_path(rtt, peer.meter().loss());
            }
            stats.video_recv = video_recv.stats();
        }
        if let Some(video_send) = &self.video_send {
            stats.video_send = video_send.stats();
        }
        if let Some(screen_recv) = &self.screen_recv {
            if let Some(rtt) = peer.meter().rtt() {
                screen_recv.set_path(rtt, peer.meter().loss());
            }
            // A screen that stands still is as it should be.
            stats.screen_recv = VideoRecvStats { freezes: 0, ..screen_recv.stats() };
        }
        stats.screen_send = self.sharing.stats();
        stats.voice_target_bps = self.allocation.voice.as_bps();
        if let Some(voice) = &self.voice {
            stats.audio_recv = voice.stats();
        }
    }

    /// Closes the devices, then the pipelines, and waits for that. Each device has a thread to wait on, so that a slow
    /// one holds up no other.
    pub(super) async fn close(self) {
        let devices = self.camera.finish().into_iter().chain(self.sharing.finish()).collect::<Vec<_>>();
        let voice = spawn_blocking(move || drop(self.voice));
        let pipelines = spawn_blocking(move || drop((self.video_send, self.video_recv, self.screen_recv)));
        for closing in devices.into_iter().chain([voice, pipelines]) {
            if let Err(error) = closing.await {
                tracing::error!(%error, "closing a device or a pipeline");
            }
        }
        self.sources.remote.clear();
        self.sources.remote_screen.clear();
    }
}

/// Brings events from the threads of devices and pipelines to the session.
fn teller(events: &mpsc::Sender<MediaEvent>) -> impl Fn(MediaEvent) + Send + Sync + 'static {
    let events = events.clone();
    move |event| {
        if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
            tracing::warn!(?event, "an event of a device was lost");
        }
    }
}
