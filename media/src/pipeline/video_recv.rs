//! The other's pictures: from packets through assembly and decoder into the slot.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Timing, video_out::VideoOut};
use crate::{
    DeviceKind, DeviceProblem, Frame, FrameSender, MediaTime, Problem, VideoRecvStats, VideoSink, clock,
    codec::{
        CodecError, VideoCodec, VideoDecoder,
        payload::{self, Depacketizer},
    },
    frame_log::FrameLog,
    playout::{
        lip_sync::LipSync,
        video::{Output, VideoAssembly},
    },
    rtp::IncomingPacket,
    stats::PerSecond,
};

/// How soon a stop, or a picture that stands still, is noticed when no packets come.
const IDLE_WAIT: Duration = Duration::from_millis(50);
/// A picture that stands for longer is a freeze.
const FREEZE: Duration = Duration::from_millis(200);
/// A larger picture is refused: nobody here sends one, and each takes 14 MB.
const MAX_PIXELS: u64 = 4_096 * 2_304;
/// Clocks that differ by more are not worth comparing.
const COMPARABLE_MS: f32 = 10_000.0;

/// The decoder's thread. Dropping it stops and joins the thread; it also ends when the packets' sender is gone.
pub struct VideoRecv {
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

/// What happens to the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VideoRecvEvent {
    /// The first picture was put into the slot.
    FirstFrame,
    /// The sender has to be asked for a key frame (PLI).
    KeyFrameNeeded,
    /// The recording can't go on; the picture does.
    Problem(DeviceProblem),
}

/// What the handle tells the thread, and the thread the handle.
#[derive(Default)]
pub(crate) struct Shared {
    stopping: bool,
    path: Option<(Duration, f32)>,
    stats: VideoRecvStats,
}

impl VideoRecv {
    /// Starts to decode. `on_event` is called on the threads of this pipeline and must be quick.
    pub fn spawn(
        packets: Receiver<IncomingPacket>,
        out: FrameSender,
        video_out: VideoSink,
        timing: Timing,
        on_event: impl Fn(VideoRecvEvent) + Send + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::default();
        let worker = Worker::new(out, timing, on_event, Arc::clone(&shared));
        let thread =
            thread::Builder::new().name("video-recv".to_owned()).spawn(move || worker.run(&packets, video_out))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// The round-trip time, by which repairs are waited for, and the part of packets that is lost before repair.
    pub fn set_path(&self, rtt: Duration, loss: f32) {
        lock(&self.shared).path = Some((rtt, loss));
    }

    /// How it goes.
    pub fn stats(&self) -> VideoRecvStats {
        lock(&self.shared).stats.clone()
    }
}

impl Drop for VideoRecv {
    fn drop(&mut self) {
        lock(&self.shared).stopping = true;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the video decoder's thread panicked");
        }
    }
}

impl std::fmt::Debug for VideoRecv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VideoRecv")
    }
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Every write under this lock is a plain assignment, so a poisoned state is still a whole one.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From the packets of a frame to a picture, in one codec.
struct Decoding {
    depacketizer: Depacketizer,
    decoder: Box<dyn VideoDecoder>,
}

impl Decoding {
    fn new(codec: VideoCodec) -> Result<Self, CodecError> {
        Ok(Self { depacketizer: Depacketizer::new(codec), decoder: codec.decoder()? })
    }
}

fn starts_key_frame(packet: &IncomingPacket) -> bool {
    packet.codec.is_some_and(|codec| payload::starts_key_frame(codec, &packet.payload))
}

/// What the thread does.
pub(crate) struct Worker<E> {
    assembly: VideoAssembly,
    /// Of the codec that came last.
    decoding: Option<Decoding>,
    timeline: Timeline,
    lip_sync: LipSync<Frame>,
    screen: Screen,
    recorder: Option<VideoOut>,
    on_event: E,
    shared: Arc<Mutex<Shared>>,
}

impl<E: Fn(VideoRecvEvent)> Worker<E> {
    pub(crate) fn new(out: FrameSender, timing: Timing, on_event: E, shared: Arc<Mutex<Shared>>) -> Self {
        Self {
            decoding: None,
            assembly: VideoAssembly::new(starts_key_frame),
            timeline: Timeline::default(),
            lip_sync: LipSync::new(timing.voice),
            screen: Screen::new(out, timing.log, clock::now()),
            recorder: None,
            on_event,
            shared,
        }
    }

    fn run(mut self, packets: &Receiver<IncomingPacket>, video_out: VideoSink) {
        match VideoOut::spawn(video_out) {
            Ok(recorder) => self.recorder = recorder,
            Err(error) => self.recorder_failed(&error),
        }
        loop {
            let now = clock::now();
            let next = [self.assembly.poll_timeout(), self.lip_sync.poll_timeout()].into_iter().flatten().min();
            let wait = next.map_or(IDLE_WAIT, |at| at.saturating_duration_since(now).min(IDLE_WAIT));
            let packet = match packets.recv_timeout(wait) {
                Ok(packet) => Some(packet),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            {
                let mut shared = lock(&self.shared);
                if shared.stopping {
                    return;
                }
                if let Some((rtt, loss)) = shared.path.take() {
                    self.assembly.set_rtt(rtt);
                    self.assembly.set_loss(loss);
                }
            }
            // Whatever came meanwhile goes in before anything is decided.
            self.turn(packet.into_iter().chain(packets.try_iter().take(MAX_BATCH)));
        }
    }

    /// Takes packets, and does what is to be done now.
    pub(crate) fn turn(&mut self, packets: impl Iterator<Item = IncomingPacket>) {
        for packet in packets {
            self.assembly.handle_packet(packet.arrived, packet);
        }
        while let Some(output) = self.assembly.poll(clock::now()) {
            match output {
                Output::Frame(frame) => self.handle_frame(frame),
                Output::KeyFrameNeeded => {
                    lock(&self.shared).stats.key_frames_asked += 1;
                    (self.on_event)(VideoRecvEvent::KeyFrameNeeded);
                }
            }
        }
        while let Some(frame) = self.lip_sync.poll(clock::now()) {
            self.show(frame);
        }
        self.publish(clock::now());
    }

    fn handle_frame(&mut self, packets: Vec<IncomingPacket>) {
        lock(&self.shared).stats.received += 1;
        let captured = packets.first().map(|packet| self.timeline.media_time(packet.timestamp)).unwrap_or_default();
        let captured_unix_us = packets.iter().find_map(|packet| packet.captured_unix_us);
        let decoded = decode(&mut self.decoding, &packets).unwrap_or_else(|error| {
            tracing::debug!(%error, "a frame can't be decoded");
            self.assembly.break_chain(clock::now());
            None
        });
        self.assembly.recycle(packets);
        let decoded = decoded.filter(|frame| {
            let fits = u64::from(frame.width()) * u64::from(frame.height()) <= MAX_PIXELS;
            if !fits {
                tracing::debug!(width = frame.width(), height = frame.height(), "a picture is too large");
            }
            fits
        });
        if let Some(mut frame) = decoded {
            (frame.captured, frame.captured_unix_us) = (captured, captured_unix_us);
            lock(&self.shared).stats.decoded += 1;
            self.lip_sync.push(frame, captured_unix_us, clock::now(), clock::unix_us());
        }
    }

    fn show(&mut self, frame: Frame) {
        let recorded = self.recorder.as_mut().map_or(Ok(()), |recorder| recorder.put(&frame));
        let (width, height) = (frame.width(), frame.height());
        let first = self.screen.show(frame, clock::now());
        {
            let mut shared = lock(&self.shared);
            let stats = &mut shared.stats;
            stats.shown += 1;
            (stats.width, stats.height) = (width, height);
            stats.codec = self.decoding.as_ref().map_or("", |decoding| decoding.decoder.codec().name());
        }
        if first {
            (self.on_event)(VideoRecvEvent::FirstFrame);
        }
        if let Err(error) = recorded {
            self.recorder_failed(&error);
        }
    }

    fn recorder_failed(&mut self, error: &io::Error) {
        self.recorder = None;
        let (device, problem, detail) = (DeviceKind::VideoOut, Problem::BadFile, error.to_string());
        (self.on_event)(VideoRecvEvent::Problem(DeviceProblem { device, problem, detail }));
    }

    fn publish(&mut self, now: Instant) {
        let mut shared = lock(&self.shared);
        let stats = &mut shared.stats;
        stats.dropped = self.assembly.dropped_frames();
        self.screen.publish(now, stats);
    }
}

/// Decodes a frame, with another decoder than before where a key frame of another codec comes.
fn decode(decoding: &mut Option<Decoding>, packets: &[IncomingPacket]) -> Result<Option<Frame>, CodecError> {
    let refused = |why: &str| Err(CodecError(why.to_owned()));
    let Some((first, codec)) = packets.first().and_then(|first| Some((first, first.codec?))) else {
        return refused("a frame without a codec");
    };
    if packets.iter().any(|packet| packet.codec != first.codec) {
        return refused("a frame of two codecs");
    }
    if decoding.as_ref().is_none_or(|decoding| decoding.decoder.codec() != codec) {
        if !starts_key_frame(first) {
            return refused("another codec begins without a key frame");
        }
        *decoding = Some(Decoding::new(codec)?);
    }
    let Decoding { depacketizer, decoder } = decoding.as_mut().expect("made above");
    match depacketizer.depacketize(packets.iter().map(|packet| &packet.payload[..])) {
        Some(bitstream) => decoder.decode(bitstream),
        None => refused("packets that make no frame"),
    }
}

/// Packets taken in between two looks at what they make.
const MAX_BATCH: usize = 256;

/// Where pictures are put, and what is measured there.
struct Screen {
    out: FrameSender,
    frame_log: Option<FrameLog>,
    last_shown: Option<Instant>,
    frozen: bool,
    freezes: u64,
    frames: PerSecond,
    latency_ms: PerSecond,
}

impl Screen {
    fn new(out: FrameSender, frame_log: Option<FrameLog>, now: Instant) -> Self {
        Self {
            out,
            frame_log,
            last_shown: None,
            frozen: false,
            freezes: 0,
            frames: PerSecond::new(now),
            latency_ms: PerSecond::new(now),
        }
    }

    /// Puts a picture into the slot. `true` for the first.
    fn show(&mut self, frame: Frame, now: Instant) -> bool {
        let unix_us = clock::unix_us();
        if let Some(captured) = frame.captured_unix_us {
            let latency_ms = unix_us.cast_signed().saturating_sub_unsigned(captured) as f32 / 1_000.0;
            if latency_ms.abs() < COMPARABLE_MS {
                self.latency_ms.add(latency_ms);
            }
        }
        self.check_freeze(now);
        self.frozen = false;
        self.out.put(frame.clone());
        if let Some(log) = &self.frame_log {
            log.shown(&frame, unix_us);
        }
        self.frames.add(0.0);
        self.last_shown.replace(now).is_none()
    }

    /// Counts a freeze once, when it begins.
    fn check_freeze(&mut self, now: Instant) {
        if !self.frozen && self.last_shown.is_some_and(|at| now.saturating_duration_since(at) > FREEZE) {
            self.frozen = true;
            self.freezes += 1;
        }
    }

    fn publish(&mut self, now: Instant, stats: &mut VideoRecvStats) {
        self.check_freeze(now);
        stats.freezes = self.freezes;
        if let Some(second) = self.frames.poll(now) {
            stats.fps = second.rate;
        }
        if let Some(second) = self.latency_ms.poll(now) {
            stats.latency_ms = second.median;
        }
    }
}

/// Makes one time line of 32-bit RTP timestamps at 90 kHz.
#[derive(Default)]
struct Timeline {
    newest: Option<u64>,
}

impl Timeline {
    fn media_time(&mut self, timestamp: u32) -> MediaTime {
        let newest = self.newest.unwrap_or(FIRST_CYCLE + u64::from(timestamp));
        let ahead = timestamp.wrapping_sub(newest as u32).cast_signed();
        let unwrapped = newest.saturating_add_signed(i64::from(ahead));
        self.newest = Some(unwrapped);
        MediaTime::from_micros((u128::from(unwrapped) * 100 / 9) as u64)
    }
}

/// The first timestamp lies here, so that there is room for earlier ones.
const FIRST_CYCLE: u64 = 1 << 32;
