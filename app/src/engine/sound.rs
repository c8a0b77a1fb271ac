//! The tones that tell what a call does.

use parlor_media::audio::{Tone, Tones};

use super::Engine;
use crate::call::{Progress, State};

impl Engine {
    /// Plays what the state calls for, until the state changes.
    pub(super) fn sound(&mut self) {
        let wanted = match self.machine.state() {
            State::Ringing(_) => Some(Tone::Ring),
            State::Inviting(inviting) => {
                matches!(inviting.progress, Progress::RingingThere { .. }).then_some(Tone::Ringback)
            }
            State::Idle
            | State::Answering(_)
            | State::Negotiating(_)
            | State::Connected(_)
            | State::Reconnecting(_) => None,
        };
        if wanted == self.sounding || !self.config.tones {
            return;
        }
        self.sounding = wanted;
        match wanted {
            Some(tone) => self.tones().play(tone),
            None => self.tones().stop(),
        }
    }

    pub(super) fn play_once(&mut self, tone: Tone) {
        if self.config.tones {
            self.sounding = None;
            self.tones().play(tone);
        }
    }

    pub(super) fn tones(&mut self) -> &Tones {
        let speaker = self.config.overrides.speaker.as_ref().unwrap_or(&self.settings.speaker);
        self.tones.get_or_insert_with(|| Tones::open(speaker))
    }
}
