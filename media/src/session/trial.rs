//! A call with oneself, without a network: what the camera and the microphone give goes through the encoders, waits, and
//! comes back through the decoders to screen and loudspeaker.
//!
//! Between recordings the camera is shown and the microphone measured. Nothing is kept.

mod driver;

use std::time::Duration;

use tokio::{sync::mpsc, task::JoinHandle};

use self::driver::Driver;
use super::{CLOSE_PATIENCE, CameraState, DeviceProblem};
use crate::{AudioSink, AudioSource, DeviceChoice, FrameSender, VideoSource};

const MAX_COMMANDS: usize = 16;
/// Events that wait to be read: a few seconds of levels.
const MAX_EVENTS: usize = 64;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FrameReceiver, clock, frame_mark, frame_slot};

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
