//! Devices that replace each other while sound goes on: the new one is opened beside the old one, which is closed when
//! the new one works, and stays when it does not.

use std::time::{Duration, Instant};

use super::{Failure, device::Keeper};
use crate::{DeviceChoice, DeviceProblem, Problem};

/// A device that takes longer is refused.
const OPEN_WITHIN: Duration = Duration::from_secs(4);

/// Devices that are being closed. A sound server that does not answer keeps them for ever: no more are opened then.
const MAX_CLOSING: usize = 8;

/// What becomes of devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DeviceEvent {
    /// Something that the person should know.
    Problem(DeviceProblem),
    /// What was chosen is in use.
    InUse(DeviceChoice),
    /// What was chosen can't be used: the one before stays.
    Refused(DeviceChoice, DeviceProblem),
}

/// A device that was chosen and has not worked yet.
pub(crate) struct Candidate<D> {
    pub(crate) choice: DeviceChoice,
    pub(crate) device: D,
    give_up: Instant,
}

impl<D> Candidate<D> {
    pub(crate) fn new(choice: DeviceChoice, device: D, now: Instant) -> Self {
        Self { choice, device, give_up: now + OPEN_WITHIN }
    }

    /// What keeps it from being used: what was told of it, or that it takes too long.
    pub(crate) fn refused(&self, told: Option<DeviceProblem>, now: Instant) -> Option<DeviceProblem> {
        let late = || {
            let detail = format!("it did not open within {} s", OPEN_WITHIN.as_secs());
            Failure::new(Problem::Failed, detail).of(self.choice.kind())
        };
        told.or_else(|| (now >= self.give_up).then(late))
    }
}

/// Devices that are being closed, which may take a while and nobody waits for until the end.
#[derive(Default)]
pub(crate) struct Closing(Vec<Keeper>);

impl Closing {
    pub(crate) fn close(&mut self, keeper: Keeper) {
        keeper.stop();
        self.0.retain(|keeper| !keeper.is_closed());
        self.0.push(keeper);
    }

    /// Too many devices do not close.
    pub(crate) fn is_stuck(&mut self) -> bool {
        self.0.retain(|keeper| !keeper.is_closed());
        self.0.len() >= MAX_CLOSING
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AudioSource, DeviceKind, audio::clock};

    #[test]
    fn a_candidate_is_refused_for_a_problem_or_when_it_takes_too_long() {
        let start = clock::now();
        let choice = DeviceChoice::Microphone(AudioSource::Device("a".to_owned()));
        let candidate = Candidate::new(choice, (), start);
        assert_eq!(candidate.refused(None, start), None);
        let busy = Failure::new(Problem::Busy, "").of(DeviceKind::Microphone);
        assert_eq!(candidate.refused(Some(busy.clone()), start), Some(busy));
        let late = candidate.refused(None, start + OPEN_WITHIN).map(|late| (late.device, late.problem));
        assert_eq!(late, Some((DeviceKind::Microphone, Problem::Failed)));
    }
}
