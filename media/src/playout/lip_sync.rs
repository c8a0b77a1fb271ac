//! Lips match the voice: a picture waits until the sound of its moment is about to be heard.
//!
//! Voice always waits longer than pictures do, since a jitter buffer must not run empty. People notice sound that is 45 ms
//! early or 125 ms late (ITU-R BT.1359); Parlor aims at 40 ms either way. A picture that is late is shown at once: the voice
//! is not dragged.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

/// So much a picture may be ahead.
const LEAD_US: i64 = 20_000;
/// A voice that is later than this is not worth waiting for.
const MOST_HELD_US: i64 = 400_000;
/// Pictures held at most: 0.5 s at 30 a second.
const MOST_WAITING: usize = 16;
/// Picture and voice that are further apart were not stamped by the same clock.
const COMPARABLE_US: i64 = 5_000_000;
/// Nothing was heard yet.
const UNKNOWN: i64 = i64::MIN;

/// How late the voice is: from the microphone, by the sender's clock, to the mixer, by ours. The two clocks may be hours
/// apart: the figure only means something beside a picture's, stamped and read by the same two. Clones share it.
#[derive(Clone, Debug)]
pub struct VoiceLag(Arc<AtomicI64>);

impl Default for VoiceLag {
    /// Unknown.
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(UNKNOWN)))
    }
}

impl VoiceLag {
    /// What was captured then (Unix time of the sender, microseconds) is heard now (ours).
    pub(crate) fn heard(&self, captured_unix_us: u64, unix_us: u64) {
        self.0.store(lag(captured_unix_us, unix_us), Ordering::Relaxed);
    }

    fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|lag| *lag != UNKNOWN)
    }
}

fn lag(captured_unix_us: u64, unix_us: u64) -> i64 {
    unix_us.cast_signed().saturating_sub_unsigned(captured_unix_us).max(UNKNOWN + 1)
}

/// Pictures that wait for their sound. Pure but for the voice's lag.
#[derive(Debug)]
pub(crate) struct LipSync<T> {
    voice: VoiceLag,
    /// In their order, each with when it is due.
    waiting: VecDeque<(Instant, T)>,
}

impl<T> LipSync<T> {
    /// Follows a voice.
    pub(crate) fn new(voice: VoiceLag) -> Self {
        Self { voice, waiting: VecDeque::with_capacity(MOST_WAITING) }
    }

    /// Takes a picture that is ready `now`; `unix_us` is the same moment on our wall clock.
    pub(crate) fn push(&mut self, picture: T, captured_unix_us: Option<u64>, now: Instant, unix_us: u64) {
        let held = captured_unix_us.zip(self.voice.get()).map_or(0, |(captured, voice)| {
            let ahead = voice.saturating_sub(lag(captured, unix_us));
            if ahead.saturating_abs() < COMPARABLE_US { (ahead - LEAD_US).clamp(0, MOST_HELD_US) } else { 0 }
        });
        let due = now + Duration::from_micros(held.cast_unsigned());
        if self.waiting.len() == MOST_WAITING
            && let Some((due, _)) = self.waiting.front_mut()
        {
            *due = now;
        }
        let due = self.waiting.back().map_or(due, |(last, _)| due.max(*last));
        self.waiting.push_back((due, picture));
    }

    /// When the next picture is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.waiting.front().map(|(due, _)| *due)
    }

    /// A picture that is due.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<T> {
        self.waiting.pop_front_if(|(due, _)| *due <= now).map(|(_, picture)| picture)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const HOUR_US: u64 = 3_600_000_000;

    /// Pictures that are captured every 33 ms and ready `ready_ms` later, for a voice that is `voice_ms` late, on a sender's
    /// clock that is an hour behind; how late each is shown, milliseconds.
    fn shown(ready_ms: &[u64], voice_ms: Option<u64>) -> Vec<u64> {
        let (start, unix_us) = (clock::now(), 10 * HOUR_US);
        let voice = VoiceLag::default();
        if let Some(ms) = voice_ms {
            voice.heard(unix_us - HOUR_US, unix_us + ms * 1_000);
        }
        let mut sync = LipSync::new(voice);
        let mut pictures: Vec<(u64, u64)> =
            ready_ms.iter().enumerate().map(|(i, ready)| (i as u64 * 33, i as u64 * 33 + ready)).collect();
        let mut shown = Vec::new();
        for ms in 0..3_000 {
            let now = start + Duration::from_millis(ms);
            while pictures.first().is_some_and(|(_, ready)| *ready <= ms) {
                let (captured, _) = pictures.remove(0);
                sync.push(captured, Some(unix_us - HOUR_US + captured * 1_000), now, unix_us + ms * 1_000);
            }
            while let Some(captured) = sync.poll(now) {
                shown.push(ms - captured);
            }
        }
        shown
    }

    #[test]
    fn a_picture_waits_for_its_sound_but_for_the_lead() {
        assert_eq!(shown(&[10, 10, 30], Some(100)), [80, 80, 80]);
    }

    #[test]
    fn a_picture_that_is_late_is_shown_at_once() {
        assert_eq!(shown(&[120, 90, 79], Some(100)), [120, 90, 80]);
    }

    #[test]
    fn a_picture_without_a_voice_is_shown_at_once() {
        assert_eq!(shown(&[10, 10], None), [10, 10]);
    }

    #[test]
    fn a_voice_far_behind_holds_a_picture_only_so_long() {
        assert_eq!(shown(&[10], Some(2_000)), [410]);
    }

    #[test]
    fn clocks_that_are_not_the_same_hold_nothing() {
        let (now, unix_us) = (clock::now(), 10 * HOUR_US);
        let voice = VoiceLag::default();
        voice.heard(unix_us - HOUR_US, unix_us);
        let mut sync = LipSync::new(voice);
        sync.push((), Some(unix_us), now, unix_us);
        assert!(sync.poll(now).is_some());
        sync.push((), None, now, unix_us);
        assert!(sync.poll(now).is_some());
    }

    #[test]
    fn pictures_stay_in_order_and_few() {
        let (now, unix_us) = (clock::now(), 10 * HOUR_US);
        let voice = VoiceLag::default();
        voice.heard(unix_us - 300_000, unix_us);
        let mut sync = LipSync::new(voice);
        for picture in 0..100_u64 {
            // Later ones claim to be older, and so to be due sooner.
            sync.push(picture, Some(unix_us - picture * 1_000), now, unix_us);
            if picture >= MOST_WAITING as u64 {
                assert_eq!(sync.poll(now), Some(picture - MOST_WAITING as u64));
            }
        }
        assert!(sync.poll(now).is_none());
        assert_eq!(sync.waiting.len(), MOST_WAITING);
    }
}
