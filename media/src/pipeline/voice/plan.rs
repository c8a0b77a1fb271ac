//! What a voice is worth on a path: how finely it is coded, and how it is protected. Pure.
//!
//! Copies of whole packets (`codec::red`) are the best protection by far, and cost whole packets: a coarser voice that
//! comes through is worth more than a fine one with holes. Where there is no room for copies, or the far end knows none,
//! Opus' own (low-bit-rate copies in the next packet) are armed; below 10 % the encoder hardly spends bits on them.

use super::VoiceBudget;
use crate::{codec::opus::PACKET, rate::Bitrate, rtp::PathReport};

/// What a voice may take, copies included, until somebody says otherwise.
const DEFAULT_BUDGET: VoiceBudget = VoiceBudget { bitrate: Bitrate::from_bps(160_000), packets: 50, pairs: false };

/// More is not heard in speech; in packets of 10 ms, not more than this.
const FINEST_BPS: u32 = 40_000;
const FINEST_SHORT_BPS: u32 = 48_000;

/// Below, syllables begin to suffer.
const COARSEST_BPS: u32 = 16_000;

/// Copies from this loss on.
const COPIES_FROM_PERCENT: f32 = 1.0;

/// A third copy from this loss on: two would leave more than one packet in a hundred missing.
const MORE_COPIES_FROM_PERCENT: f32 = 15.0;

/// What a path is taken for until its first report: a little lossy.
const AT_FIRST_PERCENT: f32 = 3.0;

/// What is left of a loss estimate after a report of less: losses come in spells.
const FORGET: f32 = 0.8;

/// On a thin path a queue that overflowed once is no lossy path, and a coarse voice for its sake no bargain: of so many
/// reports the middle one counts there.
const REPORTS: usize = 5;

/// What Opus' own copies are armed with, at least and at most: more would leave too little for the voice itself.
const FEC_PERCENT: std::ops::RangeInclusive<f32> = 10.0..=25.0;

/// Samples in a packet where headers weigh more than 20 ms of delay.
pub(crate) const LONG_PACKET: usize = 2 * PACKET;

/// Samples in a packet where 10 ms of delay weigh more than headers, and nothing needs copies.
const SHORT_PACKET: usize = PACKET / 2;

/// Samples between two packets that leave in halves, where the path is to be measured: 1 s.
pub(crate) const PAIR_EVERY: usize = 48_000;

/// How a voice is coded now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The voice itself, bits per second.
    pub(crate) bitrate: Bitrate,
    /// The loss that Opus prepares for, percent; 0: none.
    pub(crate) fec_percent: u8,
    /// How many packets each packet repeats.
    pub(crate) copies: u8,
    /// Samples in a packet.
    pub(crate) samples: usize,
    /// A packet leaves in two halves now and then.
    pub(crate) pairs: bool,
}

/// Follows reports and the budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planner {
    budget: VoiceBudget,
    /// A maximum that falls slowly.
    loss_percent: f32,
    /// The last reports, the newest first, percent.
    recent: [f32; REPORTS],
}

impl Planner {
    pub(crate) fn new() -> Self {
        Self { budget: DEFAULT_BUDGET, loss_percent: AT_FIRST_PERCENT, recent: [AT_FIRST_PERCENT; REPORTS] }
    }

    pub(crate) fn set_budget(&mut self, budget: VoiceBudget) {
        self.budget = budget;
    }

    pub(crate) fn report(&mut self, report: PathReport) {
        let reported = if report.loss.is_finite() { report.loss.clamp(0.0, 1.0) * 100.0 } else { 0.0 };
        self.loss_percent = reported.max(FORGET * self.loss_percent);
        self.recent.rotate_right(1);
        self.recent[0] = reported;
    }

    /// The loss to prepare for, percent.
    fn loss_percent(&self) -> f32 {
        if !self.is_thin() {
            return self.loss_percent;
        }
        let mut sorted = self.recent;
        sorted.sort_unstable_by(f32::total_cmp);
        sorted[REPORTS / 2]
    }

    fn is_thin(&self) -> bool {
        self.budget.packets < 50
    }

    pub(crate) fn plan(&self) -> Plan {
        let budget = self.budget.bitrate.as_bps();
        let VoiceBudget { pairs, .. } = self.budget;
        let loss_percent = self.loss_percent();
        if loss_percent < COPIES_FROM_PERCENT {
            let samples = match self.budget.packets {
                ..50 => LONG_PACKET,
                50..100 => PACKET,
                100.. => SHORT_PACKET,
            };
            let finest = if samples == SHORT_PACKET { FINEST_SHORT_BPS } else { FINEST_BPS };
            return Plan { bitrate: fit(budget, finest), fec_percent: 0, copies: 0, samples, pairs };
        }
        let samples = if self.is_thin() { LONG_PACKET } else { PACKET };
        let worth = if loss_percent < MORE_COPIES_FROM_PERCENT { 2 } else { 3 };
        // The first copy is worth a coarser voice, those after it are worth a little less.
        let affordable = |copies: u32| budget / (copies + 1) >= if copies == 1 { COARSEST_BPS } else { 20_000 };
        let copies = (1..=worth).rev().find(|&copies| affordable(copies)).unwrap_or(0);
        let fec_percent = match copies {
            0 => loss_percent.clamp(*FEC_PERCENT.start(), *FEC_PERCENT.end()),
            _ => *FEC_PERCENT.start(),
        };
        Plan {
            bitrate: fit(budget / (copies + 1), FINEST_BPS),
            fec_percent: fec_percent as u8,
            copies: copies as u8,
            samples,
            pairs,
        }
    }
}

fn fit(bps: u32, finest_bps: u32) -> Bitrate {
    // What does not even allow for a coarse voice is for the pacer to sort out: less would not be understood.
    Bitrate::from_bps(bps.clamp(COARSEST_BPS / 2, finest_bps))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(budget_kbps: u32, losses: &[f32]) -> (u32, u8, u8) {
        let mut planner = Planner::new();
        planner.set_budget(VoiceBudget { bitrate: Bitrate::from_bps(budget_kbps * 1_000), packets: 50, pairs: false });
        losses.iter().for_each(|&loss| planner.report(PathReport { loss, ..PathReport::default() }));
        let Plan { bitrate, fec_percent, copies, .. } = planner.plan();
        (bitrate.as_bps() / 1_000, fec_percent, copies)
    }

    #[test]
    fn a_clean_path_gets_the_whole_voice_and_no_copies() {
        assert_eq!(plan(160, &[0.0; 10]), (40, 0, 0));
        assert_eq!(plan(24, &[0.0; 10]), (24, 0, 0));
        assert_eq!(plan(1, &[0.0; 10]), (8, 0, 0));
    }

    #[test]
    fn losses_bring_copies_as_far_as_there_is_room() {
        assert_eq!(plan(160, &[0.02]), (40, 10, 2));
        assert_eq!(plan(160, &[0.3]), (40, 10, 3));
        assert_eq!(plan(100, &[0.3]), (25, 10, 3));
        assert_eq!(plan(60, &[0.3]), (20, 10, 2));
        assert_eq!(plan(32, &[0.3]), (16, 10, 1));
        assert_eq!(plan(24, &[0.2]), (24, 20, 0));
        assert_eq!(plan(24, &[0.9]), (24, 25, 0));
    }

    #[test]
    fn on_a_thin_path_one_overflow_makes_no_coarse_voice_and_lasting_loss_does() {
        let mut planner = Planner::new();
        planner.set_budget(VoiceBudget { bitrate: Bitrate::from_bps(32_000), packets: 25, pairs: false });
        let mut after = |losses: &[f32]| {
            losses.iter().for_each(|&loss| planner.report(PathReport { loss, ..PathReport::default() }));
            let plan = planner.plan();
            (plan.bitrate.as_bps() / 1_000, plan.copies, plan.fec_percent)
        };
        assert_eq!(after(&[0.0; 5]), (32, 0, 0));
        assert_eq!(after(&[0.6, 0.3, 0.0]), (32, 0, 0));
        assert_eq!(after(&[0.1, 0.2, 0.1]), (16, 1, 10));
    }

    #[test]
    fn a_path_is_mistrusted_at_first_and_after_losses_and_forgiven_slowly() {
        assert_eq!(plan(160, &[]).2, 2);
        assert_eq!(plan(160, &[0.0, 0.0]).2, 2);
        assert_eq!(plan(160, &[0.3, 0.0]).2, 3);
        assert_eq!(plan(160, &[0.3, 0.0, 0.0, 0.0, 0.0]).2, 2);
        let mut calm = vec![0.3];
        calm.extend([f32::NAN; 20]);
        assert_eq!(plan(160, &calm), (40, 0, 0));
    }
}
