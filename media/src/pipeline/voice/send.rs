//! Microphone to packets.

use std::{
    ops::Range,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::mpsc::Sender;

use super::{
    OnEvent, Shared, VoiceBudget, Wishes, is_device,
    plan::{LONG_PACKET, PAIR_EVERY, Plan, Planner},
};
use crate::{
    AudioSource, DeviceChoice, FrameLog,
    audio::{
        PIECE, Piece,
        capture::{Capture, Captured},
        clock, mixer,
        processing::Processing,
        switch::DeviceEvent,
    },
    codec::opus::{Encoder, OpusError},
    rtp::{OutgoingPacket, PathReport},
};

/// `processed`: free what a device hears of echo and noise.
pub(super) fn run(
    microphone: &AudioSource,
    processed: bool,
    log: Option<&FrameLog>,
    outgoing: &Sender<OutgoingPacket>,
    shared: &Shared,
    on_event: &OnEvent,
) -> Result<(), OpusError> {
    let mut sender = VoiceSender::new(rand::random(), rand::random(), WallClock::new(), None)?;
    // A file or a tone shall arrive as it is.
    let process = |sender: &mut VoiceSender, source: &AudioSource| match processed && is_device(source) {
        true if sender.processing.is_none() => {
            let (processing, reference) = Processing::new();
            shared.wishes().reference = Some(reference);
            sender.set_processing(Some(processing))
        }
        true => Ok(()),
        false => sender.set_processing(None),
    };
    process(&mut sender, microphone)?;
    let mut capture = Capture::open(microphone);
    let mut piece: Piece = [0.0; PIECE];
    for number in 0_u32.. {
        let captured = capture.read(&mut piece);
        if let Some(log) = log {
            log.said(number, crate::clock::unix_us_at(captured.at));
        }
        shared.hear(&piece);
        let (stop, muted, report, budget, source) = {
            let mut wishes = shared.wishes();
            let Wishes { stop, muted, .. } = *wishes;
            (stop, muted, wishes.report.take(), wishes.budget.take(), wishes.microphone.take())
        };
        if stop {
            return Ok(());
        }
        if let Some(source) = source {
            capture.switch(source);
        }
        while let Some(event) = capture.poll_event() {
            if let DeviceEvent::InUse(DeviceChoice::Microphone(source)) = &event {
                process(&mut sender, source)?;
            }
            on_event(event.into());
        }
        if let Some(report) = report {
            sender.report(report)?;
        }
        if let Some(budget) = budget {
            sender.set_budget(budget)?;
        }
        for packet in sender.take(&piece, captured, muted)?.into_iter().flatten() {
            if outgoing.try_send(packet).is_err() {
                // The transport is stuck or gone: sound that waits is worth nothing.
                tracing::trace!("a voice packet was dropped");
            }
        }
    }
    Ok(())
}

/// Unix time at an `Instant`. Read once: a clock that steps during a call shall not bend the media's time.
#[derive(Clone, Copy)]
pub(crate) struct WallClock {
    at: Instant,
    unix_us: u64,
}

impl WallClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where a call's media is tied to Unix time")]
    pub(crate) fn new() -> Self {
        let unix_us = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        Self { at: clock::now(), unix_us }
    }

    fn unix_us(&self, time: Instant) -> u64 {
        match time.checked_duration_since(self.at) {
            Some(after) => self.unix_us + after.as_micros() as u64,
            None => self.unix_us.saturating_sub((self.at - time).as_micros() as u64),
        }
    }
}

/// Notices when a device gives less sound than time passes, as it does on a machine too busy to listen: without that,
/// each hole would make everything after it seem to have travelled longer.
#[derive(Default)]
struct CaptureClock {
    origin: Option<Instant>,
    /// Captured since, lost ones included, and what the device's clock drifts.
    samples: i64,
    pieces: u32,
    /// The smallest delay of a piece in this interval: what remains when threads were merely late.
    least_behind: Option<i64>,
}

impl CaptureClock {
    /// Pieces in an interval: 0.5 s.
    const INTERVAL: u32 = 50;

    /// So much is a hole: 30 ms.
    const HOLE: i64 = 1_440;

    /// So much an interval is a clock that runs at another speed (1,000 ppm), for the receiver to follow.
    const DRIFT: i64 = 24;

    /// Takes note of a piece. Returns how many samples were lost before it.
    fn piece(&mut self, captured: Captured) -> u32 {
        let origin = *self.origin.get_or_insert(captured.at);
        self.samples += i64::from(captured.skipped);
        let passed = captured.at.saturating_duration_since(origin).as_micros() as i64 * 48 / 1_000;
        let behind = passed - self.samples;
        self.samples += PIECE as i64;
        let least = self.least_behind.map_or(behind, |least| least.min(behind));
        self.pieces += 1;
        if self.pieces < Self::INTERVAL {
            self.least_behind = Some(least);
            return captured.skipped;
        }
        (self.pieces, self.least_behind) = (0, None);
        let lost = if least > Self::HOLE { least } else { 0 };
        self.samples += if lost > 0 { lost } else { least.clamp(-Self::DRIFT, Self::DRIFT) };
        captured.skipped.saturating_add(lost as u32)
    }
}

/// One packet of so many says when it was captured: the far end reckons the others'.
const TIME_EVERY: u16 = 8;

/// After the last word before a pause, so many packets say that it is one: any of them may be lost.
const PAUSE_PACKETS: u8 = 3;

/// Pieces to packets: pure but for the encoder's state.
pub(crate) struct VoiceSender {
    processing: Option<Processing>,
    encoder: Encoder,
    planner: Planner,
    plan: Plan,
    wall: WallClock,
    clock: CaptureClock,
    packet: [f32; LONG_PACKET],
    /// Samples that a packet takes now, and that are there of the next.
    length: usize,
    filled: usize,
    /// Since a packet left in two halves.
    samples_since_pair: usize,
    sequence: u16,
    /// Of the first sample in `packet`.
    timestamp: u32,
    activity: Activity,
}

enum Activity {
    /// The voice is sent. `first`: nothing was, before.
    Speaking { first: bool },
    /// There is nothing to say (the encoder found only silence); pause packets still to be sent.
    Silent { pauses: u8 },
    /// Muted; pause packets still to be sent.
    Muted { pauses: u8 },
}

impl VoiceSender {
    pub(crate) fn new(
        sequence: u16,
        timestamp: u32,
        wall: WallClock,
        processing: Option<Processing>,
    ) -> Result<Self, OpusError> {
        let mut encoder = Encoder::new()?;
        encoder.pause_in_silence(processing.is_some())?;
        let planner = Planner::new();
        let plan = planner.plan();
        encoder.configure(plan.bitrate.as_bps(), plan.fec_percent)?;
        Ok(Self {
            processing,
            encoder,
            planner,
            plan,
            wall,
            clock: CaptureClock::default(),
            packet: [0.0; LONG_PACKET],
            length: plan.samples,
            filled: 0,
            samples_since_pair: 0,
            sequence,
            timestamp,
            activity: Activity::Speaking { first: true },
        })
    }

    /// What the sound goes through from now on. Pauses are left out with it alone: only what went through noise
    /// suppression is ever silent enough.
    pub(super) fn set_processing(&mut self, processing: Option<Processing>) -> Result<(), OpusError> {
        self.encoder.pause_in_silence(processing.is_some())?;
        self.processing = processing;
        Ok(())
    }

    pub(super) fn report(&mut self, report: PathReport) -> Result<(), OpusError> {
        self.planner.report(report);
        self.follow()
    }

    pub(super) fn set_budget(&mut self, budget: VoiceBudget) -> Result<(), OpusError> {
        self.planner.set_budget(budget);
        self.follow()
    }

    fn follow(&mut self) -> Result<(), OpusError> {
        let plan = self.planner.plan();
        if plan != self.plan {
            self.plan = plan;
            self.encoder.configure(plan.bitrate.as_bps(), plan.fec_percent)?;
        }
        Ok(())
    }

    /// Takes 10 ms. Gives a packet for every piece, every second or every fourth, unless muted; one that would leave as a
    /// whole leaves in two halves now and then. Timestamps count captured sound, sent or not.
    pub(crate) fn take(
        &mut self,
        piece: &Piece,
        captured: Captured,
        muted: bool,
    ) -> Result<[Option<OutgoingPacket>; 2], OpusError> {
        // A cut inside a packet would put its two halves at wrong times: what is filled goes with what was skipped.
        let skipped = self.clock.piece(captured);
        if skipped > 0 {
            let dropped = std::mem::take(&mut self.filled) as u32;
            self.timestamp = self.timestamp.wrapping_add(skipped).wrapping_add(dropped);
        }
        let mut piece = *piece;
        if let Some(processing) = &mut self.processing {
            // While muted too: the echo canceller goes on learning the room.
            processing.process(&mut piece);
        }
        if self.filled == 0 {
            self.length = self.plan.samples;
        }
        self.packet[self.filled..self.filled + PIECE].copy_from_slice(&piece);
        self.filled += PIECE;
        if self.filled < self.length {
            return Ok([None, None]);
        }
        self.filled = 0;
        self.samples_since_pair += self.length;
        if self.is_pair_due() && !muted {
            self.samples_since_pair = 0;
            let half = self.length / 2;
            Ok([self.packet_of(0..half, captured.at, muted)?, self.packet_of(half..self.length, captured.at, muted)?])
        } else {
            Ok([self.packet_of(0..self.length, captured.at, muted)?, None])
        }
    }

    fn is_pair_due(&self) -> bool {
        self.plan.pairs
            && self.length >= 2 * PIECE
            && self.samples_since_pair >= PAIR_EVERY
            && matches!(self.activity, Activity::Speaking { first: false })
    }

    /// The packet for this part of what is filled. `end`: when the last sample of all that is filled was captured.
    fn packet_of(
        &mut self,
        part: Range<usize>,
        end: Instant,
        muted: bool,
    ) -> Result<Option<OutgoingPacket>, OpusError> {
        let before_end = self.length - part.start;
        let timestamp = self.timestamp;
        self.timestamp = timestamp.wrapping_add(part.len() as u32);
        let packet = &mut self.packet[part];
        let (marker, level, payload) = match (&mut self.activity, muted) {
            (Activity::Speaking { first }, false) => {
                let marker = std::mem::take(first);
                let payload = self.encoder.encode(packet)?;
                if Encoder::is_pause(&payload) {
                    self.activity = Activity::Silent { pauses: PAUSE_PACKETS - 1 };
                }
                (marker, level(packet), payload)
            }
            (Activity::Silent { pauses }, false) => {
                let payload = self.encoder.encode(packet)?;
                if !Encoder::is_pause(&payload) {
                    self.activity = Activity::Speaking { first: false };
                    (true, level(packet), payload)
                } else if *pauses == 0 {
                    return Ok(None);
                } else {
                    *pauses -= 1;
                    (false, 127, payload)
                }
            }
            (Activity::Muted { .. }, false) => {
                self.encoder.reset()?;
                fade(packet, Fade::In);
                let payload = self.encoder.encode(packet)?;
                self.activity = Activity::Speaking { first: false };
                (true, level(packet), payload)
            }
            (Activity::Speaking { .. } | Activity::Silent { .. }, true) => {
                // The word that was being said ends softly.
                fade(packet, Fade::Out);
                let payload = self.encoder.encode(packet)?;
                self.activity = Activity::Muted { pauses: PAUSE_PACKETS };
                (false, level(packet), payload)
            }
            (Activity::Muted { pauses: 0 }, true) => return Ok(None),
            (Activity::Muted { pauses }, true) => {
                *pauses -= 1;
                (false, 127, self.encoder.pause())
            }
        };
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        Ok(Some(OutgoingPacket {
            sequence,
            timestamp,
            marker,
            payload,
            codec: None,
            copies: self.plan.copies,
            // What is stamped is the first sample.
            captured_unix_us: (marker || sequence.is_multiple_of(TIME_EVERY))
                .then(|| self.wall.unix_us(end).saturating_sub(before_end as u64 * 1_000 / 48)),
            level: Some(level),
        }))
    }
}

/// RFC 6464, section 3: -dBov, 0 to 127.
fn level(samples: &[f32]) -> u8 {
    (-mixer::dbfs(mixer::energy(samples))).round().clamp(0.0, 127.0) as u8
}

#[derive(Clone, Copy)]
enum Fade {
    In,
    Out,
}

/// Over 5 ms at the edge that meets the silence; the rest of a packet that fades out is silent already.
fn fade(packet: &mut [f32], direction: Fade) {
    const EDGE: f32 = 240.0;
    for (i, sample) in packet.iter_mut().enumerate() {
        let rising = (i as f32 / EDGE).min(1.0);
        *sample *= match direction {
            Fade::In => rising,
            Fade::Out => 1.0 - rising,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{audio::mixer::tests::sine, codec::opus::Decoder, playout::audio::Decode, rate::Bitrate};

    fn captured(skipped: u32) -> Captured {
        Captured { at: clock::now(), skipped }
    }

    fn run(sender: &mut VoiceSender, packets: usize, muted: bool) -> Vec<OutgoingPacket> {
        let tone = sine(440.0, 48_000, PIECE, 0.5).try_into().unwrap();
        (0..2 * packets).flat_map(|_| sender.take(&tone, captured(0), muted).unwrap()).flatten().collect()
    }

    #[test]
    fn sequence_and_timestamp_are_contiguous_and_wrap() {
        let mut sender = VoiceSender::new(u16::MAX, u32::MAX - 959, WallClock::new(), None).unwrap();
        let packets = run(&mut sender, 3, false);
        assert_eq!(packets.iter().map(|p| p.sequence).collect::<Vec<_>>(), [u16::MAX, 0, 1]);
        assert_eq!(packets.iter().map(|p| p.timestamp).collect::<Vec<_>>(), [u32::MAX - 959, 0, 960]);
        assert_eq!(packets.iter().map(|p| p.marker).collect::<Vec<_>>(), [true, false, false]);
        assert_eq!(packets[1].level, Some(9), "a sine of amplitude 0.5 is 9 dB below full scale");
        assert!(packets[0].captured_unix_us > Some(1_700_000_000_000_000));
    }

    #[test]
    fn on_a_thin_path_packets_are_half_as_many_and_go_on_where_the_others_ended() {
        let mut sender = VoiceSender::new(0, 0, WallClock::new(), None).unwrap();
        run(&mut sender, 5, false);
        let budget = |packets| VoiceBudget { bitrate: Bitrate::from_bps(32_000), packets, pairs: false };
        sender.set_budget(budget(25)).unwrap();
        let long = run(&mut sender, 10, false);
        assert_eq!(long.len(), 5);
        assert_eq!((long[4].sequence, long[4].timestamp), (9, (5 + 4 * 2) * 960));
        let decoder = Decoder::new().unwrap();
        assert!(long.iter().all(|packet| decoder.duration(&packet.payload) == Some(1_920)));
        sender.set_budget(budget(50)).unwrap();
        assert_eq!(run(&mut sender, 2, false)[1].timestamp, 16 * 960);
        sender.set_budget(budget(100)).unwrap();
        assert_eq!(run(&mut sender, 2, false).len(), 2, "nobody has said yet that nothing is lost");
        (0..10).for_each(|_| sender.report(PathReport::default()).unwrap());
        let short = run(&mut sender, 2, false);
        assert_eq!((short.len(), short[3].timestamp), (4, 20 * 960 + 480));
        assert!(short.iter().all(|packet| decoder.duration(&packet.payload) == Some(480)));
        sender.report(PathReport { loss: 0.1, ..PathReport::default() }).unwrap();
        assert_eq!(run(&mut sender, 2, false).len(), 2, "copies of longer packets reach further back");
    }

    #[test]
    fn muting_says_that_it_is_a_pause_and_then_sends_nothing() {
        let mut sender = VoiceSender::new(0, 0, WallClock::new(), None).unwrap();
        let decoder = Decoder::new().unwrap();
        run(&mut sender, 10, false);
        let muted = run(&mut sender, 50, true);
        assert_eq!(muted.len(), 4);
        assert!(!decoder.is_pause(&muted[0].payload));
        assert!(muted[1..].iter().all(|packet| decoder.is_pause(&packet.payload) && packet.level == Some(127)));
        let resumed = run(&mut sender, 2, false);
        assert!(resumed[0].marker && !resumed[1].marker);
        assert_eq!((resumed[0].sequence, resumed[0].timestamp), (14, 60 * 960));
    }

    #[test]
    fn once_a_second_a_packet_leaves_in_two_halves_where_the_path_is_to_be_measured() {
        let mut sender = VoiceSender::new(0, 0, WallClock::new(), None).unwrap();
        let decoder = Decoder::new().unwrap();
        for packets in [25, 50] {
            let budget = VoiceBudget { bitrate: Bitrate::from_bps(24_000), packets, pairs: true };
            sender.set_budget(budget).unwrap();
            (0..10).for_each(|_| sender.report(PathReport::default()).unwrap());
            let whole = 48_000 / packets as usize;
            let sent = run(&mut sender, 150, false);
            let halves = sent.iter().filter(|packet| decoder.duration(&packet.payload) == Some(whole / 2)).count();
            assert!((4..=6).contains(&halves), "{halves} halves in 3 s");
            for two in sent.windows(2) {
                let length = decoder.duration(&two[0].payload).unwrap() as u32;
                assert_eq!(two[1].sequence, two[0].sequence.wrapping_add(1));
                assert_eq!(two[1].timestamp, two[0].timestamp + length);
            }
            assert!(sent.iter().all(|packet| packet.captured_unix_us.is_none_or(|at| at > 1_700_000_000_000_000)));
        }
    }

    #[test]
    fn sound_that_the_microphone_lost_is_a_gap_in_time_and_not_in_numbers() {
        let mut sender = VoiceSender::new(0, 0, WallClock::new(), None).unwrap();
        let piece = [0.1; PIECE];
        let mut take = |skipped| sender.take(&piece, captured(skipped), false).unwrap();
        assert_eq!(take(0), [None, None]);
        assert_eq!(take(4_800), [None, None]);
        let [packet, none] = take(0);
        assert_eq!(packet.map(|packet| (packet.sequence, packet.timestamp)), Some((0, 480 + 4_800)));
        assert_eq!(none, None);
    }

    #[test]
    fn holes_in_what_a_device_gives_are_noticed_and_late_threads_and_drift_are_not() {
        let start = clock::now();
        let run = |at_us: &dyn Fn(u64) -> u64| -> u32 {
            let mut clock = CaptureClock::default();
            let piece = |i| Captured { at: start + std::time::Duration::from_micros(at_us(i)), skipped: 0 };
            (0..3_000).map(|i| clock.piece(piece(i))).sum()
        };
        assert_eq!(run(&|i| i * 10_000), 0);
        // Every piece but each tenth is handled 80 ms late.
        assert_eq!(run(&|i| i * 10_000 + if i % 10 == 0 { 0 } else { 80_000 }), 0);
        // Half a thousandth slow or fast, for half a minute.
        assert_eq!(run(&|i| i * 10_005), 0);
        assert_eq!(run(&|i| i * 9_995), 0);
        // 200 ms are missing from the tenth second on.
        let lost = run(&|i| i * 10_000 + if i > 1_000 { 200_000 } else { 0 });
        assert!((9_500..=9_700).contains(&lost), "{lost}");
    }
}
