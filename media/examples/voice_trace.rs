//! Runs a WAV file (48 kHz mono 16 bit) through Opus, copies, a simulated path and the jitter buffer, and writes what
//! would be heard, in virtual time: a way to score voice quality and delay. `tests/bench/voice` drives it.
//!
//! ```sh
//! cargo run -p parlor-media --example voice_trace -- IN.wav OUT.wav [KEY=VALUE]...
//! ```
//! Keys: `loss` (percent), `burst` (percent) and `length` (mean, packets), `jitter` (ms, standard deviation), `reorder`
//! (percent, by 20 ms), `seed`, `bitrate` (of the voice itself), `fec` (percent that Opus prepares for), `copies` (of
//! packets in each packet). The path takes 25 ms; jitter and bursts are those of the network lab.
//!
//! With `cap` (kbit/s) the path is a bottleneck from second `from` on, with a queue of 300 ms, and rate control decides how
//! the voice is coded, beside a picture when `camera` is 1: of the other keys only `loss` and `seed` count then. `log` 1
//! prints how it went, ten times a second.
#![allow(clippy::print_stdout, reason = "a command-line tool")]

use std::{
    collections::HashMap,
    f64::consts::TAU,
    time::{Duration, Instant},
};

use parlor_media::{
    bottleneck,
    codec::{
        opus::{Decoder, Encoder, PACKET},
        red,
    },
    playout::audio::AudioPlayout,
    rtp::IncomingPacket,
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

/// What the path takes at its best.
const PATH_MS: f64 = 25.0;

/// How long jitter remembers itself.
const JITTER_MEMORY_MS: f64 = 50.0;

/// What an option is when it isn't given.
const DEFAULTS: [(&str, f64); 13] = [
    ("loss", 0.0),
    ("burst", 0.0),
    ("length", 5.0),
    ("jitter", 0.0),
    ("reorder", 0.0),
    ("seed", 1.0),
    ("bitrate", 40_000.0),
    ("fec", 0.0),
    ("copies", 0.0),
    ("cap", 0.0),
    ("from", 2.0),
    ("camera", 0.0),
    ("log", 0.0),
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, options @ ..] = &args[..] else {
        return Err("usage: voice_trace IN.wav OUT.wav [KEY=VALUE]...".into());
    };
    let mut option: HashMap<&str, f64> = DEFAULTS.into();
    for (key, value) in options.iter().filter_map(|option| option.split_once('=')) {
        *option.get_mut(key).ok_or_else(|| format!("there is no option {key}"))? = value.parse()?;
    }
    let mut wav = hound::WavReader::open(input)?;
    let sound: Vec<f32> = wav.samples::<i16>().map(|s| Ok(f32::from(s?) / 32_768.0)).collect::<hound::Result<_>>()?;

    #[expect(clippy::disallowed_methods, reason = "only the origin of virtual time")]
    let start = Instant::now();
    let (packets, bytes) =
        if option["cap"] > 0.0 { squeeze(&sound, &option, start)? } else { travel(&sound, &option, start)? };
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 48_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut heard = hound::WavWriter::create(output, spec)?;
    let mut playout = AudioPlayout::new(Decoder::new()?);
    let mut packets = packets.into_iter().peekable();
    let mut piece = [0.0; 480];
    let (mut made_up, mut depth, mut seconds) = (0.0, 0.0, 0.0);
    for pull in 0..sound.len() / 480 + 20 {
        let now = start + Duration::from_millis(3 + 10 * pull as u64);
        while let Some(packet) = packets.next_if(|packet| packet.arrived <= now) {
            for block in red::unpack(&packet.payload).into_iter().rev() {
                playout.push(IncomingPacket {
                    sequence: packet.sequence.wrapping_sub(block.distance),
                    timestamp: packet.timestamp.wrapping_sub(block.offset),
                    payload: block.payload,
                    ..packet
                });
            }
        }
        playout.pull(now, &mut piece);
        for sample in piece {
            heard.write_sample((sample.clamp(-1.0, 1.0) * 32_767.0) as i16)?;
        }
        if pull % 100 == 99 {
            let stats = playout.stats();
            (made_up, depth, seconds) = (made_up + stats.concealed, depth + stats.jitter_buffer_ms, seconds + 1.0);
        }
    }
    heard.finalize()?;
    let stats = playout.stats();
    println!(
        "{:.0} kbit/s, {:.1} % made up, {} rebuilt, {} late, {:.0} ms mean depth",
        bytes as f64 * 8.0 / (sound.len() as f64 / 48.0),
        100.0 * made_up / seconds,
        stats.fec,
        stats.late,
        depth / seconds,
    );
    Ok(())
}

/// As [`travel`], through a bottleneck.
fn squeeze(
    sound: &[f32],
    option: &HashMap<&str, f64>,
    start: Instant,
) -> Result<(Vec<IncomingPacket>, usize), Box<dyn std::error::Error>> {
    let link = bottleneck::Link {
        bps: option["cap"] * 1e3,
        from_ms: (option["from"] * 1e3) as u64,
        queue_ms: 300.0,
        delay_ms: PATH_MS,
        loss: option["loss"] / 100.0,
        with_picture: option["camera"] > 0.0,
        seed: option["seed"] as u64,
    };
    let call = bottleneck::run(sound, link, start)?;
    if option["log"] > 0.0 {
        for (at, (target, picture, queue)) in call.log.iter().enumerate() {
            let [target, picture] = [target, picture].map(|bps| bps / 1_000);
            println!("{:5.1} s: {target} kbit/s, picture {picture}, queue {queue:.0} ms", at as f64 / 10.0);
        }
        println!("{} packets of the voice were lost", call.voice_lost);
    }
    Ok((call.voice, call.voice_bytes))
}

/// The packets that arrive, in the order in which they do, and how many bytes were sent.
fn travel(
    sound: &[f32],
    option: &HashMap<&str, f64>,
    start: Instant,
) -> Result<(Vec<IncomingPacket>, usize), Box<dyn std::error::Error>> {
    let mut random = SmallRng::seed_from_u64(option["seed"] as u64);
    let mut encoder = Encoder::new()?;
    encoder.configure(option["bitrate"] as u32, option["fec"] as u8)?;
    let mut packer = red::Packer::default();
    let (mut packets, mut bytes) = (Vec::new(), 0);
    let (mut in_burst, mut wander, mut newest_due) = (false, 0.0, 0.0_f64);
    for (i, samples) in sound.as_chunks::<PACKET>().0.iter().enumerate() {
        let timestamp = (i * PACKET) as u32;
        let payload = packer.pack(timestamp, encoder.encode(samples)?, 111, option["copies"] as u8);
        bytes += payload.len();
        // Gilbert and Elliott: in a burst everything is lost.
        let leave = 1.0 / option["length"];
        let enter = leave * option["burst"] / (100.0 - option["burst"]);
        in_burst = random.random_bool(if in_burst { 1.0 - leave } else { enter });
        let is_lost = random.random_bool(option["loss"] / 100.0);
        // Jitter that forgets itself within some packets, and overtakes nothing.
        let keep = (-20.0 / JITTER_MEMORY_MS).exp();
        let normal = (-2.0 * random.random_range(1e-12_f64..1.0).ln()).sqrt() * (TAU * random.random::<f64>()).cos();
        wander = wander * keep + normal * (1.0 - keep * keep).sqrt();
        let mut due = (i + 1) as f64 * 20.0 + (PATH_MS + wander * option["jitter"]).max(0.0);
        if random.random_bool(option["reorder"] / 100.0) {
            due += 20.0;
        } else {
            due = due.max(newest_due);
            newest_due = due;
        }
        if in_burst || is_lost {
            continue;
        }
        packets.push(IncomingPacket {
            sequence: i as u16,
            timestamp,
            marker: i == 0,
            payload,
            codec: None,
            arrived: start + Duration::from_secs_f64(due / 1_000.0),
            captured_unix_us: None,
        });
    }
    packets.sort_by_key(|packet| packet.arrived);
    Ok((packets, bytes))
}
