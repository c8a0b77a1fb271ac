//! Trying camera and sound before a call: the media's [`Trial`], and what the person sees of it.

use parlor_media::{CameraState, DeviceChoice, Trial, TrialConfig, TrialEvent, TrialPhase, TrialProgress, TrialResult};
use tokio::sync::mpsc;

use super::{Done, Engine, Notice, millis_since, now};

/// How a trial of camera and sound goes.
#[derive(Clone, Debug, PartialEq)]
pub struct TrialView {
    /// What the camera does.
    pub camera: CameraState,
    /// How loud the microphone is, dBFS.
    pub level_dbfs: f32,
    /// What it does.
    pub phase: TrialPhase,
    /// What the last recording came to.
    pub heard: Option<Heard>,
}

/// What a recording came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Heard {
    /// A voice.
    Voice,
    /// Something, but no voice that others could understand.
    TooQuiet,
    /// Nothing at all: a microphone that is muted, or not permitted, gives perfect silence.
    Silence,
}

/// Below this, not even a room is heard.
const SILENCE_DBFS: f32 = -75.0;
/// A voice is louder.
const VOICE_DBFS: f32 = -45.0;

impl Heard {
    fn of(result: &TrialResult) -> Self {
        if result.microphone_dbfs < SILENCE_DBFS {
            Self::Silence
        } else if result.sent_dbfs < VOICE_DBFS {
            Self::TooQuiet
        } else {
            Self::Voice
        }
    }
}

/// A trial that goes on.
pub(super) struct ActiveTrial {
    trial: Trial,
    events: mpsc::Receiver<TrialEvent>,
    pub(super) view: TrialView,
}

impl ActiveTrial {
    pub(super) async fn next(&mut self) -> Option<TrialEvent> {
        self.events.recv().await
    }

    pub(super) fn use_device(&self, choice: DeviceChoice) {
        self.trial.use_device(choice);
    }
}

impl Engine {
    /// Only between calls: a call needs the devices itself.
    pub(super) fn start_trial(&mut self) {
        if self.trial.is_some() || !self.machine.is_free() {
            return;
        }
        self.stop_scanning();
        let overrides = &self.config.overrides;
        let (trial, events) = Trial::spawn(TrialConfig {
            camera: self.camera().clone(),
            microphone: overrides.microphone.as_ref().unwrap_or(&self.settings.microphone).clone(),
            speaker: overrides.speaker.as_ref().unwrap_or(&self.settings.speaker).clone(),
            voice_processing: self.settings.voice_processing && !overrides.no_voice_processing,
            preview: self.slots.preview.clone(),
            playback: self.slots.remote.clone(),
        });
        let view =
            TrialView { camera: CameraState::Closed, level_dbfs: -127.0, phase: TrialPhase::Watching, heard: None };
        self.trial = Some(ActiveTrial { trial, events, view });
        self.list_devices();
    }

    pub(super) fn stop_trial(&mut self) {
        let Some(ActiveTrial { trial, .. }) = self.trial.take() else { return };
        let asked = now();
        let (preview, remote) = (self.slots.preview.clone(), self.slots.remote.clone());
        self.work.spawn(async move {
            trial.close().await;
            preview.clear();
            remote.clear();
            Done::TrialClosed { after_ms: millis_since(asked) }
        });
    }

    pub(super) fn record_trial(&mut self) {
        if let Some(active) = &mut self.trial {
            active.view.heard = None;
            active.trial.record();
        }
    }

    pub(super) fn on_trial(&mut self, event: TrialEvent) {
        let Some(ActiveTrial { view, .. }) = &mut self.trial else { return };
        match event {
            TrialEvent::Camera(state) => view.camera = state,
            TrialEvent::Progress(TrialProgress { level_dbfs, phase }) => {
                (view.level_dbfs, view.phase) = (level_dbfs, phase);
            }
            TrialEvent::Over(result) => view.heard = Some(Heard::of(&result)),
            TrialEvent::Device(problem) => self.notify(Notice::Device(problem)),
            TrialEvent::DeviceInUse(choice) => self.keep_choice(choice),
            TrialEvent::DeviceRefused(choice, problem) => self.on_device_refused(choice, problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_silence_a_quiet_room_and_a_voice_are_told_apart() {
        let heard = |microphone_dbfs, sent_dbfs| Heard::of(&TrialResult { microphone_dbfs, sent_dbfs, pictures: 150 });
        assert_eq!(heard(-127.0, -127.0), Heard::Silence);
        assert_eq!(heard(-50.0, -70.0), Heard::TooQuiet);
        assert_eq!(heard(-20.0, -18.0), Heard::Voice);
    }
}
