//! What a picture costs and how it looks: a clip through the whole path of a call, from capture to the other's slot,
//! without a network in between.
//!
//! ```text
//! video_bench [CLIP.y4m] [SECONDS] [h264|vp8|vp9]
//! ```
//!
//! Without a clip it is the test card; without a codec, whichever suits. Prints frame rate, bitrate, encode time, capture-to-shown delay and, on Linux,
//! CPU seconds per minute for each thread and the memory of the process.
#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use parlor_media::{
    Camera, VideoCodec, VideoSink, VideoSource, frame_slot,
    pipeline::{Timing, video_recv::VideoRecv, video_send::VideoSend},
    rtp::{IncomingPacket, OutgoingPacket},
};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let source = arguments.next().map_or(VideoSource::TestCard, |path| VideoSource::File(path.into()));
    let seconds: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(20);
    let codec = arguments.next().and_then(|name| VideoCodec::named(&name));
    let codecs = codec.as_ref().map_or(VideoCodec::BUILT, std::slice::from_ref);

    let (camera_slot, frames) = frame_slot(|| ());
    let (outgoing, mut wire) = tokio::sync::mpsc::channel(512);
    let (to_receiver, incoming) = mpsc::channel();
    let (out, screen) = frame_slot(|| ());
    let (bytes, packets) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let counters = (Arc::clone(&bytes), Arc::clone(&packets));
    let camera = Camera::open(&source, vec![camera_slot], None, |event| println!("{event:?}"));
    let send = VideoSend::spawn(frames, outgoing, codecs)?;
    let recv = VideoRecv::spawn(incoming, out, VideoSink::None, Timing::default(), |event| println!("{event:?}"))?;
    let network = thread::Builder::new().name("network".to_owned()).spawn(move || {
        while let Some(packet) = wire.blocking_recv() {
            counters.0.fetch_add(packet.payload.len() as u64, Ordering::Relaxed);
            counters.1.fetch_add(1, Ordering::Relaxed);
            let OutgoingPacket { sequence, timestamp, marker, payload, codec, captured_unix_us, .. } = packet;
            let arrived = Instant::now();
            let packet = IncomingPacket { sequence, timestamp, marker, payload, codec, arrived, captured_unix_us };
            if to_receiver.send(packet).is_err() {
                return;
            }
        }
    })?;

    let start = Instant::now();
    let mut latencies = Vec::new();
    let mut before = (0, 0);
    for second in 1..=seconds {
        thread::sleep((start + Duration::from_secs(second)).saturating_duration_since(Instant::now()));
        let (sent, shown) = (send.stats(), recv.stats());
        latencies.extend(shown.latency_ms);
        let now = (bytes.load(Ordering::Relaxed), packets.load(Ordering::Relaxed));
        println!(
            "{second:3} s  {} x {}  {:4.1} fps sent  {:4.1} fps shown  {:4} kbit/s of {:4}  {:3} packets/s  encode {:.2} ms  latency {:.1} ms  freezes {}",
            shown.width,
            shown.height,
            sent.fps,
            shown.fps,
            (now.0 - before.0) * 8 / 1_000,
            sent.target_bps / 1_000,
            now.1 - before.1,
            sent.encode_ms,
            shown.latency_ms.unwrap_or_default(),
            shown.freezes,
        );
        before = now;
    }
    latencies.sort_by(f32::total_cmp);
    let (sent, shown) = (send.stats(), recv.stats());
    println!(
        "\nframes: {} encoded, {} key frames, {} shown, {} dropped; median latency {:.1} ms",
        sent.frames,
        sent.key_frames,
        shown.shown,
        shown.dropped,
        latencies.get(latencies.len() / 2).copied().unwrap_or_default()
    );
    print_threads(start.elapsed(), sent.frames);
    drop((camera, send, recv, screen));
    network.join().map_err(|_| std::io::Error::other("the network's thread panicked"))
}

/// CPU time by thread, from `/proc` where there is one.
fn print_threads(elapsed: Duration, frames: u64) {
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let Ok(stat) = fs::read_to_string(task.path().join("schedstat")) else { continue };
        let Ok(name) = fs::read_to_string(task.path().join("comm")) else { continue };
        let nanos: f64 = stat.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or_default();
        println!(
            "{:16} {:5.2} CPU-s/min  {:.2} ms a frame",
            name.trim(),
            nanos / 1e9 * 60.0 / elapsed.as_secs_f64(),
            nanos / 1e6 / frames.max(1) as f64
        );
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().filter(|line| line.starts_with("VmRSS")).for_each(|line| println!("{line}"));
}
