//! Notices what did not arrive, asks for it again (RFC 4585, section 6.2.1), and removes duplicates.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rtc::{
    interceptor::{AttributedPacket, Packet, StreamInfo, TaggedPacket},
    rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers},
    shared::TransportContext,
};

use super::{Meter, Stage};
use crate::{
    fec::Header,
    rate::{BETWEEN_COPIES, copies},
};

/// How long a packet may be late before it is asked for: reordering is rare and short.
const REORDERING: Duration = Duration::from_millis(5);
/// The shortest time between two requests for the same packet.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// How long a packet is waited for where others are sent ahead of its loss, which leave behind the picture: until the last of
/// these came, but no longer.
const RECOVERY: Duration = Duration::from_millis(18);
/// Where they come, they come with every picture.
const PROTECTED: Duration = Duration::from_secs(1);
/// The sender's timers, and how much a round trip varies.
const MARGIN: Duration = Duration::from_millis(8);
/// How often the same packet is asked for, each time with copies of the request.
const MAX_REQUESTS: u8 = 10;
/// Packets before the first that came, which are asked for too: those that arrive in one burst with the end of the DTLS
/// handshake are lost, since their keys are not in place yet, and they begin the first key frame.
const BEFORE_FIRST: u64 = 32;
/// Requests for those; there may be no such packets.
const REQUESTS_BEFORE_FIRST: u8 = 2;
/// A larger hole is not repaired: a key frame is cheaper.
const MAX_HOLE: u64 = 256;
/// Packets that may be missing at a time; the oldest are given up.
const MAX_MISSING: usize = 512;
/// How far back duplicates are recognised; older packets are dropped.
const WINDOW: u64 = 2048;

/// The stage that asks for lost packets, on the streams that negotiated it.
#[derive(Debug)]
pub(crate) struct RequestLost {
    streams: HashMap<u32, Arrivals>,
    /// The streams that repair others are bound as well, and not repaired themselves.
    repairing: HashSet<u32>,
    /// By the SSRC of what is sent ahead of losses, the stream that it repairs.
    protected: HashMap<u32, u32>,
    /// Our SSRC in the requests; nobody looks it up.
    sender: u32,
    meter: Arc<Meter>,
}

impl RequestLost {
    pub(crate) fn new(sender: u32, meter: Arc<Meter>) -> Self {
        Self { streams: HashMap::new(), repairing: HashSet::new(), protected: HashMap::new(), sender, meter }
    }
}

impl Stage for RequestLost {
    fn incoming(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        if let Packet::Rtp(rtp) = &packet.message.packet {
            if let Some(ssrc) = self.protected.get(&rtp.header.ssrc) {
                // What can be made of it was made. What is missing still has to be asked for.
                if let (Some((header, _)), Some(arrivals)) = (Header::parse(&rtp.payload), self.streams.get_mut(ssrc)) {
                    arrivals.expect(packet.now, header);
                }
                return;
            }
            if let Some(arrivals) = self.streams.get_mut(&rtp.header.ssrc)
                && arrivals.note(packet.now, rtp.header.sequence_number) == Arrival::Useless
            {
                return;
            }
        }
        onward.push_back(packet);
    }

    fn timeout(&mut self, now: Instant, onward: &mut VecDeque<TaggedPacket>) {
        let pace = Pace::new(self.meter.rtt(), self.meter.loss());
        for (&ssrc, arrivals) in &mut self.streams {
            let (lost, asked_anew) = arrivals.due(now, pace);
            if lost.is_empty() {
                continue;
            }
            self.meter.nacks.fetch_add(asked_anew, Ordering::Relaxed);
            let lost = lost.iter().map(|&extended| extended as u16).collect::<Vec<_>>();
            let request = TransportLayerNack {
                sender_ssrc: self.sender,
                media_ssrc: ssrc,
                nacks: nack_pairs_from_sequence_numbers(&lost),
            };
            onward.push_back(TaggedPacket {
                now,
                transport: TransportContext::default(),
                message: AttributedPacket::new(Packet::Rtcp(vec![Box::new(request)])),
            });
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.streams.values().filter_map(Arrivals::deadline).min()
    }

    fn bind_remote(&mut self, stream: &StreamInfo) {
        let negotiated =
            stream.rtcp_feedback.iter().any(|feedback| feedback.typ == "nack" && feedback.parameter.is_empty());
        if negotiated && !self.repairing.contains(&stream.ssrc) {
            self.repairing.extend(stream.ssrc_rtx.into_iter().chain(stream.ssrc_fec));
            self.protected.extend(stream.ssrc_fec.map(|repairs| (repairs, stream.ssrc)));
            self.streams.entry(stream.ssrc).or_default();
        }
    }

    fn unbind_remote(&mut self, stream: &StreamInfo) {
        self.streams.remove(&stream.ssrc);
        for repairs in stream.ssrc_rtx.into_iter().chain(stream.ssrc_fec) {
            self.repairing.remove(&repairs);
            self.protected.remove(&repairs);
        }
    }
}

/// How often is asked for one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pace {
    /// How long to wait for a repair before it is asked for anew: a round trip, and a little for the sender to answer.
    round: Duration,
    /// Of each request: a request that is lost costs a whole round, and a copy next to nothing. The sender tells copies
    /// from new requests by their time.
    copies: u8,
}

impl Pace {
    fn new(rtt: Option<Duration>, loss: f32) -> Self {
        let copies = copies(loss);
        let answered = rtt.map_or(MIN_INTERVAL, |rtt| rtt + rtt / 10 + MARGIN).max(MIN_INTERVAL);
        Self { round: answered + BETWEEN_COPIES * u32::from(copies - 1), copies }
    }
}

/// What arrived of one stream, and what did not. Pure.
#[derive(Debug, Default)]
pub(crate) struct Arrivals {
    /// The highest sequence number, extended over its wraps; `None` before the first packet.
    highest: Option<u64>,
    /// The first packet that came.
    first: u64,
    /// By extended sequence number: the newest that had the same place in the window.
    window: Vec<u64>,
    missing: BTreeMap<u64, Missing>,
    /// When something came last that was sent ahead of losses.
    protected: Option<Instant>,
}

/// A packet that is missing.
#[derive(Clone, Copy, Debug)]
struct Missing {
    ask_at: Instant,
    requests: u8,
    /// Copies of the latest request that are to follow, and when it is over.
    copies: u8,
    round_ends: Instant,
}

impl Missing {
    fn new(ask_at: Instant, requests: u8) -> Self {
        Self { ask_at, requests, copies: 0, round_ends: ask_at }
    }
}

/// Whether a packet is worth passing on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    Fresh,
    /// A duplicate, or too old.
    Useless,
}

impl Arrivals {
    pub(crate) fn note(&mut self, now: Instant, sequence: u16) -> Arrival {
        let Some(highest) = self.highest else {
            // Room below for packets that were overtaken by the first.
            let first = u64::from(sequence) + (1 << 16);
            self.window = vec![0; WINDOW as usize];
            (self.highest, self.first) = (Some(first), first);
            let missing = Missing::new(now, MAX_REQUESTS - REQUESTS_BEFORE_FIRST);
            self.missing.extend((first - BEFORE_FIRST..first).map(|before| (before, missing)));
            return self.arrived(first);
        };
        let ahead = sequence.wrapping_sub(highest as u16) as i16;
        let extended = highest.saturating_add_signed(i64::from(ahead));
        if extended + WINDOW <= highest {
            return Arrival::Useless;
        }
        if extended > highest {
            self.highest = Some(extended);
            if extended - highest > MAX_HOLE {
                self.missing.clear();
            } else {
                let is_protected = self.protected.is_some_and(|at| now.saturating_duration_since(at) < PROTECTED);
                self.miss(now + if is_protected { RECOVERY } else { REORDERING }, highest + 1..extended);
            }
        } else {
            self.missing.remove(&extended);
        }
        self.arrived(extended)
    }

    /// A packet came that was sent ahead of losses in this block: what is missing of it may still be made, until the last.
    fn expect(&mut self, now: Instant, block: Header) {
        let Some(highest) = self.highest else { return };
        self.protected = Some(now);
        let last = highest.saturating_add_signed(i64::from(block.last().wrapping_sub(highest as u16).cast_signed()));
        if last > highest && last - highest <= MAX_HOLE {
            self.highest = Some(last);
            self.miss(now + RECOVERY, highest + 1..last + 1);
        }
        if block.is_last() {
            let unasked = self.missing.range_mut(..=last).filter(|(_, missing)| missing.requests == 0);
            unasked.for_each(|(_, missing)| missing.ask_at = missing.ask_at.min(now));
        }
    }

    fn miss(&mut self, ask_at: Instant, lost: Range<u64>) {
        let missing = Missing::new(ask_at, 0);
        self.missing.extend(lost.map(|lost| (lost, missing)));
        while self.missing.len() > MAX_MISSING {
            self.missing.pop_first();
        }
    }

    fn arrived(&mut self, extended: u64) -> Arrival {
        let place = &mut self.window[(extended % WINDOW) as usize];
        if std::mem::replace(place, extended) == extended { Arrival::Useless } else { Arrival::Fresh }
    }

    /// What to ask for now, and how many of them are no copies of requests, nor guesses.
    fn due(&mut self, now: Instant, pace: Pace) -> (Vec<u64>, u64) {
        let (mut due, mut asked_anew) = (Vec::new(), 0);
        self.missing.retain(|&extended, missing| {
            if missing.ask_at > now {
                return true;
            }
            if missing.copies > 0 {
                missing.copies -= 1;
            } else if missing.requests == MAX_REQUESTS {
                return false;
            } else {
                missing.requests += 1;
                (missing.copies, missing.round_ends) = (pace.copies - 1, now + pace.round);
                asked_anew += u64::from(extended > self.first);
            }
            missing.ask_at = if missing.copies > 0 { now + BETWEEN_COPIES } else { missing.round_ends };
            due.push(extended);
            true
        });
        (due, asked_anew)
    }

    fn deadline(&self) -> Option<Instant> {
        self.missing.values().map(|missing| missing.ask_at).min()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time of arrival; any will do")]
mod tests {
    use super::*;
    use crate::{
        fec::{Encoder, Protected},
        interceptors::testing::{
            AUDIO, VIDEO, VIDEO_FEC, as_rtcp, audio_stream, pass_in, protected_stream, rtp, video_stream,
        },
    };

    const MS: Duration = Duration::from_millis(1);

    fn stage() -> RequestLost {
        let mut stage = RequestLost::new(1, Arc::default());
        stage.bind_remote(&video_stream());
        stage.bind_remote(&audio_stream());
        stage
    }

    fn arrive(stage: &mut RequestLost, now: Instant, sequences: impl IntoIterator<Item = u16>) -> usize {
        sequences.into_iter().map(|sequence| pass_in(stage, rtp(now, VIDEO, 102, sequence, &[1])).len()).sum()
    }

    fn asked(stage: &mut RequestLost, now: Instant) -> Vec<u16> {
        let mut out = VecDeque::new();
        stage.timeout(now, &mut out);
        let nacks = out.iter().flat_map(|packet| as_rtcp::<TransportLayerNack>(packet).nacks.clone());
        nacks.flat_map(|pair| pair.packet_list()).collect()
    }

    /// Lets the first packet come, and the requests for those before it end.
    fn begin(stage: &mut RequestLost, first: u16) -> Instant {
        let start = Instant::now();
        arrive(stage, start, [first]);
        for elapsed in 0..500 {
            asked(stage, start + elapsed * MS);
        }
        assert_eq!(stage.deadline(), None);
        start + 500 * MS
    }

    #[test]
    fn packets_before_the_first_are_asked_for_twice_and_not_counted() {
        let (mut stage, start) = (stage(), Instant::now());
        arrive(&mut stage, start, [10]);
        assert_eq!(asked(&mut stage, start).len(), BEFORE_FIRST as usize);
        assert_eq!(arrive(&mut stage, start + 5 * MS, [8, 9, 9]), 2);
        assert_eq!(asked(&mut stage, start + 20 * MS).len(), BEFORE_FIRST as usize - 2);
        assert!(asked(&mut stage, start + 40 * MS).is_empty());
        assert_eq!(stage.meter.nacks.load(Ordering::Relaxed), 0);
        assert_eq!(stage.deadline(), None);
    }

    #[test]
    fn lost_packets_are_asked_for_after_the_time_for_reordering() {
        let mut stage = stage();
        let start = begin(&mut stage, 10);
        arrive(&mut stage, start, [11, 14]);
        assert_eq!(stage.deadline(), Some(start + REORDERING));
        assert!(asked(&mut stage, start).is_empty());
        assert_eq!(asked(&mut stage, start + REORDERING), [12, 13]);
    }

    #[test]
    fn reordered_packets_are_not_asked_for() {
        let mut stage = stage();
        let start = begin(&mut stage, 10);
        assert_eq!(arrive(&mut stage, start, [12, 11]), 2);
        assert_eq!(stage.deadline(), None);
        assert!(asked(&mut stage, start + 100 * MS).is_empty());
    }

    #[test]
    fn requests_are_a_round_trip_apart_and_end() {
        let mut stage = stage();
        let start = begin(&mut stage, 1);
        stage.meter.set_rtt(80 * MS);
        arrive(&mut stage, start, [3]);
        let mut requests = Vec::new();
        for elapsed in 0..2000 {
            if !asked(&mut stage, start + elapsed * MS).is_empty() {
                requests.push(elapsed);
            }
        }
        assert_eq!(requests.len(), usize::from(MAX_REQUESTS));
        assert!(requests.windows(2).all(|pair| pair[1] - pair[0] == 96), "{requests:?}");
        assert_eq!(stage.deadline(), None);
    }

    #[test]
    fn where_requests_get_lost_each_goes_several_times() {
        let mut stage = stage();
        let start = begin(&mut stage, 1);
        stage.meter.set_rtt(50 * MS);
        stage.meter.receive_loss.store(51, Ordering::Relaxed);
        arrive(&mut stage, start, [3]);
        let requests: Vec<u32> = (0..150).filter(|&ms| !asked(&mut stage, start + ms * MS).is_empty()).collect();
        assert_eq!(requests, [5, 13, 21, 84, 92, 100], "a round trip between requests, 8 ms between copies");
        assert_eq!(stage.meter.nacks.load(Ordering::Relaxed), 2);
        arrive(&mut stage, start + 101 * MS, [2]);
        assert_eq!(stage.deadline(), None, "what came is not asked for again");
    }

    #[test]
    fn duplicates_are_dropped_and_late_repairs_are_not() {
        let mut stage = stage();
        let start = begin(&mut stage, 1);
        assert_eq!(arrive(&mut stage, start, [2, 2, 4, 3, 3, 4]), 3);
        arrive(&mut stage, start, [6]);
        asked(&mut stage, start + 100 * MS);
        assert_eq!(arrive(&mut stage, start + 150 * MS, [5, 5]), 1);
        assert!(asked(&mut stage, start + 500 * MS).is_empty());
    }

    #[test]
    fn what_was_sent_ahead_tells_what_there_is_to_miss_and_when_to_ask() {
        let mut stage = RequestLost::new(1, Arc::default());
        stage.bind_remote(&protected_stream());
        stage.bind_remote(&StreamInfo { ssrc: VIDEO_FEC, ssrc_fec: None, ssrc_rtx: None, ..protected_stream() });
        let start = begin(&mut stage, 9);
        let mut encoder = Encoder::default();
        for sequence in 10..14 {
            let payload = bytes::Bytes::from_static(&[1; 20]);
            encoder.push(Protected { sequence, timestamp: 0, marker: false, payload_type: 102, payload });
        }
        let mut repairs = encoder
            .finish(2)
            .into_iter()
            .map(|payload| rtp(start + 2 * MS, VIDEO_FEC, 118, 7, Box::leak(payload.into_boxed_slice())));
        arrive(&mut stage, start, [10, 12]);
        assert!(pass_in(&mut stage, repairs.next().unwrap()).is_empty(), "nobody else knows what to do with it");
        assert!(asked(&mut stage, start + 2 * MS).is_empty(), "the last may still repair it");
        pass_in(&mut stage, repairs.next().unwrap());
        assert_eq!(asked(&mut stage, start + 2 * MS), [11, 13], "also what nothing came behind");
        arrive(&mut stage, start + 10 * MS, [11, 13, 15]);
        assert!(asked(&mut stage, start + 10 * MS + REORDERING).is_empty(), "more may come that repairs it");
        assert_eq!(asked(&mut stage, start + 10 * MS + RECOVERY), [14]);
    }

    #[test]
    fn sequence_numbers_wrap() {
        let mut stage = stage();
        let start = begin(&mut stage, 65_533);
        assert_eq!(arrive(&mut stage, start, [65_534, 1, 65_535]), 3);
        assert_eq!(asked(&mut stage, start + 10 * MS), [0]);
        assert_eq!(arrive(&mut stage, start, [0, 1]), 1);
    }

    #[test]
    fn a_jump_is_not_repaired_and_memory_stays_bounded() {
        let mut stage = stage();
        let start = begin(&mut stage, 0);
        arrive(&mut stage, start, [5000]);
        assert!(asked(&mut stage, start + 10 * MS).is_empty());
        arrive(&mut stage, start, (0..100).map(|i| 5000 + i * 250));
        assert_eq!(stage.streams[&VIDEO].missing.len(), MAX_MISSING);
    }

    #[test]
    fn streams_without_nack_are_left_alone() {
        let (mut stage, start) = (stage(), Instant::now());
        for sequence in [1, 5, 5] {
            assert_eq!(pass_in(&mut stage, rtp(start, AUDIO, 111, sequence, &[1])).len(), 1);
        }
        assert!(asked(&mut stage, start + 100 * MS).is_empty());
    }
}
