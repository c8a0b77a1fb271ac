//! A voice: resampled, cleaned, encoded, packed, buffered, decoded, mixed.

use std::{
    f32::consts::TAU,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Stage, Step};
use crate::{
    audio::{
        PIECE, Piece, SAMPLE_RATE,
        capture::Captured,
        mixer,
        processing::{Processing, Reference},
        resample::Resampler,
    },
    clock,
    codec::{
        opus::{Decoder, Encoder, PACKET},
        red::{self, Packer},
    },
    pipeline::voice::send::{VoiceSender, WallClock},
    playout::audio::{AudioPlayout, Decode},
    rtp::IncomingPacket,
};

pub(super) const STAGES: &[Stage] = &[
    Stage::new("resample/44100_to_48000_10ms", resample),
    Stage::new("process/echo_noise_gain_10ms", process).allocating(SONORA),
    Stage::new("encode/opus_20ms", encode),
    Stage::new("pack/red_2_copies_20ms", pack),
    Stage::new("decode/opus_20ms", decode),
    Stage::new("buffer/jitter_20ms", || buffer(Plain)),
    Stage::new("mix/clip_and_measure_10ms", mix),
    Stage::new("way/microphone_to_packet_20ms", microphone_to_packet).allocating(2 * SONORA),
    Stage::new("way/packet_to_mixer_20ms", packet_to_mixer),
];

/// For 10 ms, `sonora` makes 44 lists and more in its echo canceller, and 11 in its gain control.
const SONORA: u64 = 64;

/// A second of something like a voice: vowels whose pitch glides, in syllables.
fn voice() -> Vec<f32> {
    let mut phase = 0.0_f32;
    (0..SAMPLE_RATE)
        .map(|at| {
            let seconds = at as f32 / SAMPLE_RATE as f32;
            phase = (phase + (140.0 + 40.0 * (TAU * seconds).sin()) / SAMPLE_RATE as f32).fract();
            let syllable = (TAU * 4.0 * seconds).sin().max(0.0);
            let vowel: f32 = (1..12).map(|n| (TAU * phase * n as f32).sin() / (n * n) as f32).sum();
            0.3 * syllable * vowel
        })
        .collect()
}

/// The pieces of that, again and again.
struct Microphone {
    voice: Vec<f32>,
    pieces: usize,
}

impl Microphone {
    fn new() -> Self {
        Self { voice: voice(), pieces: 0 }
    }

    fn piece(&mut self) -> Piece {
        let (pieces, _) = self.voice.as_chunks::<PIECE>();
        let piece = pieces[self.pieces % pieces.len()];
        self.pieces += 1;
        piece
    }
}

/// All packets of that.
fn packets() -> Vec<Bytes> {
    let mut encoder = Encoder::new().expect("libopus is there");
    voice().chunks_exact(PACKET).map(|sound| encoder.encode(sound).expect("whole packets of sound")).collect()
}

fn resample() -> Step {
    let mut resampler = Resampler::new(44_100, SAMPLE_RATE).expect("usual rates");
    let sound = voice();
    let mut heard = 0.0;
    Box::new(move || resampler.process(&sound[..441], |samples| heard += samples.first().unwrap_or(&0.0)))
}

/// With the other's voice in the room.
fn with_echo(microphone: &mut Microphone, reference: &mut Reference) -> Piece {
    let played = microphone.piece();
    reference.play(&played);
    played.map(|sample| 0.4 * sample)
}

fn process() -> Step {
    let (mut processing, mut reference) = Processing::new();
    let mut microphone = Microphone::new();
    Box::new(move || {
        let mut piece = with_echo(&mut microphone, &mut reference);
        processing.process(&mut piece);
    })
}

fn encode() -> Step {
    let mut encoder = Encoder::new().expect("libopus is there");
    encoder.configure(32_000, 10).expect("usual settings");
    let (sound, mut at) = (voice(), 0);
    Box::new(move || {
        encoder.encode(&sound[at..at + PACKET]).expect("a whole packet of sound");
        at = (at + PACKET) % sound.len();
    })
}

fn pack() -> Step {
    let (packets, mut number) = (packets(), 0_u32);
    let (mut packer, mut blocks) = (Packer::default(), Vec::new());
    Box::new(move || {
        let primary = packets[number as usize % packets.len()].clone();
        red::unpack_into(&packer.pack(number.wrapping_mul(PACKET as u32), primary, 111, 2), &mut blocks);
        blocks.clear();
        number = number.wrapping_add(1);
    })
}

fn decode() -> Step {
    let (packets, mut number) = (packets(), 0);
    let mut decoder = Decoder::new().expect("libopus is there");
    let mut sound = Vec::new();
    Box::new(move || {
        sound.clear();
        decoder.decode(&packets[number % packets.len()], &mut sound);
        number += 1;
    })
}

/// No codec: what remains is the buffer itself.
struct Plain;

impl Decode for Plain {
    fn duration(&self, _payload: &[u8]) -> Option<usize> {
        Some(PACKET)
    }

    fn is_pause(&self, _payload: &[u8]) -> bool {
        false
    }

    fn decode(&mut self, _payload: &[u8], out: &mut Vec<f32>) -> bool {
        out.extend_from_slice(&[0.1; PACKET]);
        true
    }

    fn holds_copy(&self, _payload: &[u8]) -> bool {
        false
    }

    fn recover(&mut self, _next: &[u8], _samples: usize, _out: &mut Vec<f32>) -> bool {
        false
    }

    fn conceal(&mut self, samples: usize, out: &mut Vec<f32>) {
        out.extend(std::iter::repeat_n(0.0, samples));
    }
}

/// A packet each 20 ms of virtual time, late by up to 15 ms, and what is pulled meanwhile.
fn buffer(decoder: impl Decode + 'static) -> Step {
    let (packets, mut number) = (packets(), 0_u32);
    let mut playout = AudioPlayout::new(decoder);
    let start = clock::now();
    Box::new(move || {
        let now = start + number * Duration::from_millis(20);
        let late = Duration::from_millis(u64::from(number.wrapping_mul(0x9e37_79b1) >> 28));
        let mut piece = [0.0; PIECE];
        playout.push(arrival(&packets, number, now + late));
        playout.pull(now + Duration::from_millis(16), &mut piece);
        playout.pull(now + Duration::from_millis(26), &mut piece);
        number += 1;
    })
}

fn arrival(packets: &[Bytes], number: u32, arrived: Instant) -> IncomingPacket {
    IncomingPacket {
        sequence: number as u16,
        timestamp: number.wrapping_mul(PACKET as u32),
        marker: false,
        payload: packets[number as usize % packets.len()].clone(),
        codec: None,
        arrived,
        captured_unix_us: None,
    }
}

fn mix() -> Step {
    let mut microphone = Microphone::new();
    let mut loudest = 0.0_f32;
    Box::new(move || {
        let mut piece = microphone.piece();
        mixer::soft_clip(&mut piece);
        loudest = loudest.max(mixer::energy(&piece));
    })
}

fn microphone_to_packet() -> Step {
    let (processing, mut reference) = Processing::new();
    let mut sender = VoiceSender::new(0, 0, WallClock::new(), Some(processing)).expect("libopus is there");
    let (mut microphone, mut packer) = (Microphone::new(), Packer::default());
    let start = clock::now();
    Box::new(move || {
        for _ in 0..2 {
            let piece = with_echo(&mut microphone, &mut reference);
            let at = start + microphone.pieces as u32 * Duration::from_millis(10);
            let packets = sender.take(&piece, Captured { at, skipped: 0 }, false).expect("whole packets of sound");
            for packet in packets.into_iter().flatten() {
                packer.pack(packet.timestamp, packet.payload, 111, 2);
            }
        }
    })
}

fn packet_to_mixer() -> Step {
    let mut step = buffer(Decoder::new().expect("libopus is there"));
    let (_processing, mut reference) = Processing::new();
    let mut piece = [0.1; PIECE];
    Box::new(move || {
        step();
        for _ in 0..2 {
            mixer::soft_clip(&mut piece);
            reference.play(&piece);
        }
    })
}
