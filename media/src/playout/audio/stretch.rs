//! Shorter or longer sound without a change of pitch: a period is taken out or put in where the waveform repeats
//! itself, under a crossfade as long as the period (waveform-similarity overlap-add, Verhelst and Roelands 1993).

use crate::audio::mixer::energy;

/// 400 Hz.
const SHORTEST: usize = 120;

/// 80 Hz.
const LONGEST: usize = 600;

/// More samples than this are never needed: 30 ms.
pub(super) const ENOUGH: usize = 1_440;

/// The search looks at every so-many-th sample first.
const COARSE: usize = 4;

/// Below this mean square (-60 dBFS) any place is as good as another.
const QUIET: f32 = 1e-6;

/// Takes one period of at most `most` samples out of the beginning. `alike` is how similar (1.0: the same) the two
/// sides of the cut must be. Returns the change in length.
pub(super) fn shorten(pcm: &mut Vec<f32>, most: usize, alike: f32) -> Option<i64> {
    let period = find_period(pcm, most.min(LONGEST), alike)?;
    crossfade(pcm, 0, period, period);
    pcm.drain(period..2 * period);
    Some(-(period as i64))
}

/// Puts one period in near the beginning. Returns the change in length.
pub(super) fn lengthen(pcm: &mut Vec<f32>, alike: f32) -> Option<i64> {
    let period = find_period(pcm, LONGEST, alike)?;
    // The second period is heard first as a bridge back to the first, then as itself.
    let mut bridge = pcm[..2 * period].to_vec();
    crossfade(&mut bridge, period, 0, period);
    pcm.splice(period..period, bridge.drain(period..));
    Some(period as i64)
}

/// Fades `pcm[from..]` into `pcm[to..]`, over `len` samples, in place of the former.
fn crossfade(pcm: &mut [f32], from: usize, to: usize, len: usize) {
    for i in 0..len {
        let share = i as f32 / len as f32;
        pcm[from + i] = pcm[from + i] * (1.0 - share) + pcm[to + i] * share;
    }
}

/// The lag at which the beginning is most like what follows it.
fn find_period(pcm: &[f32], longest: usize, alike: f32) -> Option<usize> {
    let longest = longest.min(pcm.len() / 2);
    if longest < SHORTEST {
        return None;
    }
    if energy(&pcm[..2 * longest]) < QUIET {
        return Some(longest);
    }
    let best = |lags: &mut dyn Iterator<Item = usize>, step| {
        lags.map(|lag| (lag, similarity(pcm, lag, longest, step))).max_by(|a, b| a.1.total_cmp(&b.1))
    };
    let (coarse, _) = best(&mut (SHORTEST..=longest).step_by(COARSE), COARSE)?;
    let around = coarse.saturating_sub(COARSE - 1).max(SHORTEST)..=(coarse + COARSE - 1).min(longest);
    let (period, similarity) = best(&mut around.into_iter(), 1)?;
    (similarity >= alike).then_some(period)
}

/// Normalised correlation of the beginning with itself `lag` later.
fn similarity(pcm: &[f32], lag: usize, window: usize, step: usize) -> f32 {
    let (mut product, mut here, mut there) = (0.0_f32, 1e-9_f32, 1e-9_f32);
    for (a, b) in pcm[..window].iter().step_by(step).zip(pcm[lag..lag + window].iter().step_by(step)) {
        product += a * b;
        here += a * a;
        there += b * b;
    }
    product / (here * there).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::mixer::tests::{level_at, sine};

    fn largest_step(pcm: &[f32]) -> f32 {
        pcm.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn shorter_and_longer_sound_keeps_its_pitch_and_has_no_clicks() {
        for hz in [100.0, 150.0, 220.0, 350.0, 440.0, 1_000.0] {
            let original = sine(hz, 48_000, 4_800, 0.5);
            let natural = largest_step(&original);
            let mut short = original.clone();
            let cut = shorten(&mut short, 600, 0.8).unwrap();
            let mut long = original.clone();
            let added = lengthen(&mut long, 0.8).unwrap();
            assert!((-600..=-120).contains(&cut) && (120..=600).contains(&added));
            for (changed, by) in [(&short, cut), (&long, added)] {
                assert_eq!(changed.len() as i64, 4_800 + by);
                assert!(largest_step(changed) < natural * 1.1, "{hz} Hz clicks");
                assert!((level_at(hz, 48_000, changed) - 0.5).abs() < 0.02, "{hz} Hz");
                assert_eq!(changed[0], original[0]);
                assert_eq!(changed.last(), original.last());
            }
        }
    }

    #[test]
    fn noise_is_left_alone_until_it_must_not_be() {
        let mut seed = 1_u32;
        let mut noise: Vec<f32> = (0..1_440)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                seed as f32 / u32::MAX as f32 - 0.5
            })
            .collect();
        assert_eq!(shorten(&mut noise, 600, 0.8), None);
        assert!(shorten(&mut noise, 600, 0.0).is_some());
    }

    #[test]
    fn silence_is_cut_anywhere_and_too_little_sound_nowhere() {
        assert_eq!(shorten(&mut vec![0.0; 1_440], 600, 0.9), Some(-600));
        assert_eq!(lengthen(&mut vec![0.0; 1_440], 0.9), Some(600));
        assert_eq!(shorten(&mut vec![0.0; 200], 600, 0.0), None);
        assert_eq!(lengthen(&mut vec![0.0; 239], 0.0), None);
        assert_eq!(shorten(&mut vec![0.0; 1_440], 100, 0.0), None);
    }
}
