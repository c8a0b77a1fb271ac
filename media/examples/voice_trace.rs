//! Runs a WAV file (48 kHz mono 16 bit) through Opus, a simulated path and the jitter buffer, and writes what would be
//! heard: a way to score voice quality under losses and jitter, in virtual time.
//!
//! ```sh
//! cargo run -p parlor-media --example voice_trace -- IN.wav OUT.wav LOSS_PERCENT JITTER_MS [SEED]
//! ```
#![allow(clippy::print_stdout, reason = "a command-line tool")]

use std::time::{Duration, Instant};

use parlor_media::{
    codec::opus::{Decoder, Encoder, PACKET},
    playout::audio::AudioPlayout,
    rtp::{IncomingPacket, PathReport},
};
use rand::{RngExt, SeedableRng, rngs::SmallRng};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [input, output, loss, jitter, rest @ ..] = &args[..] else {
        return Err("usage: voice_trace IN.wav OUT.wav LOSS_PERCENT JITTER_MS [SEED]".into());
    };
    let (loss, jitter): (f64, f64) = (loss.parse::<f64>()? / 100.0, jitter.parse()?);
    let seed = rest.first().map_or(Ok(1), |seed| seed.parse())?;
    let mut random = SmallRng::seed_from_u64(seed);
    let mut wav = hound::WavReader::open(input)?;
    let sound: Vec<f32> = wav.samples::<i16>().map(|s| Ok(f32::from(s?) / 32_768.0)).collect::<hound::Result<_>>()?;

    let mut encoder = Encoder::new()?;
    encoder.adapt(PathReport { loss: loss as f32, ..PathReport::default() })?;
    #[expect(clippy::disallowed_methods, reason = "only the origin of virtual time")]
    let start = Instant::now();
    let mut bytes = 0;
    let mut packets: Vec<IncomingPacket> = Vec::new();
    for (i, samples) in sound.as_chunks::<PACKET>().0.iter().enumerate() {
        let payload = encoder.encode(samples)?;
        bytes += payload.len();
        let delay_ms = 25.0 + random.random_range(0.0..=jitter.max(1e-3));
        if random.random_bool(1.0 - loss) {
            packets.push(IncomingPacket {
                sequence: i as u16,
                timestamp: (i * PACKET) as u32,
                marker: i == 0,
                payload,
                arrived: start + Duration::from_secs_f64(((i + 1) as f64 * 20.0 + delay_ms) / 1_000.0),
                captured_unix_us: None,
            });
        }
    }
    packets.sort_by_key(|packet| packet.arrived);

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
            playout.push(packet);
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
