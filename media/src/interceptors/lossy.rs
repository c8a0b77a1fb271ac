//! Pictures on paths that lose packets, in virtual time: the stages of both ends as they are in a call, from packets
//! that an encoder makes to frames that a decoder takes, over a path with losses both ways.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use rtc::interceptor::{Packet, RTPHeaderExtension, StreamInfo, TaggedPacket};
use tokio::sync::mpsc;

use super::{
    Meter, Stage,
    arrivals::ReportArrivals,
    congestion::{Congestion, TRANSPORT_CC},
    nack::RequestLost,
    payload_types::PayloadTypes,
    protect::Protect,
    recover::Recover,
    rtcp_tap::Feedback,
    rtx::UnwrapRtx,
    testing::{AUDIO, VIDEO, as_rtp, audio_stream, protected_stream, rtp, video_stream},
};
use crate::{
    codec::VideoCodec,
    playout::video::{Output, VideoAssembly},
    rtp::IncomingPacket,
};

const MS: Duration = Duration::from_millis(1);
const FRAME_US: u64 = 33_333;
/// How much longer than the path a picture waits for its voice, at least.
const VOICE_WAITS: Duration = Duration::from_millis(60);
/// What is sent beside the pictures, and what waits in the pacer before a picture is left out.
const VOICE_BPS: u32 = 100_000;
const MAX_BACKLOG_US: u32 = 90_000;
const FREEZE: Duration = Duration::from_millis(200);
/// What is left out at the beginning.
const SETTLING_S: u64 = 10;

/// A path and what is sent over it.
#[derive(Clone, Copy, Debug)]
struct Path {
    rtt_ms: u32,
    loss: f64,
    /// Mean length of a burst of losses, packets.
    burst: f64,
    frame_packets: u16,
    /// Both ends can send ahead of losses.
    is_protected: bool,
}

/// How pictures got through.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// From capture to the decoder, milliseconds.
    median_ms: u64,
    late_ms: u64,
    /// Times without a new picture of more than 200 ms, a minute; and the longest.
    freezes: f64,
    longest_ms: u64,
    fps: f64,
    /// Key frames that were asked for, a minute.
    key_frames: f64,
    /// What went over the path, as a multiple of the pictures; and these, kbit/s.
    wire: f64,
    kbps: usize,
}

/// Loses packets by a chain of two states (Gilbert).
struct Losses {
    rng: SmallRng,
    is_bad: bool,
    into: f64,
    out: f64,
}

impl Losses {
    fn new(path: &Path, seed: u64) -> Self {
        let out = if path.burst > 1.0 { 1.0 / path.burst } else { 1.0 - path.loss };
        let into = if path.burst > 1.0 { path.loss * out / (1.0 - path.loss) } else { path.loss };
        Self { rng: SmallRng::seed_from_u64(seed), is_bad: false, into, out }
    }

    fn loses(&mut self) -> bool {
        let change = self.rng.random_bool(if self.is_bad { self.out } else { self.into });
        self.is_bad ^= change;
        self.is_bad
    }
}

/// One way of the path.
struct Way {
    losses: Losses,
    delay: Duration,
    packets: VecDeque<(Instant, TaggedPacket)>,
    bytes: usize,
}

impl Way {
    fn new(path: &Path, seed: u64) -> Self {
        let delay = path.rtt_ms * MS / 2;
        Self { losses: Losses::new(path, seed), delay, packets: VecDeque::new(), bytes: 0 }
    }

    fn send(&mut self, now: Instant, packets: impl IntoIterator<Item = TaggedPacket>) {
        for packet in packets {
            if let Packet::Rtp(rtp) = &packet.message.packet
                && rtp.header.ssrc != AUDIO
            {
                self.bytes += rtp.payload.len();
            }
            if !self.losses.loses() {
                self.packets.push_back((now + self.delay, packet));
            }
        }
    }

    fn come(&mut self, now: Instant) -> Option<TaggedPacket> {
        let (at, packet) = self.packets.pop_front_if(|(at, _)| *at <= now)?;
        Some(TaggedPacket { now: at, ..packet })
    }
}

fn stream(path: &Path) -> StreamInfo {
    let extension = RTPHeaderExtension { uri: TRANSPORT_CC.to_owned(), id: 7 };
    let stream = if path.is_protected { protected_stream() } else { video_stream() };
    StreamInfo { rtp_header_extensions: vec![extension], ..stream }
}

fn voice() -> StreamInfo {
    StreamInfo { rtp_header_extensions: stream(&path(0, 0)).rtp_header_extensions, ..audio_stream() }
}

/// A key frame is known by its first byte.
fn starts_key_frame(packet: &IncomingPacket) -> bool {
    packet.payload.first() == Some(&1)
}

fn incoming(packet: TaggedPacket) -> IncomingPacket {
    let rtp = as_rtp(&packet).clone();
    IncomingPacket {
        sequence: rtp.header.sequence_number,
        timestamp: rtp.header.timestamp,
        marker: rtp.header.marker,
        payload: rtp.payload,
        codec: Some(VideoCodec::H264),
        arrived: packet.now,
        captured_unix_us: None,
    }
}

fn through(stage: &mut impl Stage, packets: Vec<TaggedPacket>) -> Vec<TaggedPacket> {
    let mut onward = VecDeque::new();
    packets.into_iter().for_each(|packet| stage.incoming(packet, &mut onward));
    onward.into()
}

struct Sender {
    protect: Protect,
    outgoing: VecDeque<TaggedPacket>,
    congestion: Congestion,
    sequence: u16,
    feedback: mpsc::Receiver<Feedback>,
    meter: Arc<Meter>,
    /// What a picture may take, packets.
    budget: u16,
    begins_anew: bool,
}

impl Sender {
    fn new(path: &Path) -> Self {
        let (feedback, heard) = mpsc::channel(64);
        let meter = Arc::<Meter>::default();
        meter.set_rtt(path.rtt_ms * MS);
        meter.max_bps.store(3_000_000, Ordering::Relaxed);
        let mut protect = Protect::new(Arc::clone(&meter));
        let mut congestion = Congestion::new(0, feedback, Arc::clone(&meter));
        let answer = "m=video 9 X 102 103\na=rtpmap:102 H264/90000\na=fmtp:102 packetization-mode=1\n\
                      a=rtpmap:103 rtx/90000\na=fmtp:103 apt=102\n";
        let types = PayloadTypes::parse(answer, VideoCodec::BUILT);
        meter.payload_types.set(types).expect("nobody else describes anything");
        protect.bind_local(&stream(path));
        congestion.bind_local(&stream(path));
        congestion.bind_local(&voice());
        let (budget, begins_anew) = (path.frame_packets, false);
        Self {
            protect,
            outgoing: VecDeque::new(),
            congestion,
            sequence: 0,
            feedback: heard,
            meter,
            budget,
            begins_anew,
        }
    }

    fn frame(&mut self, now: Instant, timestamp: u32, packets: u16, is_key: bool) {
        for index in 0..packets {
            let mut packet = rtp(now, VIDEO, 102, self.sequence, &[]);
            self.sequence = self.sequence.wrapping_add(1);
            let Packet::Rtp(inner) = &mut packet.message.packet else { return };
            let mut payload = vec![7; 1_100];
            payload[0] = u8::from(is_key && index == 0);
            (inner.header.timestamp, inner.header.marker) = (timestamp, index + 1 == packets);
            inner.payload = Bytes::from(payload);
            self.protect.outgoing(packet, &mut self.outgoing);
        }
    }

    /// The voice goes on when pictures have to wait: what comes of it tells that they need not.
    fn voice(&mut self, now: Instant, number: u64) {
        self.outgoing.push_back(rtp(now, AUDIO, 111, number as u16, &[7; 160]));
    }

    fn heard(&mut self, packet: TaggedPacket) {
        through(&mut self.congestion, vec![packet]);
    }

    fn leaves(&mut self, now: Instant) -> VecDeque<TaggedPacket> {
        let mut onward = VecDeque::new();
        while let Some(packet) = self.outgoing.pop_front() {
            self.congestion.outgoing(TaggedPacket { now, ..packet }, &mut onward);
        }
        if self.congestion.deadline().is_some_and(|at| at <= now) {
            self.congestion.timeout(now, &mut onward);
        }
        while let Ok(feedback) = self.feedback.try_recv() {
            match feedback {
                Feedback::Network(network) => {
                    let bps = network.available_bps.saturating_sub(VOICE_BPS) as f32 / (1.0 + network.repair);
                    self.budget = (bps / (30.0 * 8.0 * 1_200.0)) as u16;
                }
                Feedback::PictureLost => self.begins_anew = true,
                Feedback::KeyFrameRequest(_) | Feedback::ScreenComes | Feedback::Report(..) => {}
            }
        }
        onward
    }
}

struct Receiver {
    arrivals: ReportArrivals,
    unwrap: UnwrapRtx,
    recover: Recover,
    lost: RequestLost,
    assembly: VideoAssembly,
}

impl Receiver {
    fn new(path: &Path) -> Self {
        let meter = Arc::<Meter>::default();
        meter.set_rtt(path.rtt_ms * MS);
        meter.receive_loss.store((path.loss * 256.0) as u32, Ordering::Relaxed);
        let mut arrivals = ReportArrivals::new(1);
        let mut unwrap = UnwrapRtx::new(Arc::clone(&meter));
        let mut recover = Recover::new(Arc::clone(&meter));
        let mut lost = RequestLost::new(1, meter);
        arrivals.bind_remote(&voice());
        for stage in [&mut arrivals as &mut dyn Stage, &mut unwrap, &mut recover, &mut lost] {
            stage.bind_remote(&stream(path));
        }
        let mut assembly = VideoAssembly::new(starts_key_frame);
        assembly.set_rtt(path.rtt_ms * MS);
        assembly.set_loss(path.loss as f32);
        Self { arrivals, unwrap, recover, lost, assembly }
    }

    fn takes(&mut self, now: Instant, packet: TaggedPacket) {
        let packets = through(&mut self.arrivals, vec![packet]);
        let packets = through(&mut self.unwrap, packets);
        let packets = through(&mut self.recover, packets);
        let packets = through(&mut self.lost, packets);
        let pictures = packets.into_iter().filter(|packet| as_rtp(packet).header.ssrc == VIDEO);
        pictures.for_each(|packet| self.assembly.handle_packet(now, incoming(packet)));
    }

    fn says(&mut self, now: Instant) -> VecDeque<TaggedPacket> {
        let mut out = VecDeque::new();
        for stage in [&mut self.arrivals as &mut dyn Stage, &mut self.lost] {
            if stage.deadline().is_some_and(|at| at <= now) {
                stage.timeout(now, &mut out);
            }
        }
        out
    }
}

/// A minute of pictures.
fn run(path: Path) -> Outcome {
    let (mut sender, mut receiver) = (Sender::new(&path), Receiver::new(&path));
    let (mut there, mut back) = (Way::new(&path, 1), Way::new(&path, 2));
    let start = crate::clock::now();
    let seconds = 60 + SETTLING_S;
    let captured = |number: u64| start + Duration::from_micros(number * FRAME_US);
    let (mut number, mut is_key, mut key_frame_asked) = (0, true, None);
    let (mut ready, mut shown, mut key_frames, mut media) = (Vec::new(), Vec::new(), 0, 0);
    for ms in 0..seconds * 1_000 {
        let now = start + Duration::from_millis(ms);
        if captured(number) <= now {
            is_key |= key_frame_asked.take_if(|at| *at <= now).is_some() | std::mem::take(&mut sender.begins_anew);
            if sender.meter.pacer_us.load(Ordering::Relaxed) < MAX_BACKLOG_US {
                let packets = path.frame_packets.min(sender.budget).max(1) * if is_key { 4 } else { 1 };
                media += usize::from(packets) * 1_100;
                sender.frame(now, number as u32 * 3_000, packets, std::mem::take(&mut is_key));
            }
            number += 1;
        }
        if ms % 20 == 0 {
            sender.voice(now, ms / 20);
        }
        there.send(now, sender.leaves(now));
        while let Some(packet) = there.come(now) {
            receiver.takes(now, packet);
        }
        while let Some(output) = receiver.assembly.poll(now) {
            match output {
                Output::Frame(frame) => {
                    let number = u64::from(frame[0].timestamp / 3_000);
                    ready.push((number, now));
                    let due = captured(number) + there.delay + VOICE_WAITS;
                    let at = now.max(due).max(shown.last().copied().unwrap_or(start));
                    shown.push(at);
                    receiver.assembly.recycle(frame);
                }
                Output::KeyFrameNeeded => {
                    key_frames += usize::from(ms >= SETTLING_S * 1_000);
                    if !back.losses.loses() {
                        key_frame_asked.get_or_insert(now + back.delay);
                    }
                }
            }
        }
        // Their voice and their pictures are on the way as well.
        if ms % 3 == 0 {
            back.losses.loses();
        }
        back.send(now, receiver.says(now));
        while let Some(packet) = back.come(now) {
            sender.heard(packet);
        }
    }
    let begin = start + Duration::from_secs(SETTLING_S);
    let mut delays: Vec<u64> = ready
        .iter()
        .filter(|(number, _)| captured(*number) > begin)
        .map(|(number, at)| at.duration_since(captured(*number)).as_millis() as u64)
        .collect();
    delays.sort_unstable();
    shown.retain(|at| *at >= begin);
    let gaps: Vec<Duration> = shown.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let percentile = |part: usize| delays.get(delays.len() * part / 100).copied().unwrap_or(u64::MAX);
    Outcome {
        median_ms: percentile(50),
        late_ms: percentile(95),
        freezes: gaps.iter().filter(|gap| **gap > FREEZE).count() as f64,
        longest_ms: gaps.iter().max().map_or(u64::MAX, |gap| gap.as_millis() as u64),
        fps: shown.len() as f64 / 60.0,
        key_frames: key_frames as f64,
        wire: there.bytes as f64 / media as f64,
        kbps: media * 8 / 1_000 / seconds as usize,
    }
}

fn path(rtt_ms: u32, loss_percent: u32) -> Path {
    Path { rtt_ms, loss: f64::from(loss_percent) / 100.0, burst: 1.0, frame_packets: 9, is_protected: true }
}

fn bursts(rtt_ms: u32) -> Path {
    Path { burst: 5.0, ..path(rtt_ms, 10) }
}

#[test]
fn a_path_that_loses_nothing_carries_nothing_else() {
    for rtt_ms in [50, 300] {
        let outcome = run(path(rtt_ms, 0));
        assert!((outcome.wire - 1.0).abs() < 1e-9 && outcome.key_frames == 0.0, "{rtt_ms} ms: {outcome:?}");
        assert!(outcome.kbps > 2_300, "{rtt_ms} ms: {outcome:?}");
        assert_eq!((outcome.median_ms, outcome.late_ms), (u64::from(rtt_ms) / 2, u64::from(rtt_ms) / 2));
    }
}

#[test]
fn most_pictures_are_whole_before_a_round_trip_is_over() {
    for (rtt_ms, loss, late_ms) in
        [(50, 5, 85), (50, 10, 85), (50, 20, 105), (150, 5, 175), (150, 20, 190), (300, 5, 200)]
    {
        let asked = run(Path { is_protected: false, ..path(rtt_ms, loss) });
        let ahead = run(path(rtt_ms, loss));
        let said = format!("{rtt_ms} ms, {loss} %: {asked:?} {ahead:?}");
        assert!(ahead.late_ms <= late_ms && ahead.late_ms * 10 < asked.late_ms * 9, "{said}");
        assert!(ahead.median_ms == u64::from(rtt_ms) / 2 && ahead.wire < asked.wire + 0.3, "{said}");
    }
}

#[test]
fn no_picture_stands_on_a_path_that_loses_much() {
    for loss in [2, 5, 10, 20, 30] {
        for frame_packets in [2, 9] {
            let outcome = run(Path { frame_packets, ..path(50, loss) });
            let said = format!("{loss} %, {frame_packets} packets: {outcome:?}");
            assert!(outcome.freezes <= 1.0 && outcome.fps > 29.0 && outcome.key_frames <= 1.0, "{said}");
        }
    }
}

#[test]
fn bursts_do_not_stop_a_picture_for_long() {
    for rtt_ms in [50, 150] {
        let outcome = run(bursts(rtt_ms));
        assert!(outcome.fps > 25.0 && outcome.longest_ms < 1_000, "{rtt_ms} ms: {outcome:?}");
    }
}

#[test]
#[ignore = "for people who look: a table"]
fn table() {
    for rtt in [50, 150, 300] {
        let paths = [0, 2, 5, 10, 20, 30].map(|loss| path(rtt, loss)).into_iter().chain([bursts(rtt)]);
        for path in paths.chain([0, 5, 20].map(|loss| Path { frame_packets: 2, ..self::path(rtt, loss) })) {
            let Path { loss, burst, frame_packets, .. } = path;
            for is_protected in [false, true] {
                let outcome = run(Path { is_protected, ..path });
                let with = if is_protected { "with" } else { "none" };
                eprintln!("rtt {rtt:3} loss {loss:.2} burst {burst} packets {frame_packets} {with}: {outcome:?}");
            }
        }
    }
}
