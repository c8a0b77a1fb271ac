//! Own pictures: from the camera's slot through the encoder to packets.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    Frame, FrameReceiver, MediaTime, VideoSendStats, clock,
    codec::{CodecError, Encoded, VideoEncoder, h264},
    rate::VideoRate,
    rtp::{OutgoingPacket, PathReport},
    stats::PerSecond,
};

/// A key frame is large, and everyone who lost something asks for one: they share it.
const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(300);
/// How soon a stop is noticed when no frames come.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// The encoder's thread. Dropping it stops and joins the thread.
pub struct VideoSend {
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

/// What the handle tells the thread, and the thread the handle.
#[derive(Default)]
struct Shared {
    stopping: bool,
    key_frame_wanted: bool,
    report: Option<PathReport>,
    stats: VideoSendStats,
}

impl VideoSend {
    /// Starts to encode what comes into the slot. Frames that come while the encoder works replace each other; when
    /// `packets` is half full, frames are left out until it drains.
    pub fn spawn(frames: FrameReceiver, packets: mpsc::Sender<OutgoingPacket>) -> io::Result<Self> {
        let shared = Arc::default();
        let worker = Worker::new(packets, Arc::clone(&shared));
        let thread = thread::Builder::new().name("video-send".to_owned()).spawn(move || worker.run(&frames))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The far end can't decode without one (PLI or FIR).
    pub fn request_key_frame(&self) {
        lock(&self.shared).key_frame_wanted = true;
    }

    /// What the far end says of the path.
    pub fn report(&self, report: PathReport) {
        lock(&self.shared).report = Some(report);
    }

    /// How it goes.
    pub fn stats(&self) -> VideoSendStats {
        lock(&self.shared).stats.clone()
    }
}

impl Drop for VideoSend {
    fn drop(&mut self) {
        lock(&self.shared).stopping = true;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the video encoder's thread panicked");
        }
    }
}

impl std::fmt::Debug for VideoSend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VideoSend")
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Every write under this lock is a plain assignment, so a poisoned state is still a whole one.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    shared: Arc<Mutex<Shared>>,
    packets: mpsc::Sender<OutgoingPacket>,
    packetizer: h264::Packetizer,
    bitstream: Vec<u8>,
    stream: Option<Stream>,
    /// The far end's picture can't go on without a key frame: it asked, or something that it needs was not sent.
    key_frame_due: bool,
    last_key_frame: Option<Instant>,
    sequence: u16,
    timestamp_offset: u32,
    encode_ms: PerSecond,
}

/// What depends on the size of the picture.
struct Stream {
    encoder: Box<dyn VideoEncoder>,
    rate: VideoRate,
    size: (u32, u32),
}

impl Worker {
    fn new(packets: mpsc::Sender<OutgoingPacket>, shared: Arc<Mutex<Shared>>) -> Self {
        Self {
            shared,
            packets,
            packetizer: h264::Packetizer::default(),
            bitstream: Vec::new(),
            stream: None,
            key_frame_due: true,
            last_key_frame: None,
            // Random, so that encryption has unpredictable headers (RFC 3550, section 5.1).
            sequence: rand::random(),
            timestamp_offset: rand::random(),
            encode_ms: PerSecond::new(clock::now()),
        }
    }

    fn run(mut self, frames: &FrameReceiver) {
        loop {
            let frame = frames.take_until(clock::now() + IDLE_WAIT);
            let now = clock::now();
            let report = {
                let mut shared = lock(&self.shared);
                if shared.stopping || self.packets.is_closed() {
                    return;
                }
                self.key_frame_due |= std::mem::take(&mut shared.key_frame_wanted);
                shared.report.take()
            };
            if let (Some(report), Some(stream)) = (report, &mut self.stream) {
                stream.handle_report(now, report);
            }
            match frame {
                Some(frame) => self.handle_frame(&frame),
                None if frames.is_closed() => return self.wait_for_stop(),
                None => {}
            }
            self.publish(clock::now());
        }
    }

    /// The camera is gone for good; the handle still wants its figures.
    fn wait_for_stop(&mut self) {
        while !lock(&self.shared).stopping && !self.packets.is_closed() {
            thread::sleep(IDLE_WAIT);
            self.publish(clock::now());
        }
    }

    fn handle_frame(&mut self, frame: &Frame) {
        if self.packets.capacity() * 2 < self.packets.max_capacity() {
            // Before encoding, so that nothing refers to what was left out.
            tracing::trace!("the network is behind: a frame is left out");
            return;
        }
        if let Err(error) = self.send(frame) {
            tracing::warn!(%error, "a frame can't be encoded");
            self.stream = None;
            self.key_frame_due = true;
        }
    }

    fn send(&mut self, frame: &Frame) -> Result<(), CodecError> {
        let now = clock::now();
        let key_frame_allowed = self.last_key_frame.is_none_or(|at| now - at >= KEY_FRAME_INTERVAL);
        let stream = Stream::for_size(&mut self.stream, (frame.width(), frame.height()));
        let encoded = stream.encoder.encode(frame, self.key_frame_due && key_frame_allowed, &mut self.bitstream)?;
        self.encode_ms.add((clock::now() - now).as_secs_f32() * 1_000.0);
        let mut shared = lock(&self.shared);
        let stats = &mut shared.stats;
        stats.frames += 1;
        match encoded {
            Encoded::Skipped => return Ok(()),
            Encoded::Key => {
                stats.key_frames += 1;
                self.key_frame_due = false;
                self.last_key_frame = Some(now);
            }
            Encoded::Delta => {}
        }
        drop(shared);
        self.send_packets(frame);
        Ok(())
    }

    fn send_packets(&mut self, frame: &Frame) {
        let payloads = self.packetizer.packetize(&self.bitstream);
        let count = payloads.len();
        if self.packets.capacity() < count {
            tracing::debug!(count, "the network is behind: an encoded frame is dropped");
            self.key_frame_due = true;
            return;
        }
        let timestamp = rtp_timestamp(frame.captured).wrapping_add(self.timestamp_offset);
        for (index, payload) in payloads.enumerate() {
            let packet = OutgoingPacket {
                sequence: self.sequence,
                timestamp,
                marker: index + 1 == count,
                payload,
                copies: 0,
                captured_unix_us: frame.captured_unix_us,
                level: None,
            };
            self.sequence = self.sequence.wrapping_add(1);
            if self.packets.try_send(packet).is_err() {
                self.key_frame_due = true;
            }
        }
    }

    fn publish(&mut self, now: Instant) {
        let mut shared = lock(&self.shared);
        let stats = &mut shared.stats;
        if let Some(stream) = &self.stream {
            (stats.width, stats.height) = (stream.size.0 & !1, stream.size.1 & !1);
            stats.codec = stream.encoder.name();
            stats.target_bps = stream.rate.target().as_bps();
        }
        if let Some(second) = self.encode_ms.poll(now) {
            (stats.fps, stats.encode_ms) = (second.rate, second.mean);
        }
    }
}

impl Stream {
    fn for_size(stream: &mut Option<Self>, size: (u32, u32)) -> &mut Self {
        let stream = stream.get_or_insert_with(|| {
            let rate = VideoRate::new(size.0, size.1);
            Self { encoder: Box::new(h264::Encoder::new(rate.target())), rate, size }
        });
        if stream.size != size {
            stream.size = size;
            stream.rate.resize(size.0, size.1);
            stream.encoder.set_bitrate(stream.rate.target());
        }
        stream
    }

    fn handle_report(&mut self, now: Instant, report: PathReport) {
        let before = self.rate.target();
        self.rate.handle_report(now, report);
        if self.rate.target() != before {
            self.encoder.set_bitrate(self.rate.target());
        }
    }
}

/// The 90 kHz clock of video (RFC 6184, section 5.1).
fn rtp_timestamp(at: MediaTime) -> u32 {
    (u128::from(at.as_micros()) * 9 / 100) as u32
}
