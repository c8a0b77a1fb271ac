//! Which codec the picture is sent with: the one that is the least work, but where bits are few and the CPU has room, the
//! one that makes the most of them. With 480 kbit/s and less, where pictures have 540 lines at most, VP9 is 0.5 to 2 dB
//! better than H.264, for no more work than H.264 takes at 720; above, it is less than 0.2 dB for twice the work.
//! `codec/bench.rs` measures it.

use std::time::{Duration, Instant};

use super::Bitrate;
use crate::codec::VideoCodec;

/// With less than this for the picture, bits are few.
const THIN: Bitrate = Bitrate::from_bps(450_000);
/// With more than this, they are not any more.
const WIDE: Bitrate = Bitrate::from_bps(700_000);
/// Another codec begins with a key frame: it has to be of use for so long before it is taken.
const PATIENCE: Duration = Duration::from_secs(3);
/// Where a key frame is due anyway, the change costs nothing.
const PATIENCE_AT_KEY_FRAME: Duration = Duration::from_millis(500);
/// Encoding may take this part of the time that there is for a frame before the other is tried, which may take three
/// times as long.
const ROOM: f32 = 0.2;
/// More than this for so long, and it is given up: before the picture would get smaller for it.
const TOO_MUCH: f32 = 0.7;
const TOO_MUCH_AFTER: Duration = Duration::from_secs(1);
/// It is not tried again for so long; twice as long each time.
const REST: Duration = Duration::from_secs(60);
const LONGEST_REST: Duration = Duration::from_secs(960);

/// What the choice goes by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    /// What there is for the picture, without passing dips.
    pub(crate) bitrate: Bitrate,
    /// The part of the time that there is for a frame that encoding one takes.
    pub(crate) load: f32,
    /// The CPU keeps the picture from being better already.
    pub(crate) is_cpu_limited: bool,
    /// The next frame needs no other in any case.
    pub(crate) key_frame_due: bool,
}

/// The codec in use, among those that both ends have.
#[derive(Debug)]
pub(crate) struct CodecChoice {
    /// The least work.
    light: VideoCodec,
    /// The most picture for the bits; the same, when there is none.
    thrifty: VideoCodec,
    is_thrifty: bool,
    /// The other would be better, since then.
    wanted_since: Option<Instant>,
    overloaded_since: Option<Instant>,
    rests_until: Option<Instant>,
    rest: Duration,
}

impl CodecChoice {
    /// Among these; H.264 when there are none, which nobody will see.
    pub(crate) fn new(codecs: &[VideoCodec]) -> Self {
        let first_of = |order: [VideoCodec; 3]| order.into_iter().find(|codec| codecs.contains(codec));
        let light = first_of([VideoCodec::H264, VideoCodec::Vp8, VideoCodec::Vp9]).unwrap_or(VideoCodec::H264);
        let thrifty = first_of([VideoCodec::Vp9, VideoCodec::H264, VideoCodec::Vp8]).unwrap_or(light);
        Self {
            light,
            thrifty,
            is_thrifty: light == thrifty,
            wanted_since: None,
            overloaded_since: None,
            rests_until: None,
            rest: REST,
        }
    }

    /// The codec in use.
    pub(crate) fn codec(&self) -> VideoCodec {
        if self.is_thrifty { self.thrifty } else { self.light }
    }

    /// The codec for the next frame.
    pub(crate) fn handle(&mut self, now: Instant, situation: &Situation) -> VideoCodec {
        if self.light != self.thrifty {
            self.weigh(now, situation);
        }
        self.codec()
    }

    fn weigh(&mut self, now: Instant, situation: &Situation) {
        if self.is_thrifty && (situation.load > TOO_MUCH || situation.is_cpu_limited) {
            if now.saturating_duration_since(*self.overloaded_since.get_or_insert(now)) >= TOO_MUCH_AFTER {
                self.rests_until = Some(now + self.rest);
                self.rest = (self.rest * 2).min(LONGEST_REST);
                self.change();
            }
            return;
        }
        self.overloaded_since = None;
        let is_other_better = if self.is_thrifty {
            situation.bitrate > WIDE
        } else {
            let may_be_tried = self.rests_until.is_none_or(|until| now >= until);
            situation.bitrate < THIN && situation.load < ROOM && !situation.is_cpu_limited && may_be_tried
        };
        if !is_other_better {
            self.wanted_since = None;
            return;
        }
        let wanted = now.saturating_duration_since(*self.wanted_since.get_or_insert(now));
        if wanted >= if situation.key_frame_due { PATIENCE_AT_KEY_FRAME } else { PATIENCE } {
            self.change();
        }
    }

    fn change(&mut self) {
        self.is_thrifty = !self.is_thrifty;
        (self.wanted_since, self.overloaded_since) = (None, None);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "any instant will do")]
mod tests {
    use super::*;

    const ALL: [VideoCodec; 3] = [VideoCodec::H264, VideoCodec::Vp9, VideoCodec::Vp8];
    const EASY: Situation =
        Situation { bitrate: Bitrate::from_bps(1_400_000), load: 0.05, is_cpu_limited: false, key_frame_due: false };

    fn kbps(kbps: u32) -> Situation {
        Situation { bitrate: Bitrate::from_bps(kbps * 1_000), ..EASY }
    }

    /// How often it changes from the first to the second tenth of a second, in one situation after the other.
    fn changes(
        choice: &mut CodecChoice,
        start: Instant,
        tenths: std::ops::Range<u64>,
        at: impl Fn(u64) -> Situation,
    ) -> usize {
        let mut before = choice.codec();
        tenths
            .filter(|&tenth| {
                let codec = choice.handle(start + Duration::from_millis(tenth * 100), &at(tenth));
                std::mem::replace(&mut before, codec) != codec
            })
            .count()
    }

    #[test]
    fn thin_links_get_vp9_and_wide_ones_h264_again() {
        let (mut choice, start) = (CodecChoice::new(&ALL), Instant::now());
        assert_eq!(changes(&mut choice, start, 0..100, |_| EASY), 0);
        assert_eq!(choice.codec(), VideoCodec::H264);
        assert_eq!(changes(&mut choice, start, 100..129, |_| kbps(300)), 0, "a dip");
        assert_eq!(changes(&mut choice, start, 129..132, |_| kbps(300)), 1);
        assert_eq!(choice.codec(), VideoCodec::Vp9);
        assert_eq!(changes(&mut choice, start, 132..300, |_| kbps(500)), 0, "between thin and wide it stays");
        assert_eq!(changes(&mut choice, start, 300..400, |_| kbps(750)), 1);
        assert_eq!(choice.codec(), VideoCodec::H264);
    }

    #[test]
    fn a_bitrate_that_wavers_changes_nothing() {
        let (mut choice, start) = (CodecChoice::new(&ALL), Instant::now());
        assert_eq!(changes(&mut choice, start, 0..6_000, |tenth| kbps(if tenth % 20 < 10 { 250 } else { 800 })), 0);
    }

    #[test]
    fn a_key_frame_that_is_due_anyway_is_used() {
        let (mut choice, start) = (CodecChoice::new(&ALL), Instant::now());
        let at_key_frame = |tenth| Situation { key_frame_due: tenth == 6, ..kbps(200) };
        assert_eq!(changes(&mut choice, start, 0..6, at_key_frame), 0);
        assert_eq!(changes(&mut choice, start, 6..7, at_key_frame), 1);
    }

    #[test]
    fn a_machine_without_room_keeps_to_the_light_one_and_one_that_proves_too_slow_goes_back() {
        let (mut choice, start) = (CodecChoice::new(&ALL), Instant::now());
        assert_eq!(changes(&mut choice, start, 0..100, |_| Situation { load: 0.3, ..kbps(200) }), 0);
        assert_eq!(changes(&mut choice, start, 100..200, |_| Situation { is_cpu_limited: true, ..kbps(200) }), 0);
        assert_eq!(changes(&mut choice, start, 200..240, |_| kbps(200)), 1);
        assert_eq!(changes(&mut choice, start, 240..252, |_| Situation { load: 0.8, ..kbps(200) }), 1);
        assert_eq!(choice.codec(), VideoCodec::H264);
        // It is tried again after a minute, then after two.
        assert_eq!(changes(&mut choice, start, 252..850, |_| kbps(200)), 0);
        assert_eq!(changes(&mut choice, start, 850..900, |_| kbps(200)), 1);
        assert_eq!(changes(&mut choice, start, 900..912, |_| Situation { load: 0.8, ..kbps(200) }), 1);
        assert_eq!(changes(&mut choice, start, 912..2_100, |_| kbps(200)), 0);
        assert_eq!(changes(&mut choice, start, 2_100..2_160, |_| kbps(200)), 1);
    }

    #[test]
    fn what_only_one_end_has_is_never_used() {
        for (codecs, wide, thin) in [
            (&ALL[..1], VideoCodec::H264, VideoCodec::H264),
            (&ALL[1..2], VideoCodec::Vp9, VideoCodec::Vp9),
            (&ALL[2..], VideoCodec::Vp8, VideoCodec::Vp8),
            (&ALL[1..], VideoCodec::Vp8, VideoCodec::Vp9),
            (&[], VideoCodec::H264, VideoCodec::H264),
        ] {
            let (mut choice, start) = (CodecChoice::new(codecs), Instant::now());
            changes(&mut choice, start, 0..100, |_| EASY);
            assert_eq!(choice.codec(), wide, "{codecs:?}");
            changes(&mut choice, start, 100..200, |_| kbps(100));
            assert_eq!(choice.codec(), thin, "{codecs:?}");
        }
        let (mut choice, start) = (CodecChoice::new(&[VideoCodec::H264, VideoCodec::Vp8]), Instant::now());
        assert_eq!(changes(&mut choice, start, 0..100, |_| kbps(100)), 0, "VP8 is no gain");
    }
}
