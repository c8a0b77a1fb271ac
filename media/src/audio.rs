//! Sound into and out of this machine: microphones and loudspeakers, the files that stand in for them, and tones.
//!
//! Inside Parlor sound is 48 kHz mono `f32`, in pieces of 10 ms; whatever a device or file has is converted at this
//! border. `Capture` and `Playback` belong to one audio thread each. Devices live on threads of their own
//! (`device`), so that a sound server that hangs costs silence and never the thread that talks to the network.

pub(crate) mod capture;
pub(crate) mod clock;
mod device;
#[cfg(test)]
mod fuzz;
mod list;
pub(crate) mod mixer;
pub(crate) mod playback;
pub(crate) mod processing;
pub(crate) mod resample;
pub(crate) mod switch;
mod tones;
mod wav;

pub(crate) use list::SoundLister;
pub use list::{microphones, speakers};
pub use tones::{Tone, Tones};

/// Samples a second, everywhere inside Parlor.
pub(crate) const SAMPLE_RATE: u32 = 48_000;

/// Samples in 10 ms.
pub(crate) const PIECE: usize = 480;

/// 10 ms of sound.
pub(crate) type Piece = [f32; PIECE];

/// What is wrong with a device or file, before it is known whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) problem: crate::Problem,
    pub(crate) detail: String,
}

impl Failure {
    pub(crate) fn new(problem: crate::Problem, detail: impl Into<String>) -> Self {
        Self { problem, detail: detail.into() }
    }

    pub(crate) fn of(self, device: crate::DeviceKind) -> crate::DeviceProblem {
        crate::DeviceProblem { device, problem: self.problem, detail: self.detail }
    }
}
