//! From any sample rate to any other, in a stream of mono samples.

use rubato::{
    Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType, WindowFunction,
    audioadapter_buffers::direct::SequentialSlice,
};

use super::Failure;
use crate::Problem;

/// Rates below are no sound, rates above no device.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;

/// Adds about 1 ms of delay; nothing where the rates are equal.
pub(crate) enum Resampler {
    Same,
    Sinc { inner: Box<Async<f32>>, input: Vec<f32>, chunk: usize, output: Vec<f32> },
}

impl Resampler {
    pub(crate) fn new(from: u32, to: u32) -> Result<Self, Failure> {
        if !RATES.contains(&from) || !RATES.contains(&to) {
            let rate = if RATES.contains(&from) { to } else { from };
            return Err(Failure::new(Problem::Failed, format!("a sample rate of {rate} Hz is not usable")));
        }
        if from == to {
            return Ok(Self::Same);
        }
        let parameters = SincInterpolationParameters::new(64, WindowFunction::BlackmanHarris2)
            .oversampling_factor(128)
            .interpolation(SincInterpolationType::Linear);
        // A quarter of a piece: what waits for a full chunk is delay.
        let chunk = (from as usize / 400).max(1);
        let inner = Async::new_sinc(f64::from(to) / f64::from(from), 1.0, &parameters, chunk, 1, FixedAsync::Input)
            .map_err(|error| Failure::new(Problem::Failed, error.to_string()))?;
        let output = vec![0.0; inner.output_frames_max()];
        Ok(Self::Sinc { inner: Box::new(inner), input: Vec::with_capacity(2 * chunk), chunk, output })
    }

    /// Takes samples, and gives what they become to `sink`, in order.
    pub(crate) fn process(&mut self, samples: &[f32], mut sink: impl FnMut(&[f32])) {
        match self {
            Self::Same => sink(samples),
            Self::Sinc { inner, input, chunk, output } => {
                let mut rest = samples;
                while !rest.is_empty() {
                    let (head, tail) = rest.split_at(rest.len().min(*chunk - input.len()));
                    input.extend_from_slice(head);
                    rest = tail;
                    if input.len() == *chunk {
                        sink(convert(inner, input, output));
                        input.clear();
                    }
                }
            }
        }
    }
}

fn convert<'a>(inner: &mut Async<f32>, input: &[f32], output: &'a mut [f32]) -> &'a [f32] {
    let frames = output.len();
    let converted = {
        let from = SequentialSlice::new(input, 1, input.len()).expect("one channel of exactly these frames");
        let mut to = SequentialSlice::new_mut(output, 1, frames).expect("one channel of exactly these frames");
        inner.process_into_buffer(&from, &mut to, None)
    };
    let (_, written) = converted.expect("a whole chunk, and room for the longest output");
    &output[..written]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::mixer::tests::{level_at, sine};

    #[test]
    fn a_tone_keeps_its_pitch_and_level_at_any_rate() {
        for from in [8_000, 11_025, 16_000, 22_050, 44_100, 44_099, 48_000, 96_000, 192_000] {
            let mut resampler = Resampler::new(from, 48_000).unwrap();
            let input = sine(440.0, from, from as usize, 0.5);
            let mut output = Vec::new();
            for piece in input.chunks(from as usize / 100) {
                resampler.process(piece, |samples| output.extend_from_slice(samples));
            }
            assert!((47_000..=48_100).contains(&output.len()), "{from}: {} samples", output.len());
            let steady = &output[4_800..43_200];
            let level = level_at(440.0, 48_000, steady);
            assert!((level - 0.5).abs() < 0.01, "{from}: {level}");
            let other = level_at(1_000.0, 48_000, steady);
            assert!(other < 0.002, "{from}: {other} at 1 kHz");
        }
    }

    #[test]
    fn what_lies_above_the_new_band_is_not_folded_into_it() {
        let mut resampler = Resampler::new(48_000, 16_000).unwrap();
        let mut output = Vec::new();
        resampler.process(&sine(13_000.0, 48_000, 48_000, 0.5), |samples| output.extend_from_slice(samples));
        assert!(level_at(3_000.0, 16_000, &output[1_600..]) < 0.005);
    }

    #[test]
    fn absurd_rates_are_refused() {
        for rate in [0, 7, 999, 768_001, u32::MAX] {
            assert!(Resampler::new(rate, 48_000).is_err());
            assert!(Resampler::new(48_000, rate).is_err());
        }
    }
}
