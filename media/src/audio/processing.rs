//! What makes a microphone's sound fit to be sent: without the loudspeaker's echo, without rumble and noise, at an even
//! level. 10 ms at a time, at 48 kHz, in this order: echo canceller and high-pass (WebRTC's AEC3), noise suppression
//! (RNNoise), gain control and limiter (WebRTC's AGC2). Gain comes last: it would lift the noise for those before it.
//!
//! The far end's sound reaches the echo canceller through a ring, from the thread that gives it to the loudspeaker.

use nnnoiseless::DenoiseState;
use rtrb::{Consumer, Producer, RingBuffer};
use sonora::{
    AudioProcessing, Config, StreamConfig,
    config::{AdaptiveDigital, EchoCanceller, GainController2, HighPassFilter, MaxProcessingRate, Pipeline},
};

use super::{PIECE, Piece, SAMPLE_RATE};

/// What is played while the microphone's thread is busy: 300 ms. What finds no room is not cancelled.
const REFERENCE_PIECES: usize = 30;

/// RNNoise thinks in 16-bit samples.
const FULL_SCALE: f32 = 32_768.0;

/// The default of 15 dB would lift what remains of an echo before the canceller has learnt the room.
const INITIAL_GAIN_DB: f32 = 3.0;

/// Enough for somebody who sits back from a laptop; more makes rooms audible.
const MOST_GAIN_DB: f32 = 30.0;

/// The end that is given what the loudspeaker plays.
pub(crate) struct Reference(Producer<f32>);

impl Reference {
    /// Takes note of what is played.
    pub(crate) fn play(&mut self, piece: &Piece) {
        // Whole pieces or nothing: a part would shift all that follows.
        if self.0.slots() >= PIECE {
            let _fits = self.0.push_entire_slice(piece);
        }
    }
}

/// The end that works on the microphone's sound.
pub(crate) struct Processing {
    reference: Consumer<f32>,
    echo: AudioProcessing,
    noise: Box<DenoiseState<'static>>,
    gain: AudioProcessing,
    piece: Box<Piece>,
    unused: Box<Piece>,
}

impl Processing {
    pub(crate) fn new() -> (Self, Reference) {
        let (producer, reference) = RingBuffer::new(REFERENCE_PIECES * PIECE);
        let echo = Config {
            echo_canceller: Some(EchoCanceller::default()),
            high_pass_filter: Some(HighPassFilter::default()),
            ..config()
        };
        let adaptive = AdaptiveDigital {
            initial_gain_db: INITIAL_GAIN_DB,
            max_gain_db: MOST_GAIN_DB,
            ..AdaptiveDigital::default()
        };
        let gain = Config {
            gain_controller2: Some(GainController2 { adaptive_digital: Some(adaptive), ..GainController2::default() }),
            ..config()
        };
        let processing = Self {
            reference,
            echo: build(echo),
            noise: DenoiseState::new(),
            gain: build(gain),
            piece: Box::new([0.0; PIECE]),
            unused: Box::new([0.0; PIECE]),
        };
        (processing, Reference(producer))
    }

    /// Works on 10 ms of the microphone's sound, in place.
    pub(crate) fn process(&mut self, piece: &mut Piece) {
        self.cancel_echo(piece);
        self.suppress_noise(piece);
        self.control_gain(piece);
    }

    fn cancel_echo(&mut self, piece: &mut Piece) {
        while let Ok(chunk) = self.reference.read_chunk(PIECE) {
            for (to, from) in self.piece.iter_mut().zip(chunk) {
                *to = sound(from);
            }
            report(self.echo.process_render_f32(&[&self.piece[..]], &mut [&mut self.unused[..]]));
        }
        for (to, from) in self.piece.iter_mut().zip(&*piece) {
            *to = sound(*from);
        }
        report(self.echo.process_capture_f32(&[&self.piece[..]], &mut [&mut piece[..]]));
    }

    fn suppress_noise(&mut self, piece: &mut Piece) {
        for (to, from) in self.piece.iter_mut().zip(&*piece) {
            *to = from * FULL_SCALE;
        }
        self.noise.process_frame(&mut piece[..], &self.piece[..]);
        for sample in piece {
            *sample /= FULL_SCALE;
        }
    }

    fn control_gain(&mut self, piece: &mut Piece) {
        self.piece.copy_from_slice(piece);
        report(self.gain.process_capture_f32(&[&self.piece[..]], &mut [&mut piece[..]]));
    }
}

/// A driver's nonsense would stay in the filters for ever.
fn sound(sample: f32) -> f32 {
    if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 }
}

fn config() -> Config {
    // At the default of 32 kHz the voice would lose its upper octave.
    let pipeline = Pipeline {
        maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz,
        multi_channel_render: false,
        multi_channel_capture: false,
        ..Pipeline::default()
    };
    Config { pipeline, ..Config::default() }
}

fn build(config: Config) -> AudioProcessing {
    let stream = StreamConfig::new(SAMPLE_RATE, 1);
    AudioProcessing::builder().config(config).capture_config(stream).render_config(stream).build()
}

/// Only formats can be refused, and ours never changes.
fn report(result: Result<(), sonora::Error>) {
    if let Err(error) = result {
        tracing::debug!(%error, "sound was not processed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::mixer::{
        dbfs, energy,
        tests::{sine, voice},
    };

    /// White noise, always the same.
    fn noise(samples: usize, amplitude: f32) -> Vec<f32> {
        let mut seed = 1_u32;
        let mut next = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed as f32 / u32::MAX as f32 - 0.5) * 2.0 * amplitude
        };
        (0..samples).map(|_| next()).collect()
    }

    /// What a microphone hears of a loudspeaker: 30 ms later, and the room's decay over 60 ms.
    fn in_room(played: &[f32]) -> Vec<f32> {
        let taps: Vec<(usize, f32)> = noise(60, 1.0)
            .iter()
            .enumerate()
            .map(|(i, wall)| (1_440 + 48 * i, 0.5 * wall * (-(i as f32) / 12.0).exp()))
            .collect();
        (0..played.len())
            .map(|at| taps.iter().filter(|tap| tap.0 <= at).map(|tap| tap.1 * played[at - tap.0]).sum())
            .collect()
    }

    /// Runs only the echo canceller, so that neither noise suppression nor gain flatters or spoils the figure.
    fn cancelled(played: &[f32], heard: &[f32]) -> Vec<f32> {
        let (mut processing, mut reference) = Processing::new();
        let mut out = Vec::new();
        for (played, heard) in played.as_chunks::<PIECE>().0.iter().zip(heard.as_chunks::<PIECE>().0) {
            reference.play(played);
            let mut piece = *heard;
            processing.cancel_echo(&mut piece);
            out.extend_from_slice(&piece);
        }
        out
    }

    #[test]
    fn an_echo_is_40_db_down_once_the_room_is_learnt() {
        let played = voice(12 * 48_000);
        let echo = in_room(&played);
        let left = cancelled(&played, &echo);
        let late = 8 * 48_000..12 * 48_000;
        let erle_db = dbfs(energy(&echo[late.clone()])) - dbfs(energy(&left[late]));
        assert!(erle_db >= 40.0, "{erle_db} dB");
    }

    #[test]
    fn who_speaks_into_an_echo_is_heard() {
        let played = voice(12 * 48_000);
        let own = sine(330.0, SAMPLE_RATE, 12 * 48_000, 0.2);
        // One second of one's own in each two.
        let speaks = |at: usize| at / 48_000 % 2 == 1;
        let heard: Vec<f32> = in_room(&played)
            .iter()
            .zip(&own)
            .enumerate()
            .map(|(at, (echo, own))| echo + if speaks(at) { *own } else { 0.0 })
            .collect();
        let left = cancelled(&played, &heard);
        let own_part = 9 * 48_000 + 12_000..9 * 48_000 + 36_000;
        let lost_db = dbfs(energy(&own[own_part.clone()])) - dbfs(energy(&left[own_part]));
        assert!(lost_db.abs() < 6.0, "{lost_db} dB");
    }

    #[test]
    fn a_fan_is_not_heard() {
        // Most of its noise is low, unlike white noise, of which the model leaves much.
        let mut low = 0.0;
        let fan: Vec<f32> = noise(5 * 48_000, 0.02)
            .iter()
            .map(|white| {
                low = 0.95 * low + 0.3 * white;
                low
            })
            .collect();
        let (mut processing, _reference) = Processing::new();
        let mut left = Vec::new();
        for heard in fan.as_chunks::<PIECE>().0 {
            let mut piece = *heard;
            processing.process(&mut piece);
            left.extend_from_slice(&piece);
        }
        let late = 4 * 48_000..5 * 48_000;
        let quieter_db = dbfs(energy(&fan[late.clone()])) - dbfs(energy(&left[late]));
        assert!(quieter_db >= 30.0, "{quieter_db} dB");
    }

    #[test]
    fn nothing_that_a_microphone_gives_makes_it_fail() {
        let (mut processing, mut reference) = Processing::new();
        for value in [f32::NAN, f32::INFINITY, 1e30, -1.0, 0.0, f32::MIN_POSITIVE] {
            reference.play(&[value; PIECE]);
            let mut piece = [value; PIECE];
            processing.process(&mut piece);
        }
        let mut piece = [0.1; PIECE];
        for _ in 0..500 {
            reference.play(&piece);
            processing.process(&mut piece);
        }
        assert!(piece.iter().all(|sample| sample.is_finite()));
    }
}
