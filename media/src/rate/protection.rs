//! How much is sent ahead of losses: pure, from what a path loses by accident and how long asking again takes.
//!
//! Where a round trip is short, a picture waits for its voice anyway, and lost packets are asked for meanwhile: a little
//! protection spares most pictures even that. Where it is long, asking is too late, and nearly all is to be repaired from what
//! came. None on paths that lose next to nothing, and none for what is lost to queues: that would only fill them.

use std::time::Duration;

/// Less is not worth it.
const LEAST_LOSS: f32 = 0.005;
/// Of so many blocks one may need more than was sent ahead, where a round trip takes as long as a picture waits for its
/// voice; and where it takes many times as long.
const REST: f32 = 0.12;
const LEAST_REST: f32 = 0.01;
const MOST_REST: f32 = 0.6;
const SHORT_TRIP: f32 = 50.0;
/// The most, as a part of what is protected: where a round trip is short, and where it is long.
const MOST_SHORT: f32 = 0.34;
const MOST_LONG: f32 = 0.7;
const LONG_TRIP: f32 = 150.0;
/// A block has at least so many packets, unless its pictures would wait too long for one another: a packet that protects one
/// or two is dear.
const SMALL: usize = 4;

/// What is to be done on a path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Protection {
    loss: f32,
    rest: f32,
    most: f32,
    frames: u32,
}

impl Protection {
    /// `loss`: the part of packets that is lost by accident.
    pub(crate) fn new(loss: f32, rtt: Duration) -> Self {
        let rtt_ms = (rtt.as_secs_f32() * 1e3).clamp(1.0, 1_000.0);
        let loss = if loss.is_finite() { loss.clamp(0.0, 0.5) } else { 0.0 };
        let far = ((rtt_ms - SHORT_TRIP) / (LONG_TRIP - SHORT_TRIP)).clamp(0.0, 1.0);
        Self {
            loss: if loss < LEAST_LOSS { 0.0 } else { loss },
            rest: (REST * (SHORT_TRIP / rtt_ms).powf(1.5)).clamp(LEAST_REST, MOST_REST),
            most: MOST_SHORT + (MOST_LONG - MOST_SHORT) * far,
            // A round trip is the time that waiting for another picture competes with.
            frames: (rtt_ms / 66.0) as u32,
        }
    }

    /// Whether a block of so many packets and frames ends here.
    pub(crate) fn is_whole(&self, packets: usize, frames: u32) -> bool {
        packets >= SMALL || frames >= self.frames.max(1)
    }

    /// So many packets repair a block of so many.
    pub(crate) fn repairs(&self, packets: usize) -> usize {
        if self.loss == 0.0 || packets == 0 {
            return 0;
        }
        let most = (packets as f32 * self.most) as usize;
        // A packet for itself is repaired by another, or not at all.
        let most = if most == 0 && self.frames > 1 { 1 } else { most };
        (0..most).find(|&repairs| more_lost(packets + repairs, repairs, self.loss) <= self.rest).unwrap_or(most)
    }
}

/// How probable it is that of so many packets more than this are lost.
fn more_lost(packets: usize, than: usize, loss: f32) -> f32 {
    let odds = loss / (1.0 - loss);
    let mut exactly = (1.0 - loss).powi(packets as i32);
    let mut at_most = exactly;
    for lost in 1..=than {
        exactly *= odds * (packets - lost + 1) as f32 / lost as f32;
        at_most += exactly;
    }
    1.0 - at_most
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratio(loss: f32, rtt_ms: u64, packets: usize) -> f32 {
        Protection::new(loss, Duration::from_millis(rtt_ms)).repairs(packets) as f32 / packets as f32
    }

    #[test]
    fn nothing_is_spent_where_next_to_nothing_is_lost() {
        for (loss, rtt_ms) in [(0.0, 50), (0.004, 300), (f32::NAN, 50), (-1.0, 300)] {
            assert_eq!(ratio(loss, rtt_ms, 9), 0.0);
        }
    }

    #[test]
    fn more_is_spent_the_more_is_lost_and_the_longer_asking_takes() {
        for packets in [4, 9, 20, 48] {
            for rtt_ms in [20, 50, 100, 150, 300, 5_000] {
                let ratios = [0.02, 0.05, 0.1, 0.2, 0.3, 0.9].map(|loss| ratio(loss, rtt_ms, packets));
                assert!(ratios.is_sorted() && ratios[5] <= 0.7, "{packets}, {rtt_ms} ms: {ratios:?}");
            }
            for loss in [0.02, 0.05, 0.1, 0.2] {
                assert!([20, 50, 100, 150, 300].map(|rtt_ms| ratio(loss, rtt_ms, packets)).is_sorted());
            }
        }
        assert!(ratio(0.05, 50, 9) <= 0.12 && ratio(0.05, 300, 9) >= 0.3);
    }

    #[test]
    fn odds_are_those_of_coins() {
        assert!((more_lost(4, 1, 0.5) - 11.0 / 16.0).abs() < 1e-6);
        assert!((more_lost(10, 0, 0.1) - (1.0 - 0.9_f32.powi(10))).abs() < 1e-6);
        assert_eq!(more_lost(10, 10, 0.3).max(0.0), 0.0_f32.max(more_lost(10, 10, 0.3)));
    }

    #[test]
    fn small_pictures_are_protected_together_where_there_is_time() {
        let near = Protection::new(0.05, Duration::from_millis(50));
        assert!(near.is_whole(1, 1) && near.repairs(1) == 0);
        let far = Protection::new(0.05, Duration::from_millis(200));
        assert!(!far.is_whole(1, 1) && far.is_whole(1, 3) && far.is_whole(4, 1));
    }
}
