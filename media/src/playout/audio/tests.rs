//! The jitter buffer over simulated paths, in virtual time.

use std::time::Duration;

use proptest::prelude::*;
use rand::{Rng, RngExt, SeedableRng, rngs::SmallRng};

use super::*;
use crate::{
    audio::{
        clock,
        mixer::tests::{level_at, voice},
    },
    codec::opus::{Decoder, Encoder, PACKET},
};

/// A codec whose packets hold a 440 Hz tone from their timestamp on, and optionally a copy of the one before.
/// Concealment is silence, so that every made-up sample shows.
struct ToneCodec;

impl ToneCodec {
    fn payload(timestamp: u32, with_copy: bool) -> Bytes {
        let mut bytes = timestamp.to_be_bytes().to_vec();
        bytes.push(u8::from(with_copy));
        bytes.into()
    }

    fn pause() -> Bytes {
        Bytes::from_static(&[0])
    }

    fn tone(from: u32, samples: usize, out: &mut Vec<f32>) {
        // 440 Hz has 12 periods in 1,200 samples, plus 12/11 of one; a phase in exact fractions survives any timestamp.
        let phase = |i: u32| (f64::from(i) * 440.0 / 48_000.0).fract() as f32;
        out.extend((0..samples as u32).map(|i| (phase(from.wrapping_add(i)) * std::f32::consts::TAU).sin() * 0.5));
    }
}

impl Decode for ToneCodec {
    fn duration(&self, payload: &[u8]) -> Option<usize> {
        matches!(payload.len(), 1 | 5).then_some(PACKET)
    }

    fn is_pause(&self, payload: &[u8]) -> bool {
        payload.len() == 1
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<f32>) -> bool {
        Self::tone(u32::from_be_bytes(payload[..4].try_into().unwrap()), PACKET, out);
        true
    }

    fn holds_copy(&self, payload: &[u8]) -> bool {
        payload.get(4) == Some(&1)
    }

    fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<f32>) -> bool {
        if next.get(4) != Some(&1) {
            return false;
        }
        let timestamp = u32::from_be_bytes(next[..4].try_into().unwrap());
        Self::tone(timestamp.wrapping_sub(samples as u32), samples, out);
        true
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<f32>) {
        out.resize(out.len() + samples, 0.0);
    }
}

/// A packet on a simulated path.
#[derive(Clone)]
struct Sent {
    sequence: u16,
    timestamp: u32,
    payload: Bytes,
    arrives: Duration,
}

const START: u32 = 4_000_000;

/// `seconds` of packets of 20 ms, that take `path` milliseconds, or are lost.
fn sent(seconds: usize, with_copy: bool, mut path: impl FnMut(usize) -> Option<f64>) -> Vec<Sent> {
    (0..seconds * 50)
        .filter_map(|i| {
            let timestamp = START + (i * PACKET) as u32;
            // The last sample of a packet is captured 20 ms after its first.
            let arrives = Duration::from_secs_f64((path(i)? + (i + 1) as f64 * 20.0) / 1_000.0);
            Some(Sent { sequence: i as u16, timestamp, payload: ToneCodec::payload(timestamp, with_copy), arrives })
        })
        .collect()
}

/// What came out.
struct Heard {
    sound: Vec<f32>,
    /// Once a second.
    stats: Vec<AudioRecvStats>,
}

impl Heard {
    fn last(&self) -> &AudioRecvStats {
        self.stats.last().unwrap()
    }

    fn concealed(&self, seconds: std::ops::Range<usize>) -> f32 {
        let part = &self.stats[seconds];
        part.iter().map(|stats| stats.concealed).sum::<f32>() / part.len() as f32
    }

    fn tone(&self, seconds: std::ops::Range<usize>) -> f32 {
        level_at(440.0, 48_000, &self.sound[seconds.start * 48_000..seconds.end * 48_000])
    }

    fn largest_step(&self, seconds: std::ops::Range<usize>) -> f32 {
        self.sound[seconds.start * 48_000..seconds.end * 48_000]
            .windows(2)
            .map(|pair| (pair[1] - pair[0]).abs())
            .fold(0.0, f32::max)
    }
}

/// Plays what was sent; pulls come every `pull_ms` (10.0: no drift), 3 ms out of step with the sender.
fn play<D: Decode>(decoder: D, mut sent: Vec<Sent>, seconds: usize, pull_ms: f64) -> Heard {
    sent.sort_by_key(|packet| packet.arrives);
    let start = clock::now();
    let mut playout = AudioPlayout::new(decoder);
    let mut sent = sent.into_iter().peekable();
    let mut heard = Heard { sound: Vec::new(), stats: Vec::new() };
    let mut piece = [0.0; PIECE];
    for pull in 0..seconds * 100 {
        let now = Duration::from_secs_f64((3.0 + pull as f64 * pull_ms) / 1_000.0);
        while let Some(packet) = sent.next_if(|packet| packet.arrives <= now) {
            playout.push(IncomingPacket {
                sequence: packet.sequence,
                timestamp: packet.timestamp,
                marker: false,
                payload: packet.payload,
                codec: None,
                arrived: start + packet.arrives,
                captured_unix_us: None,
            });
        }
        playout.pull(start + now, &mut piece);
        assert!(piece.iter().all(|sample| sample.is_finite()));
        assert!(playout.pcm.len() <= 3 * 5_760 && playout.packets.len() <= MOST_PACKETS);
        heard.sound.extend_from_slice(&piece);
        if pull % 100 == 99 {
            heard.stats.push(playout.stats());
        }
    }
    heard
}

fn random(seed: u64) -> SmallRng {
    SmallRng::seed_from_u64(seed)
}

#[test]
fn a_growing_queue_is_followed_and_not_papered_over() {
    // From the tenth second on a queue grows by 30 ms in 100, stands at 180 ms for half a second, and is drained.
    let queue = |i: usize| match i {
        500..530 => (i - 500) as f64 * 6.0,
        530..555 => 180.0,
        555..585 => (585 - i) as f64 * 6.0,
        _ => 0.0,
    };
    let heard = play(ToneCodec, sent(28, false, |i| Some(queue(i))), 28, 10.0);
    let made_up_ms = heard.concealed(9..13) * 4_000.0;
    assert!(made_up_ms < 180.0, "{made_up_ms} ms");
    assert!((heard.tone(13..15) - 0.5).abs() < 0.01);
    assert!(heard.stats[27].jitter_buffer_ms < 100.0, "{} ms", heard.stats[27].jitter_buffer_ms);
}

#[test]
fn a_clean_path_costs_the_margin_and_nothing_is_made_up() {
    let heard = play(ToneCodec, sent(20, false, |_| Some(1.0)), 20, 10.0);
    assert_eq!(heard.concealed(1..20), 0.0);
    assert!((3.5..14.5).contains(&heard.last().jitter_buffer_ms), "{} ms", heard.last().jitter_buffer_ms);
    assert!((heard.tone(1..20) - 0.5).abs() < 0.001);
    assert_eq!((heard.last().late, heard.last().fec), (0, 0));
    assert!((heard.last().level_dbfs + 9.03).abs() < 0.1);
}

#[test]
fn the_delay_follows_the_jitter_up_and_down_again() {
    let mut random = random(1);
    // Ten quiet seconds, ten with 40 ms of jitter, twenty quiet ones.
    let packets =
        sent(40, false, |i| Some(if (500..1_000).contains(&i) { random.random_range(0.0..40.0) } else { 0.0 }));
    let heard = play(ToneCodec, packets, 40, 10.0);
    let depth = |second: usize| heard.stats[second].jitter_buffer_ms;
    assert!(depth(8) < 16.0, "{} ms before", depth(8));
    assert!((30.0..65.0).contains(&depth(18)), "{} ms in the middle", depth(18));
    assert!(depth(38) < 25.0, "{} ms after", depth(38));
    assert!(heard.concealed(13..20) < 0.04, "{} made up", heard.concealed(13..20));
    assert_eq!(heard.concealed(28..40), 0.0);
    // Stretching keeps the tone whole.
    assert!((heard.tone(28..40) - 0.5).abs() < 0.01);
}

#[test]
fn single_losses_come_back_from_copies() {
    let mut random = random(2);
    let heard = play(ToneCodec, sent(30, true, |_| random.random_bool(0.9).then_some(2.0)), 30, 10.0);
    // One in a hundred pairs is lost together; everything else returns once the buffer makes room for copies.
    assert!(heard.last().fec > 100, "{} rebuilt", heard.last().fec);
    assert!(heard.concealed(5..30) < 0.03, "{} made up", heard.concealed(5..30));
    assert!(heard.last().jitter_buffer_ms < 45.0, "{} ms", heard.last().jitter_buffer_ms);
}

#[test]
fn losses_without_copies_are_made_up_one_by_one() {
    let mut random = random(3);
    let heard = play(ToneCodec, sent(30, false, |_| random.random_bool(0.95).then_some(2.0)), 30, 10.0);
    let made_up = heard.concealed(2..30);
    assert!((0.03..0.08).contains(&made_up), "{made_up} made up");
    assert_eq!(heard.last().fec, 0);
}

#[test]
fn packets_out_of_order_are_played_in_order() {
    let heard = play(ToneCodec, sent(20, false, |i| Some(if i % 10 == 3 { 30.0 } else { 0.0 })), 20, 10.0);
    assert!(heard.concealed(8..20) < 0.005, "{} made up", heard.concealed(8..20));
    assert!((heard.tone(8..20) - 0.5).abs() < 0.02);
}

#[test]
fn a_muted_sender_is_silence_and_no_loss() {
    let mut packets = sent(12, false, |_| Some(5.0));
    // Seconds 4 to 8 are muted: contiguous numbers, a hole in time, pause packets in front of it.
    packets[200].payload = ToneCodec::pause();
    packets.drain(201..400);
    for (i, packet) in packets.iter_mut().enumerate() {
        packet.sequence = i as u16;
    }
    let heard = play(ToneCodec, packets, 12, 10.0);
    assert_eq!(heard.concealed(1..12), 0.0);
    assert!(heard.tone(5..7) < 1e-6);
    assert!((heard.tone(9..12) - 0.5).abs() < 0.001);
    assert!(heard.last().jitter_buffer_ms < 16.0);
}

#[test]
fn a_sender_that_vanishes_is_silent_after_a_tenth_of_a_second_and_welcome_back() {
    let packets = sent(12, false, |i| (!(200..400).contains(&i)).then_some(5.0));
    let heard = play(ToneCodec, packets, 12, 10.0);
    assert!(heard.concealed(5..7) > 0.99);
    assert!((heard.tone(9..12) - 0.5).abs() < 0.001);
    assert!(heard.last().jitter_buffer_ms < 16.0);
}

#[test]
fn a_stall_of_the_network_is_caught_up_with() {
    // For one second everything waits, then it all comes at once.
    let packets = sent(20, false, |i| Some(if (250..300).contains(&i) { (300 - i) as f64 * 20.0 } else { 0.0 }));
    let heard = play(ToneCodec, packets, 20, 10.0);
    assert!(heard.stats[18].jitter_buffer_ms < 25.0, "{} ms", heard.stats[18].jitter_buffer_ms);
    assert!((heard.tone(18..20) - 0.5).abs() < 0.01);
}

#[test]
fn jumps_and_wraps_of_numbers_and_timestamps_are_followed() {
    let mut packets = sent(12, false, |_| Some(5.0));
    for (i, packet) in packets.iter_mut().enumerate() {
        // Wraps after two seconds; at second 6 the sender restarts with other numbers.
        let base = if i < 300 { u32::MAX - 96_000 } else { 77 };
        packet.timestamp = base.wrapping_add((i * PACKET) as u32);
        packet.sequence = if i < 300 { u16::MAX - 40 } else { 9_999 }.wrapping_add(i as u16);
        packet.payload = ToneCodec::payload(START + (i * PACKET) as u32, false);
    }
    let heard = play(ToneCodec, packets, 12, 10.0);
    assert_eq!(heard.concealed(1..5), 0.0);
    assert!(heard.concealed(6..8) < 0.1);
    assert_eq!(heard.concealed(8..12), 0.0);
    assert!((heard.tone(8..12) - 0.5).abs() < 0.001);
}

#[test]
fn clocks_that_drift_apart_are_kept_together() {
    for pull_ms in [9.997, 10.003] {
        // 300 ppm is worse than any sound card.
        let heard = play(ToneCodec, sent(60, false, |_| Some(5.0)), 60, pull_ms);
        assert!(heard.concealed(1..58) < 0.001, "{}", heard.concealed(1..58));
        assert!(heard.stats[57].jitter_buffer_ms < 20.0);
        assert!((heard.tone(1..2) - 0.5).abs() < 0.001);
        let step = heard.largest_step(1..58);
        assert!(step < 0.04, "{step} is a click");
    }
}

#[test]
fn opus_speech_at_ten_percent_loss_stays_continuous() {
    let mut random = random(4);
    let mut encoder = Encoder::new().unwrap();
    encoder.configure(32_000, 10).unwrap();
    let voice = voice(20 * 48_000);
    let mut packets = sent(20, false, |_| Some(25.0));
    for (packet, samples) in packets.iter_mut().zip(voice.chunks_exact(PACKET)) {
        packet.payload = encoder.encode(samples).unwrap();
    }
    packets.retain(|_| random.random_bool(0.9));
    let heard = play(Decoder::new().unwrap(), packets, 20, 10.0);
    assert!(heard.last().fec > 50, "{} rebuilt", heard.last().fec);
    // Copies are for voiced sound; what is lost between syllables is made up.
    assert!(heard.concealed(5..20) < 0.08, "{} made up", heard.concealed(5..20));
    let quietest = heard.sound[5 * 48_000..19 * 48_000]
        .chunks(24_000)
        .map(|part| mixer::dbfs(mixer::energy(part)))
        .fold(0.0, f32::min);
    assert!(quietest > -25.0, "a hole of {quietest} dBFS");
}

#[test]
fn a_flood_is_bounded() {
    let flood = (0..100_000_u32)
        .map(|i| {
            let timestamp = i * 97;
            let arrives = Duration::from_micros(u64::from(i) * 10);
            Sent { sequence: i as u16, timestamp, payload: ToneCodec::payload(timestamp, true), arrives }
        })
        .collect();
    // The bounds are asserted inside.
    play(ToneCodec, flood, 2, 10.0);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64,
        rng_seed: proptest::test_runner::RngSeed::Fixed(7),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn in_order_on_any_steady_path_nothing_is_made_up(path_ms in 0.0_f64..400.0, start in any::<u32>()) {
        let mut packets = sent(4, false, |_| Some(path_ms));
        for packet in &mut packets {
            packet.timestamp = packet.timestamp.wrapping_add(start);
        }
        let heard = play(ToneCodec, packets, 4, 10.0);
        prop_assert_eq!(heard.concealed(0..4), 0.0);
        prop_assert!(heard.last().jitter_buffer_ms < 16.0);
        prop_assert!((heard.tone(1..4) - 0.5).abs() < 0.001);
    }

    #[test]
    fn whatever_the_path_does_sound_comes_back_after_it(seed in any::<u64>()) {
        let mut random = random(seed);
        let (jitter, loss) = (random.random_range(0.0..300.0), random.random_range(0.0..0.6));
        let packets = sent(28, true, |i| {
            if i >= 200 { Some(0.0) } else { random.random_bool(1.0 - loss).then(|| random.random_range(0.0..=jitter)) }
        });
        let heard = play(ToneCodec, packets, 28, 10.0);
        prop_assert_eq!(heard.concealed(26..28), 0.0);
        prop_assert!((heard.tone(26..28) - 0.5).abs() < 0.03, "{}", heard.tone(26..28));
        prop_assert!(heard.last().jitter_buffer_ms < 50.0, "{} ms", heard.last().jitter_buffer_ms);
    }

    #[test]
    fn garbage_never_panics_and_stays_bounded(seed in any::<u64>()) {
        let mut random = random(seed);
        let mut packets = sent(3, false, |_| Some(random.random_range(0.0..100.0)));
        let mut encoder = Encoder::new().unwrap();
        for packet in &mut packets {
            packet.payload = match random.random_range(0..4) {
                0 => encoder.encode(&[0.1; PACKET]).unwrap(),
                1 => Bytes::new(),
                _ => {
                    let mut bytes = vec![0; random.random_range(1..1_500)];
                    random.fill_bytes(&mut bytes);
                    bytes.into()
                }
            };
            if random.random_bool(0.3) {
                packet.timestamp = random.random();
            }
            if random.random_bool(0.3) {
                packet.sequence = random.random();
            }
        }
        // Finite samples and bounded buffers are asserted inside.
        play(Decoder::new().unwrap(), packets, 4, 10.0);
    }
}
