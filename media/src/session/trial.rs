//! A call with oneself, without a network: what the camera and the microphone give goes through the encoders, waits, and
//! comes back through the decoders to screen and loudspeaker.
//!
//! Between recordings the camera is shown and the microphone measured. Nothing is kept.

use std::{
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, Interval, MissedTickBehavior},
};

use super::{
    CLOSE_PATIENCE, CameraState, DeviceProblem, SessionConfig, SessionEvent,
    media::{Media, MediaEvent},
};
use crate::{
    AudioSink, AudioSource, DeviceChoice, FrameSender, Ice, Interfaces, VideoSink, VideoSource, clock,
    rtp::{IncomingPacket, OutgoingPacket},
};

/// How long is recorded.
const RECORDED: Duration = Duration::from_secs(5);
/// Time for the jitter buffers to give what they hold, after the last packet.
const TAIL: Duration = Duration::from_millis(500);
/// How often the level is told.
const TICK: Duration = Duration::from_millis(50);
/// Packets of a recording: what 5 s at the highest bitrates come to, several times.
const MAX_PACKETS: usize = 16_384;
const MAX_COMMANDS: usize = 16;
/// Events that wait to be read: a few seconds of levels.
const MAX_EVENTS: usize = 64;
/// Room for events that is kept free of levels.
const RESERVED_EVENTS: usize = 32;
/// Packets on their way to a decoder.
const MAX_INCOMING: usize = 512;

/// What a trial is made of.
#[derive(Debug)]
pub struct TrialConfig {
    /// Camera; [`VideoSource::None`] for a trial of the voice alone.
    pub camera: VideoSource,
    /// Microphone.
    pub microphone: AudioSource,
    /// Loudspeaker.
    pub speaker: AudioSink,
    /// As in a call.
    pub voice_processing: bool,
    /// What the camera sees.
    pub preview: FrameSender,
    /// What was recorded, as others would see it.
    pub playback: FrameSender,
}

/// What happens in a trial.
#[derive(Clone, Debug, PartialEq)]
pub enum TrialEvent {
    /// The camera gives pictures, or no longer.
    Camera(CameraState),
    /// Something about a device that the person should know.
    Device(DeviceProblem),
    /// What was chosen is in use.
    DeviceInUse(DeviceChoice),
    /// What was chosen can't be used: the one before stays.
    DeviceRefused(DeviceChoice, DeviceProblem),
    /// Twenty times a second.
    Progress(TrialProgress),
    /// The recording was played.
    Over(TrialResult),
}

/// Where a trial stands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialProgress {
    /// How loud the microphone is, before any processing, dBFS.
    pub level_dbfs: f32,
    /// What it does.
    pub phase: TrialPhase,
}

/// What a trial does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrialPhase {
    /// Shows the camera and measures the microphone.
    #[default]
    Watching,
    /// Records, for so much longer.
    Recording(Duration),
    /// Plays what was recorded, for so much longer.
    Playing(Duration),
}

/// What was recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrialResult {
    /// The loudest 10 ms of the microphone, before any processing, dBFS.
    pub microphone_dbfs: f32,
    /// The loudest 20 ms of what would have been sent, dBFS.
    pub sent_dbfs: f32,
    /// Pictures that would have been sent.
    pub pictures: u64,
}

/// A call with oneself. Dropping it stops everything in the background; [`Trial::close`] also waits.
#[derive(Debug)]
pub struct Trial {
    commands: mpsc::Sender<Command>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
enum Command {
    Record,
    UseDevice(DeviceChoice),
}

impl Trial {
    /// Opens camera, microphone and loudspeaker, on the current tokio runtime.
    pub fn spawn(config: TrialConfig) -> (Self, mpsc::Receiver<TrialEvent>) {
        let (commands, inbox) = mpsc::channel(MAX_COMMANDS);
        let (events, outbox) = mpsc::channel(MAX_EVENTS);
        let task = tokio::spawn(Driver::new(config, events).run(inbox));
        (Self { commands, task }, outbox)
    }

    /// Records, then plays what was recorded. Nothing, while that is being done already.
    pub fn record(&self) {
        self.command(Command::Record);
    }

    /// Uses another device from now on, as in a call.
    pub fn use_device(&self, choice: DeviceChoice) {
        self.command(Command::UseDevice(choice));
    }

    /// Releases every device, and waits for that (at most a second).
    pub async fn close(self) {
        drop(self.commands);
        if tokio::time::timeout(CLOSE_PATIENCE, self.task).await.is_err() {
            tracing::warn!("a device is slow to close; it goes on in the background");
        }
    }

    fn command(&self, command: Command) {
        if let Err(error) = self.commands.try_send(command) {
            tracing::warn!(%error, "the trial takes no more commands");
        }
    }
}

/// The task of a trial.
struct Driver {
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
    fn new(config: TrialConfig, events: mpsc::Sender<TrialEvent>) -> Self {
        let (mut media, media_events) = Media::new(SessionConfig {
            with_video: config.camera != VideoSource::None,
            camera: config.camera,
            microphone: config.microphone,
            speaker: config.speaker,
            voice_processing: config.voice_processing,
            video_out: VideoSink::None,
            interfaces: Interfaces::Loopback,
            ice: Ice::default(),
            preview: config.preview,
            remote: config.playback,
            frame_log: None,
        });
        media.open_camera();
        let (back, incoming) = sync_channel(MAX_INCOMING);
        let voice = Pipe { sent: media.start_voice(incoming), back };
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let camera_state = CameraState::Closed;
        Self { events, media, media_events, voice, video: None, phase: Phase::Watching, camera_state, ticks }
    }

    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
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
        let OutgoingPacket { sequence, timestamp, marker, payload, captured_unix_us: _, level: _, copies: _ } = packet;
        let (sequence, timestamp, marker, payload) = (*sequence, *timestamp, *marker, payload.clone());
        // When it was captured is long ago: no delay is to be measured.
        let packet =
            IncomingPacket { sequence, timestamp, marker, payload, arrived: clock::now(), captured_unix_us: None };
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
            MediaEvent::FirstVideoFrame | MediaEvent::FirstAudio | MediaEvent::KeyFrameNeeded => {}
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameReceiver, frame_mark, frame_slot};

    struct Bench {
        trial: Trial,
        events: mpsc::Receiver<TrialEvent>,
        preview: FrameReceiver,
        playback: FrameReceiver,
    }

    fn open(microphone: AudioSource, speaker: AudioSink) -> Bench {
        let ((to_preview, preview), (to_playback, playback)) = (frame_slot(|| {}), frame_slot(|| {}));
        let camera = VideoSource::TestCard;
        let config = TrialConfig {
            camera,
            microphone,
            speaker,
            voice_processing: true,
            preview: to_preview,
            playback: to_playback,
        };
        let (trial, events) = Trial::spawn(config);
        Bench { trial, events, preview, playback }
    }

    impl Bench {
        async fn until<T>(&mut self, wanted: impl Fn(&TrialEvent) -> Option<T>) -> T {
            let patience = Duration::from_secs(30);
            let found = async {
                loop {
                    let event = self.events.recv().await.unwrap();
                    if let Some(found) = wanted(&event) {
                        return found;
                    }
                }
            };
            tokio::time::timeout(patience, found).await.unwrap()
        }

        async fn result(&mut self) -> TrialResult {
            self.until(|event| match event {
                TrialEvent::Over(result) => Some(*result),
                _ => None,
            })
            .await
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_was_recorded_is_seen_and_heard_twice_if_one_wants() {
        let directory = tempfile::tempdir().unwrap();
        let heard = directory.path().join("heard.wav");
        let mut bench = open(AudioSource::Tone, AudioSink::File(heard.clone()));
        bench
            .until(|event| match event {
                TrialEvent::Progress(progress) => (progress.level_dbfs > -20.0).then_some(()),
                _ => None,
            })
            .await;
        for turn in 1..=2 {
            bench.trial.record();
            let result = bench.result().await;
            assert!(result.microphone_dbfs > -20.0 && result.sent_dbfs > -20.0, "{result:?}");
            assert!(result.pictures > 20, "{result:?}");
            let last = bench.playback.take().expect("pictures came back");
            assert!(frame_mark::read(&last).is_some(), "turn {turn}: it can be read");
        }
        assert!(bench.preview.take().is_some(), "the camera goes on");
        bench.trial.close().await;
        assert!(bench.preview.is_closed() && bench.playback.is_closed());
        let samples: Vec<i16> = hound::WavReader::open(heard).unwrap().into_samples().map(Result::unwrap).collect();
        let loud = samples.chunks(480).filter(|piece| piece.iter().any(|sample| sample.abs() > 3_000)).count();
        assert!((800..1_150).contains(&loud), "the tone was heard for {} ms in two turns", loud * 10);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn silence_is_told_as_silence() {
        let mut bench = open(AudioSource::None, AudioSink::None);
        bench.trial.record();
        assert!(bench.result().await.microphone_dbfs < -100.0);
        bench.trial.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everything_is_released_in_the_middle_of_a_recording() {
        let mut bench = open(AudioSource::Tone, AudioSink::None);
        bench.trial.record();
        bench
            .until(|event| match event {
                TrialEvent::Progress(TrialProgress { phase: TrialPhase::Recording(_), .. }) => Some(()),
                _ => None,
            })
            .await;
        let start = clock::now();
        bench.trial.close().await;
        assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
        assert!(bench.preview.is_closed(), "the camera is off");
    }
}
