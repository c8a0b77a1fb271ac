//! How a voice fares on fixed paths, by a measure that needs no more than this file: the log-spectral distance of what is
//! heard from what was said, in dB, at the delay at which the two are most alike. It is no PESQ (`./dev bench-voice` is),
//! but the same in every run, and it sees a regression.

use std::{f32::consts::TAU, time::Duration};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use super::*;
use crate::{
    audio::{clock, mixer::tests::voice},
    codec::{
        opus::{Decoder, Encoder, PACKET},
        red::{Packer, unpack},
    },
};

const SECONDS: usize = 16;

/// Left out, for settling.
const SETTLING: usize = 6;

/// The frequencies that are compared: 150 Hz to 6 kHz, a sixth of an octave apart.
const BANDS: usize = 32;

/// A spectrum is of so much: 20 ms.
const WINDOW: usize = 960;

/// What is heard is looked at every so often: 5 ms.
const HOP: usize = 240;

/// Nothing is quieter, so that silence is like silence.
const FLOOR_DB: f32 = -70.0;

type Spectrum = [f32; BANDS];

fn spectrum(samples: &[f32]) -> Spectrum {
    std::array::from_fn(|band| {
        let step = TAU * 150.0 * 2_f32.powf(band as f32 / 6.0) / 48_000.0;
        let (mut re, mut im) = (0.0_f32, 0.0_f32);
        // A rotating pointer costs less than a sine for every sample.
        let (turn_re, turn_im) = (step.cos(), step.sin());
        let (mut at_re, mut at_im) = (1.0_f32, 0.0_f32);
        for (i, sample) in samples.iter().enumerate() {
            let weighted = sample * (0.5 - 0.5 * (TAU * i as f32 / WINDOW as f32).cos());
            re += weighted * at_re;
            im += weighted * at_im;
            (at_re, at_im) = (at_re * turn_re - at_im * turn_im, at_re * turn_im + at_im * turn_re);
        }
        (10.0 * (re * re + im * im).max(1e-12).log10() - 10.0 * (WINDOW as f32).log10()).max(FLOOR_DB)
    })
}

fn distance(a: &Spectrum, b: &Spectrum) -> f32 {
    let square: f32 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (square / BANDS as f32).sqrt()
}

/// The distance in dB, and the delay in milliseconds at which it is the smallest.
fn compare(said: &[f32], heard: &[f32]) -> (f32, u32) {
    let spectra = |sound: &[f32], hop: usize| -> Vec<Spectrum> {
        (0..=sound.len() - WINDOW).step_by(hop).map(|at| spectrum(&sound[at..at + WINDOW])).collect()
    };
    let from = SETTLING * 48_000;
    let said = spectra(&said[from..(SECONDS - 1) * 48_000], WINDOW);
    let heard = spectra(&heard[from..], HOP);
    let at = |later: usize| {
        let sum: f32 = said.iter().enumerate().map(|(i, said)| distance(said, &heard[i * WINDOW / HOP + later])).sum();
        sum / said.len() as f32
    };
    let (later, least) = (0..32).map(|later| (later, at(later))).min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    (least, later as u32 * 5)
}

/// A path, and how the voice is protected on it.
#[derive(Clone, Copy, Default)]
struct Path {
    loss: f64,
    /// Lost in bursts of five, on average.
    bursts: f64,
    jitter_ms: f64,
    copies: u8,
    fec_percent: u8,
}

fn heard_over(path: Path) -> (f32, u32) {
    let said = voice(SECONDS * 48_000);
    let mut random = SmallRng::seed_from_u64(1);
    let mut encoder = Encoder::new().unwrap();
    encoder.configure(40_000, path.fec_percent).unwrap();
    let mut packer = Packer::default();
    let start = clock::now();
    let (mut in_burst, mut due) = (false, 0.0_f64);
    let mut packets = Vec::new();
    for (i, samples) in said.as_chunks::<PACKET>().0.iter().enumerate() {
        let timestamp = (i * PACKET) as u32;
        let payload = packer.pack(timestamp, encoder.encode(samples).unwrap(), 111, path.copies);
        in_burst = random.random_bool(if in_burst { 0.8 } else { 0.2 * path.bursts / (1.0 - path.bursts) });
        due = due.max((i + 1) as f64 * 20.0 + random.random_range(0.0..=path.jitter_ms));
        if !in_burst && !random.random_bool(path.loss) {
            packets.push((i as u16, timestamp, payload, start + Duration::from_secs_f64(due / 1_000.0)));
        }
    }
    let mut packets = packets.into_iter().peekable();
    let mut playout = AudioPlayout::new(Decoder::new().unwrap());
    let (mut heard, mut piece) = (Vec::new(), [0.0; PIECE]);
    for pull in 0..SECONDS as u64 * 100 {
        let now = start + Duration::from_millis(3 + 10 * pull);
        while let Some((sequence, timestamp, payload, arrived)) = packets.next_if(|packet| packet.3 <= now) {
            for block in unpack(&payload).into_iter().rev() {
                playout.push(IncomingPacket {
                    sequence: sequence.wrapping_sub(block.distance),
                    timestamp: timestamp.wrapping_sub(block.offset),
                    marker: false,
                    payload: block.payload,
                    codec: None,
                    arrived,
                    captured_unix_us: None,
                });
            }
        }
        playout.pull(now, &mut piece);
        heard.extend_from_slice(&piece);
    }
    compare(&said, &heard)
}

/// Asserts the distance and the delay, with a little room above what was measured.
#[track_caller]
fn assert_heard(path: Path, most_db: f32, most_ms: u32) -> f32 {
    let (distance_db, delay_ms) = heard_over(path);
    println!("{distance_db:.2} dB, {delay_ms} ms");
    assert!(distance_db <= most_db && delay_ms <= most_ms, "{distance_db} dB at {delay_ms} ms");
    distance_db
}

#[test]
fn a_clean_path_costs_the_codec_and_little_time() {
    assert_heard(Path::default(), 3.1, 40);
}

#[test]
fn losses_are_hardly_heard_with_copies_and_clearly_without() {
    let with = assert_heard(Path { loss: 0.1, copies: 2, fec_percent: 10, ..Path::default() }, 3.6, 85);
    let without = heard_over(Path { loss: 0.1, ..Path::default() }).0;
    assert!(without > with + 0.3, "{without} dB without copies");
}

#[test]
fn a_third_of_the_packets_may_be_lost() {
    assert_heard(Path { loss: 0.3, copies: 3, fec_percent: 10, ..Path::default() }, 3.35, 115);
}

#[test]
fn bursts_are_survived() {
    assert_heard(Path { bursts: 0.1, copies: 2, fec_percent: 10, ..Path::default() }, 3.9, 105);
}

#[test]
fn jitter_costs_its_own_length_and_nothing_else() {
    assert_heard(Path { jitter_ms: 40.0, ..Path::default() }, 3.1, 80);
}
