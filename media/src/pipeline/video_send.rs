//! Own pictures: from the camera's slot through the encoder to packets.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::mpsc;

use crate::{
    Frame, FrameReceiver, Limit, MediaTime, VideoSendStats, clock,
    codec::{
        CodecError, Content, Encoded, VideoCodec, VideoEncoder,
        payload::{MAX_PAYLOAD, Packetizer},
    },
    frame::Scaler,
    interceptors::Meter,
    rate::{Bitrate, CodecChoice, Ladder, SCREEN_FPS, Situation, Step},
    rtp::OutgoingPacket,
    stats::PerSecond,
};

/// A key frame is large, and everyone who lost something asks for one: they share it.
const KEY_FRAME_INTERVAL: Duration = Duration::from_millis(300);
/// A round trip is not taken to be longer.
const LONGEST_TRIP: Duration = Duration::from_millis(800);
/// What waits in the pacer for longer is late already: rather leave a frame out. Key frames take longer to leave.
const MAX_BACKLOG: Duration = Duration::from_millis(90);
/// What the encoder's rate control reckons with, whatever the camera gives.
const NOMINAL_FPS: f32 = 30.0;
/// How soon a stop is noticed when no frames come.
const IDLE_WAIT: Duration = Duration::from_millis(100);

/// A key frame of a screen is larger still.
const SCREEN_KEY_FRAME_INTERVAL: Duration = Duration::from_millis(1_000);

/// Frames are seldom larger: memory for one from the beginning.
const MOST_BYTES: usize = 128 * 1_024;

/// Seconds that one is waited for.
const MOST_FOR_A_KEY_FRAME: f32 = 10.0;

/// The encoder's thread. Dropping it stops and joins the thread.
pub struct VideoSend {
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

/// What the handle tells the thread, and the thread the handle.
#[derive(Default)]
pub(crate) struct Shared {
    stopping: bool,
    key_frame_wanted: bool,
    anew: bool,
    /// The far end asked for one, then.
    key_frame_asked: Option<Instant>,
    budget: Budget,
    /// Of the connection: what its pacer holds.
    meter: Option<Arc<Meter>>,
    stats: VideoSendStats,
}

/// What the picture may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// `None`: nothing for now.
    pub(crate) bitrate: Option<Bitrate>,
    /// The same, without passing dips: what the size goes by.
    pub(crate) sustainable: Bitrate,
    /// Bytes of payload in a packet, at most.
    pub(crate) packet_size: usize,
}

impl Default for Budget {
    /// Until the path is known.
    fn default() -> Self {
        let bitrate = Bitrate::from_bps(1_400_000);
        Self { bitrate: Some(bitrate), sustainable: bitrate, packet_size: MAX_PAYLOAD }
    }
}

impl VideoSend {
    /// Starts to encode what comes into the slot, with whichever of `codecs`, those that both ends have, suits. Frames
    /// that come while the encoder works replace each other; when `packets` is half full, frames are left out until it
    /// drains.
    pub fn spawn(
        frames: FrameReceiver,
        packets: mpsc::Sender<OutgoingPacket>,
        codecs: &[VideoCodec],
    ) -> io::Result<Self> {
        Self::spawn_for(Content::Camera, "video-send", frames, packets, codecs)
    }

    /// The same for pictures of a screen, with the first of the codecs.
    pub fn spawn_screen(
        frames: FrameReceiver,
        packets: mpsc::Sender<OutgoingPacket>,
        codecs: &[VideoCodec],
    ) -> io::Result<Self> {
        Self::spawn_for(Content::Screen, "screen-send", frames, packets, codecs.get(..1).unwrap_or_default())
    }

    fn spawn_for(
        content: Content,
        name: &str,
        frames: FrameReceiver,
        packets: mpsc::Sender<OutgoingPacket>,
        codecs: &[VideoCodec],
    ) -> io::Result<Self> {
        let shared = Arc::default();
        let worker = Worker::new(content, packets, codecs.to_vec(), Arc::clone(&shared));
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || worker.run(&frames))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The far end can't go on without one.
    pub fn request_key_frame(&self) {
        lock(&self.shared).key_frame_wanted = true;
    }

    /// What was sent is lost: the picture begins anew, as small as the path is now.
    pub fn begin_anew(&self) {
        lock(&self.shared).anew = true;
    }

    /// The far end asks for one (PLI or FIR). When one is on its way already, that is the answer.
    pub fn key_frame_requested(&self) {
        lock(&self.shared).key_frame_asked = Some(clock::now());
    }

    /// What the picture may take from now on.
    pub(crate) fn set_budget(&self, budget: Budget) {
        lock(&self.shared).budget = budget;
    }

    /// Frames are left out when what this counts in the connection's pacer is too much.
    pub(crate) fn follow(&self, meter: Arc<Meter>) {
        lock(&self.shared).meter = Some(meter);
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

/// What the thread does.
pub(crate) struct Worker {
    content: Content,
    shared: Arc<Mutex<Shared>>,
    packets: mpsc::Sender<OutgoingPacket>,
    codecs: Vec<VideoCodec>,
    bitstream: Vec<u8>,
    scaler: Scaler,
    stream: Option<Stream>,
    budget: Budget,
    meter: Option<Arc<Meter>>,
    /// The far end's picture can't go on without a key frame: it asked, or something that it needs was not sent.
    key_frame_due: bool,
    last_key_frame: Option<Instant>,
    /// To send that, at the rate that there was.
    key_frame_takes: Duration,
    sequence: u16,
    timestamp_offset: u32,
    encode_ms: PerSecond,
}

/// What depends on where the pictures come from.
struct Stream {
    content: Content,
    encoder: Box<dyn VideoEncoder>,
    packetizer: Packetizer,
    choice: CodecChoice,
    /// What the encoder was told to aim at.
    aim: Bitrate,
    ladder: Ladder,
    pace: FramePace,
    /// What the camera gives, and what is encoded.
    source: (u32, u32),
    size: (u32, u32),
    /// Mean time to encode a frame, milliseconds.
    encode_ms: f32,
}

impl Worker {
    pub(crate) fn new(
        content: Content,
        packets: mpsc::Sender<OutgoingPacket>,
        codecs: Vec<VideoCodec>,
        shared: Arc<Mutex<Shared>>,
    ) -> Self {
        Self {
            content,
            shared,
            packets,
            codecs,
            bitstream: Vec::with_capacity(MOST_BYTES),
            scaler: Scaler::default(),
            stream: None,
            budget: Budget::default(),
            meter: None,
            key_frame_due: true,
            last_key_frame: None,
            key_frame_takes: Duration::ZERO,
            // Random, so that encryption has unpredictable headers (RFC 3550, section 5.1).
            sequence: rand::random(),
            timestamp_offset: rand::random(),
            encode_ms: PerSecond::new(clock::now()),
        }
    }

    fn run(mut self, frames: &FrameReceiver) {
        loop {
            let frame = frames.take_until(clock::now() + IDLE_WAIT);
            {
                let mut shared = lock(&self.shared);
                if shared.stopping || self.packets.is_closed() {
                    return;
                }
                self.key_frame_due |= std::mem::take(&mut shared.key_frame_wanted);
                let asked = shared.key_frame_asked.take();
                let anew = std::mem::take(&mut shared.anew);
                self.budget = shared.budget;
                if self.meter.is_none() {
                    self.meter = shared.meter.take();
                }
                drop(shared);
                self.key_frame_due |= anew || asked.is_some_and(|at| !self.is_answered(at));
                if let (true, Some(stream), Some(bitrate)) = (anew, &mut self.stream, self.budget.bitrate) {
                    stream.ladder.begin_anew(bitrate);
                }
            }
            match frame {
                Some(frame) => self.handle_frame(&frame),
                None if frames.is_closed() => return self.wait_for_stop(),
                None => {}
            }
            self.publish(clock::now());
        }
    }

    /// Whether a request that came then was made before the last key frame can have arrived.
    fn is_answered(&self, asked: Instant) -> bool {
        let loop_us = self.meter.as_ref().map_or(0, |meter| meter.loop_us.load(Ordering::Relaxed));
        let trip = Duration::from_micros(u64::from(loop_us)).mul_f32(1.2).min(LONGEST_TRIP);
        let trip = match self.content {
            Content::Camera => trip,
            // It is on its way for long, and the far end asks meanwhile.
            Content::Screen => trip + self.key_frame_takes,
        };
        self.last_key_frame.is_some_and(|at| asked.saturating_duration_since(at) < trip)
    }

    /// The camera is gone for good; the handle still wants its figures.
    fn wait_for_stop(&mut self) {
        while !lock(&self.shared).stopping && !self.packets.is_closed() {
            thread::sleep(IDLE_WAIT);
            self.publish(clock::now());
        }
    }

    pub(crate) fn handle_frame(&mut self, frame: &Frame) {
        let source = (frame.width(), frame.height());
        let stream = match Stream::for_source(&mut self.stream, self.content, source, &self.codecs) {
            Ok(stream) => stream,
            Err(error) => return tracing::error!(%error, "no encoder"),
        };
        stream.pace.saw(frame.captured);
        stream.ladder.set_source(Step { height: frame.height(), fps: stream.source_fps(self.content) });
        if let Some(meter) = &self.meter {
            let useful = stream.ladder.useful().as_bps();
            match self.content {
                Content::Camera => meter.max_bps.store(useful + BESIDE_PICTURE_BPS, Ordering::Relaxed),
                Content::Screen => meter.max_screen_bps.store(useful, Ordering::Relaxed),
            }
        }
        let Some(bitrate) = self.budget.bitrate else {
            // The far end keeps the last picture; the next needs it no more.
            self.key_frame_due = true;
            return;
        };
        let now = clock::now();
        stream.ladder.handle_bitrate(now, self.budget.sustainable);
        let step = stream.ladder.step();
        stream.choose_codec(now, self.budget.sustainable, self.key_frame_due);
        stream.aim_at(bitrate, stream.source_fps(self.content).min(step.fps));
        if !stream.pace.is_due(frame.captured, step.fps) {
            return;
        }
        if self.packets.capacity() * 2 < self.packets.max_capacity() || self.backlog() > MAX_BACKLOG {
            // Before encoding, so that nothing refers to what was left out.
            tracing::trace!("the network is behind: a frame is left out");
            return;
        }
        let scaled = self.scaler.resize(frame, step.height);
        if let Err(error) = self.send(&scaled, now) {
            tracing::warn!(%error, "a frame can't be encoded");
            self.stream = None;
            self.key_frame_due = true;
        }
    }

    /// How long what waits in the pacer takes.
    fn backlog(&self) -> Duration {
        let micros = self.meter.as_ref().map_or(0, |meter| match self.content {
            Content::Camera => meter.pacer_us.load(Ordering::Relaxed),
            Content::Screen => meter.screen_pacer_us.load(Ordering::Relaxed),
        });
        Duration::from_micros(u64::from(micros))
    }

    fn send(&mut self, frame: &Frame, began: Instant) -> Result<(), CodecError> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let interval = match self.content {
            Content::Camera => KEY_FRAME_INTERVAL,
            Content::Screen => SCREEN_KEY_FRAME_INTERVAL,
        };
        let key_frame_allowed = self.last_key_frame.is_none_or(|at| began - at >= interval);
        let encoded = stream.encoder.encode(frame, self.key_frame_due && key_frame_allowed, &mut self.bitstream)?;
        stream.size = (frame.width(), frame.height());
        let now = clock::now();
        stream.took(now, now - began);
        self.encode_ms.add((now - began).as_secs_f32() * 1_000.0);
        let mut shared = lock(&self.shared);
        let stats = &mut shared.stats;
        stats.frames += 1;
        match encoded {
            Encoded::Skipped => return Ok(()),
            Encoded::Key => {
                stats.key_frames += 1;
                self.key_frame_due = false;
                self.last_key_frame = Some(now);
                tracing::debug!(bytes = self.bitstream.len(), height = frame.height(), "a key frame");
                let bps = self.budget.bitrate.map_or(1, Bitrate::as_bps).max(1_000);
                let seconds = self.bitstream.len() as f32 * 8.0 / bps as f32;
                self.key_frame_takes = Duration::from_secs_f32(seconds.min(MOST_FOR_A_KEY_FRAME));
            }
            Encoded::Delta => {}
        }
        drop(shared);
        self.send_packets(frame);
        Ok(())
    }

    fn send_packets(&mut self, frame: &Frame) {
        let Some(stream) = &mut self.stream else { return };
        let codec = Some(stream.encoder.codec());
        let payloads = stream.packetizer.packetize(&self.bitstream, self.budget.packet_size);
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
                codec,
                copies: 0,
                // Whichever of the two arrives says it for all.
                captured_unix_us: frame.captured_unix_us.filter(|_| index == 0 || index + 1 == count),
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
        stats.target_bps = self.budget.bitrate.map_or(0, Bitrate::as_bps);
        if let Some(stream) = &self.stream {
            (stats.width, stats.height) = (stream.size.0 & !1, stream.size.1 & !1);
            stats.codec = stream.encoder.codec().name();
            stats.limit = if self.budget.bitrate.is_none() { Limit::Network } else { stream.ladder.limit() };
        }
        if let Some(second) = self.encode_ms.poll(now) {
            (stats.fps, stats.encode_ms) = (second.rate, second.mean);
        }
    }
}

/// What goes beside the picture, with headers, and some room.
const BESIDE_PICTURE_BPS: u32 = 200_000;

impl Stream {
    fn for_source<'a>(
        stream: &'a mut Option<Self>,
        content: Content,
        source: (u32, u32),
        codecs: &[VideoCodec],
    ) -> Result<&'a mut Self, CodecError> {
        if stream.is_none() {
            let aim = Budget::default().sustainable;
            let choice = CodecChoice::new(codecs);
            let ladder = match content {
                Content::Camera => Ladder::new(Step { height: source.1, fps: NOMINAL_FPS as u32 }),
                Content::Screen => Ladder::of_screen(source.1),
            };
            *stream = Some(Self {
                content,
                encoder: choice.codec().encoder(content, aim)?,
                packetizer: Packetizer::new(choice.codec()),
                choice,
                aim,
                ladder,
                pace: FramePace::default(),
                source,
                size: source,
                encode_ms: 0.0,
            });
        }
        let stream = stream.as_mut().expect("made above");
        stream.source = source;
        Ok(stream)
    }

    /// Changes to another codec, which begins with a key frame, where it suits better.
    fn choose_codec(&mut self, now: Instant, bitrate: Bitrate, key_frame_due: bool) {
        let step = self.ladder.step();
        let another_size = step.height.min(self.source.1) & !1 != self.size.1 & !1;
        let codec = self.choice.handle(
            now,
            &Situation {
                bitrate,
                load: self.load(),
                is_cpu_limited: self.ladder.limit() == Limit::Cpu,
                key_frame_due: key_frame_due || another_size,
            },
        );
        if codec == self.encoder.codec() {
            return;
        }
        match codec.encoder(self.content, self.aim) {
            Ok(encoder) => {
                tracing::info!(codec = codec.name(), "the picture is sent with another codec");
                (self.encoder, self.packetizer) = (encoder, Packetizer::new(codec));
                self.encode_ms = 0.0;
            }
            Err(error) => tracing::error!(%error, "no encoder"),
        }
    }

    /// The part of the time that there is for a frame that encoding one takes.
    fn load(&self) -> f32 {
        let fps = self.pace.source_fps().min(self.ladder.step().fps) as f32;
        self.encode_ms * fps / 1_000.0
    }

    /// Frames that come in a second. Those of a screen come when it changes: when they do, so many.
    fn source_fps(&self, content: Content) -> u32 {
        match content {
            Content::Camera => self.pace.source_fps(),
            Content::Screen => SCREEN_FPS,
        }
    }

    /// The encoder's rate control counts frames: fewer may be larger.
    fn aim_at(&mut self, bitrate: Bitrate, fps: u32) {
        let fps = fps.max(1) as f32;
        let aim = bitrate.scaled((NOMINAL_FPS / fps).clamp(0.5, 6.0));
        // Each change costs the encoder's rate control its memory.
        if aim.as_bps().abs_diff(self.aim.as_bps()) * 40 > self.aim.as_bps() {
            self.aim = aim;
            self.encoder.set_bitrate(aim);
        }
    }

    /// A frame took so long.
    fn took(&mut self, now: Instant, time: Duration) {
        self.encode_ms += (time.as_secs_f32() * 1_000.0 - self.encode_ms) * 0.1;
        self.ladder.handle_load(now, self.load());
    }
}

/// Which frames of a camera are encoded, when not all are.
#[derive(Default)]
struct FramePace {
    last_seen: Option<MediaTime>,
    /// Mean time between frames, microseconds.
    interval_us: f32,
    /// When the next frame is due.
    next: Option<MediaTime>,
}

impl FramePace {
    /// The camera gave a frame.
    fn saw(&mut self, captured: MediaTime) {
        if let Some(last) = self.last_seen.replace(captured) {
            let interval_us = captured.saturating_since(last).as_micros() as f32;
            if interval_us > 0.0 && interval_us < 500_000.0 {
                let known = if self.interval_us > 0.0 { self.interval_us } else { interval_us };
                self.interval_us = known + (interval_us - known) * 0.1;
            }
        }
    }

    fn source_fps(&self) -> u32 {
        if self.interval_us > 0.0 {
            (1e6 / self.interval_us).round().clamp(1.0, 120.0) as u32
        } else {
            NOMINAL_FPS as u32
        }
    }

    /// Whether a frame is to be encoded, when there shall be `fps` in a second.
    fn is_due(&mut self, captured: MediaTime, fps: u32) -> bool {
        // A camera may be a little slower or quicker than it says.
        if fps + fps / 8 >= self.source_fps() {
            self.next = None;
            return true;
        }
        let interval = 1_000_000 / u64::from(fps.max(1));
        let due = self.next.map_or(captured.as_micros(), MediaTime::as_micros);
        if captured.as_micros() + interval / 8 < due && due - captured.as_micros() <= 2 * interval {
            return false;
        }
        let behind = captured.as_micros().saturating_sub(due) > interval;
        self.next = Some(MediaTime::from_micros(if behind { captured.as_micros() } else { due } + interval));
        true
    }
}

/// The 90 kHz clock of video (RFC 6184, section 5.1).
fn rtp_timestamp(at: MediaTime) -> u32 {
    (u128::from(at.as_micros()) * 9 / 100) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_left_out_evenly() {
        for (camera, fps, expected) in
            [(30, 30, 300), (30, 20, 200), (30, 12, 120), (30, 7, 70), (60, 30, 300), (15, 30, 150)]
        {
            let mut pace = FramePace::default();
            let mut longest = 0;
            let mut last = 0;
            let mut encoded = 0;
            for number in 0..camera * 10 {
                let at = number * 1_000_000 / camera;
                pace.saw(MediaTime::from_micros(at));
                if pace.is_due(MediaTime::from_micros(at), fps) {
                    (longest, last, encoded) = (longest.max(at - last), at, encoded + 1);
                }
            }
            assert!(u64::abs_diff(encoded, expected) <= 3, "{camera}/s at {fps}/s: {encoded}");
            assert!(longest <= 1_000_000 / u64::from(fps) + 1_000_000 / camera + 1);
        }
    }
}
