//! How large the picture is, and how often it comes: by what it may cost on the network and on the CPU.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::Bitrate;

/// A size and a frame rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// Lines; the width follows from the camera's.
    pub(crate) height: u32,
    /// Frames a second, at most.
    pub(crate) fps: u32,
}

/// The best first, each with what it takes to look better than the next.
const STEPS: [(Step, u32); 9] = [
    (Step { height: 1_080, fps: 30 }, 1_700_000),
    (Step { height: 720, fps: 60 }, 1_700_000),
    (Step { height: 720, fps: 30 }, 480_000),
    (Step { height: 540, fps: 30 }, 280_000),
    (Step { height: 360, fps: 30 }, 130_000),
    (Step { height: 270, fps: 25 }, 85_000),
    (Step { height: 180, fps: 20 }, 50_000),
    (Step { height: 180, fps: 12 }, 30_000),
    (Step { height: 180, fps: 7 }, 0),
];

/// As many lines as there are.
const ALL: u32 = u32::MAX;
/// Of a shared screen: what can't be read is worth nothing, so that every line is kept and frames are left out.
const SCREEN_STEPS: [(Step, u32); 6] = [
    (Step { height: ALL, fps: 15 }, 400_000),
    (Step { height: ALL, fps: 10 }, 220_000),
    (Step { height: ALL, fps: 7 }, 120_000),
    (Step { height: ALL, fps: 5 }, 60_000),
    (Step { height: ALL, fps: 3 }, 30_000),
    (Step { height: ALL, fps: 2 }, 0),
];
/// Frames a second of a shared screen.
pub(crate) const SCREEN_FPS: u32 = 15;
/// What the best picture of a screen can make use of.
const SCREEN_USEFUL: Bitrate = Bitrate::from_bps(2_500_000);

/// A step up takes so much more than the step needs, for so long.
const HEADROOM: f32 = 1.2;
const UP_AFTER: Duration = Duration::from_millis(1_500);
/// A step down, which costs a key frame, is taken when there was too little for so long; with less than half of what the
/// picture takes at once.
const DOWN_AFTER: Duration = Duration::from_millis(250);
/// Encoding may take this part of the time that there is for a frame.
const CPU_HIGH: f32 = 0.75;
/// With less than this, a larger picture is tried.
const CPU_LOW: f32 = 0.4;
/// How long the CPU has to be too slow, or quick enough.
const CPU_DOWN_AFTER: Duration = Duration::from_secs(2);
const CPU_UP_AFTER: Duration = Duration::from_secs(12);

/// What keeps the picture from being better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// Nothing: it is what the camera gives.
    #[default]
    None,
    /// The path to the other side.
    Network,
    /// This machine.
    Cpu,
}

/// Where the picture is between the best and the least.
#[derive(Debug)]
pub(crate) struct Ladder {
    steps: &'static [(Step, u32)],
    source: Step,
    network: usize,
    /// Steps that the CPU forbids.
    cpu: usize,
    up_since: Option<Instant>,
    down_since: Option<Instant>,
    slow_since: Option<Instant>,
    quick_since: Option<Instant>,
}

impl Ladder {
    pub(crate) fn new(source: Step) -> Self {
        Self::of(&STEPS, source)
    }

    /// Of a shared screen with so many lines.
    pub(crate) fn of_screen(height: u32) -> Self {
        Self::of(&SCREEN_STEPS, Step { height, fps: SCREEN_FPS })
    }

    fn of(steps: &'static [(Step, u32)], source: Step) -> Self {
        let (up_since, down_since, slow_since, quick_since) = (None, None, None, None);
        let mut ladder = Self { steps, source, network: 0, cpu: 0, up_since, down_since, slow_since, quick_since };
        ladder.network = ladder.best();
        ladder
    }

    /// What the camera gives. Another camera begins where the network and the CPU allowed the last.
    pub(crate) fn set_source(&mut self, source: Step) {
        self.source = source;
        self.network = self.network.max(self.best());
    }

    /// The size and frame rate to encode.
    pub(crate) fn step(&self) -> Step {
        let (step, _) = self.steps[self.index()];
        Step { height: step.height.min(self.source.height), fps: step.fps.min(self.source.fps) }
    }

    /// What the best picture of this camera can make use of: 1.8 Mbit/s with 720 lines. Of a noisy talking head, that is
    /// an SSIM of 0.986; 2.5 Mbit/s are 0.988, and a sixth more work for both ends.
    pub(crate) fn useful(&self) -> Bitrate {
        if self.steps[0].0.height == ALL {
            return SCREEN_USEFUL;
        }
        let pixels = self.source.height as f32 * self.source.height as f32 * 16.0 / 9.0;
        let motion = (self.source.fps as f32 / 30.0).sqrt().max(0.5);
        Bitrate::from_bps((1_800_000.0 * (pixels / 921_600.0).powf(0.75) * motion).clamp(300_000.0, 6_000_000.0) as u32)
    }

    /// What keeps the picture from being better.
    pub(crate) fn limit(&self) -> Limit {
        let index = self.index();
        if index <= self.best() {
            Limit::None
        } else if self.cpu > self.network {
            Limit::Cpu
        } else {
            Limit::Network
        }
    }

    /// The encoder has this much from now on.
    pub(crate) fn handle_bitrate(&mut self, now: Instant, bitrate: Bitrate) {
        let bps = bitrate.as_bps();
        let affordable = self.affordable(bitrate);
        if affordable > self.network {
            self.up_since = None;
            let since = *self.down_since.get_or_insert(now);
            let collapsed = bps < self.steps[self.network].1 / 2;
            if collapsed || now.saturating_duration_since(since) >= DOWN_AFTER {
                self.network = affordable;
                self.down_since = None;
            }
            return;
        }
        self.down_since = None;
        let comfortable = bitrate.scaled(1.0 / HEADROOM).as_bps();
        let better = (self.best()..self.network).find(|&index| self.steps[index].1 <= comfortable);
        match better {
            Some(better) => {
                if now.saturating_duration_since(*self.up_since.get_or_insert(now)) >= UP_AFTER {
                    self.network = better;
                    self.up_since = None;
                }
            }
            None => self.up_since = None,
        }
    }

    /// The picture begins anew on a path that has so much for now: a small key frame is sooner there.
    pub(crate) fn begin_anew(&mut self, bitrate: Bitrate) {
        self.network = self.network.max(self.affordable(bitrate));
        (self.up_since, self.down_since) = (None, None);
    }

    fn affordable(&self, bitrate: Bitrate) -> usize {
        let bps = bitrate.as_bps();
        (self.best()..self.steps.len()).find(|&index| self.steps[index].1 <= bps).unwrap_or(self.steps.len() - 1)
    }

    /// Frames take this part of the time that there is for them.
    pub(crate) fn handle_load(&mut self, now: Instant, load: f32) {
        let since = |mark: &mut Option<Instant>| now.saturating_duration_since(*mark.get_or_insert(now));
        if load > CPU_HIGH {
            self.quick_since = None;
            if since(&mut self.slow_since) >= CPU_DOWN_AFTER && self.index() + 1 < self.steps.len() {
                self.cpu = self.index() + 1;
                self.slow_since = None;
            }
        } else if load < CPU_LOW && self.cpu > self.best() {
            self.slow_since = None;
            if since(&mut self.quick_since) >= CPU_UP_AFTER {
                self.cpu -= 1;
                self.quick_since = None;
            }
        } else {
            (self.slow_since, self.quick_since) = (None, None);
        }
    }

    fn index(&self) -> usize {
        self.network.max(self.cpu).max(self.best())
    }

    /// The best step that this camera reaches: one that asks for no more lines or frames than it gives.
    fn best(&self) -> usize {
        let fits = |step: &Step| step.height == ALL || step.height <= self.source.height;
        let reaches = |step: &Step| fits(step) && step.fps <= self.source.fps.max(7);
        let smaller = self.steps.iter().position(|(step, _)| reaches(step)).unwrap_or(self.steps.len() - 1);
        // Slow cameras are not made smaller for it.
        let lines = self.steps.iter().position(|(step, _)| fits(step)).unwrap_or(self.steps.len() - 1);
        if self.source.fps < 30 { lines + usize::from(self.steps[lines].0.fps == 60) } else { smaller }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    const HD: Step = Step { height: 720, fps: 30 };

    fn after(ladder: &mut Ladder, start: Instant, from_ms: u64, to_ms: u64, kbps: u32) -> Step {
        for ms in (from_ms..to_ms).step_by(50) {
            ladder.handle_bitrate(start + Duration::from_millis(ms), Bitrate::from_bps(kbps * 1_000));
        }
        ladder.step()
    }

    #[test]
    fn sizes_follow_the_bitrate_down_to_the_least() {
        let start = Instant::now();
        for (kbps, height, fps) in
            [(2_500, 720, 30), (500, 720, 30), (300, 540, 30), (200, 360, 30), (60, 180, 20), (10, 180, 7)]
        {
            let mut ladder = Ladder::new(HD);
            assert_eq!(after(&mut ladder, start, 0, 1_000, kbps), Step { height, fps }, "{kbps}");
            assert_eq!(ladder.limit(), if kbps < 480 { Limit::Network } else { Limit::None });
        }
    }

    #[test]
    fn a_dip_changes_nothing_and_a_wavering_bitrate_little() {
        let (mut ladder, start) = (Ladder::new(HD), Instant::now());
        assert_eq!(after(&mut ladder, start, 0, 200, 300), HD);
        assert_eq!(after(&mut ladder, start, 200, 400, 900), HD);
        let mut changes = 0;
        for second in 1..60 {
            let before = ladder.step();
            let kbps = if second % 2 == 0 { 440 } else { 530 };
            changes += u32::from(after(&mut ladder, start, second * 1_000, second * 1_000 + 1_000, kbps) != before);
        }
        assert!(changes <= 1, "{changes} changes");
    }

    #[test]
    fn a_link_that_collapses_is_followed_at_once() {
        let (mut ladder, start) = (Ladder::new(HD), Instant::now());
        assert_eq!(after(&mut ladder, start, 0, 1, 200).height, 360);
    }

    #[test]
    fn what_the_link_gives_back_is_used_within_three_seconds() {
        let (mut ladder, start) = (Ladder::new(HD), Instant::now());
        assert_eq!(after(&mut ladder, start, 0, 1_000, 100).height, 270);
        assert_eq!(after(&mut ladder, start, 1_000, 4_000, 2_000), HD);
    }

    #[test]
    fn a_slow_machine_sends_less_and_more_again_when_it_can() {
        let (mut ladder, start) = (Ladder::new(Step { height: 1_080, fps: 60 }), Instant::now());
        let load = |ladder: &mut Ladder, from: u64, to: u64, load| {
            (from..to).for_each(|second| ladder.handle_load(start + Duration::from_secs(second), load));
            ladder.step()
        };
        assert_eq!(load(&mut ladder, 0, 4, 0.9).height, 720);
        assert_eq!(ladder.limit(), Limit::Cpu);
        assert_eq!(load(&mut ladder, 4, 40, 0.6).height, 720);
        assert_eq!(load(&mut ladder, 40, 60, 0.2).height, 1_080);
        assert!(load(&mut ladder, 60, 200, 5.0).height == 180);
    }

    #[test]
    fn a_screen_keeps_every_line_and_leaves_frames_out() {
        let start = Instant::now();
        for (kbps, fps) in [(2_500, 15), (300, 10), (150, 7), (40, 3), (0, 2)] {
            let mut ladder = Ladder::of_screen(1_050);
            assert_eq!(after(&mut ladder, start, 0, 1_000, kbps), Step { height: 1_050, fps }, "{kbps}");
        }
        let mut ladder = Ladder::of_screen(1_080);
        after(&mut ladder, start, 0, 1_000, 40);
        assert_eq!(after(&mut ladder, start, 1_000, 4_000, 2_000).fps, 15);
    }

    #[test]
    fn any_camera_has_a_step() {
        for height in [1, 90, 180, 480, 720, 1_080, 4_320] {
            for fps in [1, 7, 15, 30, 60, 240] {
                let step = Ladder::new(Step { height, fps }).step();
                assert!(step.height <= height && step.fps <= fps && step.fps > 0, "{height} lines, {fps}/s: {step:?}");
            }
        }
    }
}
