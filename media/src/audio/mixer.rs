//! How loud sound is, and how sums of it stay in range without audible clipping.

/// Up to here a sum stays as it is; the rest is squeezed into what is left of the range.
const KNEE: f32 = 0.8;

/// Bends what exceeds the knee so that nothing leaves [-1, 1]. Sound below -2 dBFS is untouched.
pub(crate) fn soft_clip(samples: &mut [f32]) {
    for sample in samples {
        let size = sample.abs();
        if size > KNEE {
            let over = (size - KNEE) / (1.0 - KNEE);
            *sample = sample.signum() * (KNEE + (1.0 - KNEE) * (over / (1.0 + over)));
        } else if !sample.is_finite() {
            *sample = 0.0;
        }
    }
}

/// Mean square of some samples.
pub(crate) fn energy(samples: &[f32]) -> f32 {
    samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len().max(1) as f32
}

/// Loudness of a mean square, relative to a full-scale square wave: dBFS, at least -127.
pub(crate) fn dbfs(energy: f32) -> f32 {
    (10.0 * energy.max(1e-13).log10()).max(-127.0)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::f32::consts::TAU;

    use super::*;

    /// A sine, for the tests of everything that handles sound.
    pub(crate) fn sine(hz: f32, rate: u32, samples: usize, amplitude: f32) -> Vec<f32> {
        let step = f64::from(hz) / f64::from(rate);
        (0..samples).map(|i| ((i as f64 * step).fract() as f32 * TAU).sin() * amplitude).collect()
    }

    /// Something with the pitch, harmonics and syllables of a voice.
    pub(crate) fn voice(samples: usize) -> Vec<f32> {
        let mut out = vec![0.0; samples];
        for harmonic in 1..12 {
            for (to, from) in out.iter_mut().zip(sine(140.0 * harmonic as f32, 48_000, samples, 0.3 / harmonic as f32))
            {
                *to += from;
            }
        }
        let syllables = sine(2.0, 48_000, samples, 0.5);
        out.iter_mut().zip(syllables).for_each(|(to, envelope)| *to *= 0.5 + envelope);
        out
    }

    /// Amplitude of one frequency in some samples, as a Hann-windowed correlation (Goertzel's question, answered plainly).
    pub(crate) fn level_at(hz: f32, rate: u32, samples: &[f32]) -> f32 {
        let (mut re, mut im, mut weight) = (0.0_f64, 0.0_f64, 0.0_f64);
        for (i, sample) in samples.iter().enumerate() {
            let window = 0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / samples.len() as f64).cos();
            let (sin, cos) = (std::f64::consts::TAU * f64::from(hz) * i as f64 / f64::from(rate)).sin_cos();
            re += f64::from(*sample) * window * cos;
            im += f64::from(*sample) * window * sin;
            weight += window;
        }
        (2.0 * re.hypot(im) / weight) as f32
    }

    #[test]
    fn quiet_sound_passes_untouched_and_loud_sound_stays_in_range() {
        let mut samples = [0.0, 0.5, -0.79, 1.0, 3.0, -1000.0, f32::NAN, f32::INFINITY];
        soft_clip(&mut samples);
        assert_eq!(samples[..3], [0.0, 0.5, -0.79]);
        assert!(samples[3] > 0.85 && samples[3] < 1.0);
        assert!(samples[4] > samples[3] && samples[4] <= 1.0 && samples[5] >= -1.0);
        assert!(samples.iter().all(|sample| sample.is_finite() || sample.is_nan()));
        assert!(!samples[6].is_nan());
    }

    #[test]
    fn voice_and_tone_together_keep_both() {
        let voice = sine(300.0, 48_000, 4_800, 0.6);
        let mut mix = sine(1_000.0, 48_000, 4_800, 0.6);
        mix.iter_mut().zip(voice).for_each(|(mix, voice)| *mix += voice);
        soft_clip(&mut mix);
        assert!(mix.iter().all(|sample| sample.abs() <= 1.0));
        assert!(level_at(1_000.0, 48_000, &mix) > 0.5);
    }

    #[test]
    fn a_full_scale_sine_is_3_db_below_full_scale() {
        assert!((dbfs(energy(&sine(1_000.0, 48_000, 48_000, 1.0))) + 3.01).abs() < 0.02);
        assert_eq!(dbfs(0.0), -127.0);
    }
}
