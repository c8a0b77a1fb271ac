//! The task of a trial: devices and pipelines, and the recording between them.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{Command, TrialConfig, TrialEvent, TrialPhase, TrialProgress, TrialResult};
use crate::{
    CameraState, Ice, Interfaces, SessionConfig, SessionEvent, VideoSink, VideoSource, clock, frame_slot,
    rtp::{IncomingPacket, OutgoingPacket},
    session::media::{Media, MediaEvent},
};

/// How long is recorded.
const RECORDED: Duration = Duration::from_secs(5);
/// Time for the jitter buffers to give what they hold, after the last packet.
const TAIL: Duration = Duration::from_millis(500);
/// How often the level is told.
const TICK: Duration = Duration::from_millis(50);
/// Packets of a recording: what 5 s at the highest bitrates come to, several times.
const MAX_PACKETS: usize = 16_384;
/// Room for events that is kept free of levels.
const RESERVED_EVENTS: usize = 32;
/// Packets on their way to a decoder.
const MAX_INCOMING: usize = 512;

/// The task of a trial.
pub(super) struct Driver {
    events: mpsc::Sender<TrialEvent>,
    media: Media,
    media_events: mpsc::Receiver<MediaEvent>,
    voice: Pipe,
    /// While it records or plays.
    video: Option<Pipe>,
    phase: Phase,
    camera_state: CameraState,
    ticks: Interval,
}

/// Both ends of a pipeline, where a network would be.
struct Pipe {
    sent: mpsc::Receiver<OutgoingPacket>,
    back: SyncSender<IncomingPacket>,
}

enum Phase {
    Watching,
    Recording(Recording),
    Playing { recording: Recording, since: Instant, next: usize },
}

struct Recording {
    since: Instant,
    packets: Vec<Recorded>,
    microphone_dbfs: f32,
    sent_dbfs: f32,
    pictures: u64,
}

struct Recorded {
    after: Duration,
    kind: Kind,
    packet: OutgoingPacket,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Voice,
    Video,
}

/// What wakes the task.
enum Wake {
    Command(Command),
    Media(MediaEvent),
    Sent(Kind, OutgoingPacket),
    CameraClosed,
    Tick,
    PlayNext,
    /// The trial's owner is gone.
    Dropped,
}

impl Driver {
    pub(super) fn new(config: TrialConfig, events: mpsc::Sender<TrialEvent>) -> Self {
        let (mut media, media_events) = Media::new(SessionConfig {
            with_video: config.camera != VideoSource::None,
            camera: config.camera,
            microphone: config.microphone,
            speaker: config.speaker,
            voice_processing: config.voice_processing,
            video_out: VideoSink::None,
            screen_out: VideoSink::None,
            interfaces: Interfaces::Loopback,
            ice: Ice::default(),
            preview: config.preview,
            remote: config.playback,
            // Nobody shares a screen with oneself.
            remote_screen: frame_slot(|| {}).0,
            frame_log: None,
            video_codec: None,
        });
        media.open_camera();
        let (back, incoming) = sync_channel(MAX_INCOMING);
        let voice = Pipe { sent: media.start_voice(incoming), back };
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let camera_state = CameraState::Closed;
        Self { events, media, media_events, voice, video: None, phase: Phase::Watching, camera_state, ticks }
    }

    pub(super) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            match self.wait(&mut commands).await {
                Wake::Command(Command::Record) => self.record(),
                Wake::Command(Command::UseDevice(choice)) => {
                    let known = self.media.use_device(choice, true);
                    self.tell_all(known);
                }
                Wake::Media(event) => self.on_media(event),
                Wake::Sent(kind, packet) => self.on_packet(kind, packet),
                Wake::CameraClosed => {}
                Wake::Tick => self.tick(),
                Wake::PlayNext => self.play_next(),
                Wake::Dropped => break,
            }
        }
        drop((self.voice, self.video));
        self.media.close().await;
    }

    async fn wait(&mut self, commands: &mut mpsc::Receiver<Command>) -> Wake {
        let due = match &self.phase {
            Phase::Playing { recording, since, next } => recording.packets.get(*next).map(|next| *since + next.after),
            Phase::Watching | Phase::Recording(_) => None,
        };
        let play = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let video = async {
            match &mut self.video {
                Some(video) => video.sent.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            command = commands.recv() => command.map_or(Wake::Dropped, Wake::Command),
            Some(event) = self.media_events.recv() => Wake::Media(event),
            () = play => Wake::PlayNext,
            Some(packet) = self.voice.sent.recv() => Wake::Sent(Kind::Voice, packet),
            Some(packet) = video => Wake::Sent(Kind::Video, packet),
            () = self.media.camera_closed() => Wake::CameraClosed,
            _ = self.ticks.tick() => Wake::Tick,
        }
    }

    fn record(&mut self) {
        if !matches!(self.phase, Phase::Watching) {
            return;
        }
        let (back, incoming) = sync_channel(MAX_INCOMING);
        match self.media.start_video(incoming, &Arc::default()) {
            Ok(sent) => self.video = Some(Pipe { sent, back }),
            Err(error) => tracing::error!(%error, "a trial without a picture"),
        }
        let _before = self.media.microphone_dbfs();
        let (microphone_dbfs, sent_dbfs) = (-127.0, -127.0);
        let since = Instant::now();
        self.phase =
            Phase::Recording(Recording { since, packets: Vec::new(), microphone_dbfs, sent_dbfs, pictures: 0 });
    }

    fn on_packet(&mut self, kind: Kind, packet: OutgoingPacket) {
        let Phase::Recording(recording) = &mut self.phase else { return };
        if let Some(level) = packet.level {
            recording.sent_dbfs = recording.sent_dbfs.max(-f32::from(level));
        }
        recording.pictures += u64::from(kind == Kind::Video && packet.marker);
        if recording.packets.len() < MAX_PACKETS {
            recording.packets.push(Recorded { after: recording.since.elapsed(), kind, packet });
        }
    }

    fn play_next(&mut self) {
        let Phase::Playing { recording, next, .. } = &mut self.phase else { return };
        let Some(Recorded { kind, packet, .. }) = recording.packets.get(*next) else { return };
        *next += 1;
        let pipe = match kind {
            Kind::Voice => Some(&self.voice),
            Kind::Video => self.video.as_ref(),
        };
        let &OutgoingPacket {
            sequence,
            timestamp,
            marker,
            ref payload,
            codec,
            captured_unix_us: _,
            level: _,
            copies: _,
        } = packet;
        let payload = payload.clone();
        // When it was captured is long ago: no delay is to be measured.
        let packet = IncomingPacket {
            sequence,
            timestamp,
            marker,
            payload,
            codec,
            arrived: clock::now(),
            captured_unix_us: None,
        };
        if pipe.is_some_and(|pipe| pipe.back.try_send(packet).is_err()) {
            tracing::debug!("a pipeline of the trial is behind");
        }
    }

    fn tick(&mut self) {
        let level_dbfs = self.media.microphone_dbfs();
        let phase = match std::mem::replace(&mut self.phase, Phase::Watching) {
            Phase::Watching => TrialPhase::Watching,
            Phase::Recording(mut recording) => {
                recording.microphone_dbfs = recording.microphone_dbfs.max(level_dbfs);
                let left = RECORDED.saturating_sub(recording.since.elapsed());
                if left.is_zero() {
                    self.phase = Phase::Playing { recording, since: Instant::now(), next: 0 };
                    TrialPhase::Playing(RECORDED)
                } else {
                    self.phase = Phase::Recording(recording);
                    TrialPhase::Recording(left)
                }
            }
            Phase::Playing { recording, since, next } => {
                let left = (RECORDED + TAIL).saturating_sub(since.elapsed());
                if left.is_zero() {
                    let Recording { microphone_dbfs, sent_dbfs, pictures, .. } = recording;
                    self.video = None;
                    self.media.stop_video();
                    self.tell(TrialEvent::Over(TrialResult { microphone_dbfs, sent_dbfs, pictures }));
                    TrialPhase::Watching
                } else {
                    self.phase = Phase::Playing { recording, since, next };
                    TrialPhase::Playing(left)
                }
            }
        };
        if self.events.capacity() > RESERVED_EVENTS {
            self.tell(TrialEvent::Progress(TrialProgress { level_dbfs, phase }));
        }
    }

    fn on_media(&mut self, event: MediaEvent) {
        match event {
            MediaEvent::Camera(number, event) => {
                let said = self.media.on_camera(number, event);
                self.tell_all(said);
            }
            MediaEvent::Problem(problem) => self.tell(TrialEvent::Device(problem)),
            MediaEvent::InUse(choice) => self.tell(TrialEvent::DeviceInUse(choice)),
            MediaEvent::Refused(choice, problem) => self.tell(TrialEvent::DeviceRefused(choice, problem)),
            MediaEvent::FirstVideoFrame
            | MediaEvent::FirstAudio
            | MediaEvent::KeyFrameNeeded(_)
            | MediaEvent::Screen(..)
            | MediaEvent::FirstScreenFrame => {}
        }
    }

    /// Tells what devices do, of which a session tells much more.
    fn tell_all(&mut self, events: impl IntoIterator<Item = SessionEvent>) {
        for event in events {
            match event {
                SessionEvent::Camera(state) if state == self.camera_state => {}
                SessionEvent::Camera(state) => {
                    self.camera_state = state;
                    self.tell(TrialEvent::Camera(state));
                }
                SessionEvent::Device(problem) => self.tell(TrialEvent::Device(problem)),
                SessionEvent::DeviceInUse(choice) => self.tell(TrialEvent::DeviceInUse(choice)),
                SessionEvent::DeviceRefused(choice, problem) => self.tell(TrialEvent::DeviceRefused(choice, problem)),
                SessionEvent::OfferReady(_)
                | SessionEvent::AnswerReady(_)
                | SessionEvent::DescriptionRefused(_)
                | SessionEvent::LocalCandidate(_)
                | SessionEvent::Connected(_)
                | SessionEvent::Disconnected
                | SessionEvent::Failed(_)
                | SessionEvent::FirstVideoFrame
                | SessionEvent::FirstAudio
                | SessionEvent::FirstScreenFrame
                | SessionEvent::Sharing(_)
                | SessionEvent::Stats(_) => {}
            }
        }
    }

    fn tell(&self, event: TrialEvent) {
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            tracing::warn!(?event, "nobody reads the trial's events");
        }
    }
}
