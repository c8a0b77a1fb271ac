//! Notices what did not arrive, asks for it again (RFC 4585, section 6.2.1), and removes duplicates.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rtc::{
    interceptor::{AttributedPacket, Packet, StreamInfo, TaggedPacket},
    rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers},
    shared::TransportContext,
};

use super::{Meter, Stage};

/// How long a packet may be late before it is asked for: reordering is rare and short.
const REORDERING: Duration = Duration::from_millis(5);
/// The shortest time between two requests for the same packet.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// Loss, of what we receive, from which several repairs of a packet may be on their way.
const HEAVY_LOSS: f32 = 0.08;
/// Requests for the same packet.
const MAX_REQUESTS: u8 = 12;
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
    /// The streams of retransmissions are bound as well, and not repaired themselves.
    retransmissions: HashSet<u32>,
    /// Our SSRC in the requests; nobody looks it up.
    sender: u32,
    meter: Arc<Meter>,
}

impl RequestLost {
    pub(crate) fn new(sender: u32, meter: Arc<Meter>) -> Self {
        Self { streams: HashMap::new(), retransmissions: HashSet::new(), sender, meter }
    }
}

impl Stage for RequestLost {
    fn incoming(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        if let Packet::Rtp(rtp) = &packet.message.packet
            && let Some(arrivals) = self.streams.get_mut(&rtp.header.ssrc)
            && arrivals.note(packet.now, rtp.header.sequence_number) == Arrival::Useless
        {
            return;
        }
        onward.push_back(packet);
    }

    fn timeout(&mut self, now: Instant, onward: &mut VecDeque<TaggedPacket>) {
        let interval = self.meter.rtt().map_or(MIN_INTERVAL, |rtt| interval(rtt, self.meter.loss()));
        for (&ssrc, arrivals) in &mut self.streams {
            let lost = arrivals.due(now, interval);
            if lost.is_empty() {
                continue;
            }
            let known = lost.iter().filter(|&&extended| extended > arrivals.first).count();
            self.meter.nacks.fetch_add(known as u64, Ordering::Relaxed);
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
        if negotiated && !self.retransmissions.contains(&stream.ssrc) {
            self.retransmissions.extend(stream.ssrc_rtx);
            self.streams.entry(stream.ssrc).or_default();
        }
    }

    fn unbind_remote(&mut self, stream: &StreamInfo) {
        self.streams.remove(&stream.ssrc);
        if let Some(rtx) = stream.ssrc_rtx {
            self.retransmissions.remove(&rtx);
        }
    }
}

/// How long to wait for a repair: a round trip, and a little for the sender to answer. Where much is lost, requests and
/// repairs are too: several are on their way at a time, since what comes twice costs less than a picture that stands.
fn interval(rtt: Duration, loss: f32) -> Duration {
    let trips = if loss > HEAVY_LOSS { 0.6 } else { 1.25 };
    rtt.mul_f32(trips).max(MIN_INTERVAL)
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
}

/// A packet that is missing.
#[derive(Clone, Copy, Debug)]
struct Missing {
    ask_at: Instant,
    requests: u8,
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
            let missing = Missing { ask_at: now, requests: MAX_REQUESTS - REQUESTS_BEFORE_FIRST };
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
                let missing = Missing { ask_at: now + REORDERING, requests: 0 };
                self.missing.extend((highest + 1..extended).map(|lost| (lost, missing)));
                while self.missing.len() > MAX_MISSING {
                    self.missing.pop_first();
                }
            }
        } else {
            self.missing.remove(&extended);
        }
        self.arrived(extended)
    }

    fn arrived(&mut self, extended: u64) -> Arrival {
        let place = &mut self.window[(extended % WINDOW) as usize];
        if std::mem::replace(place, extended) == extended { Arrival::Useless } else { Arrival::Fresh }
    }

    /// What to ask for now.
    fn due(&mut self, now: Instant, interval: Duration) -> Vec<u64> {
        let mut due = Vec::new();
        self.missing.retain(|&extended, missing| {
            if missing.ask_at > now {
                return true;
            }
            if missing.requests == MAX_REQUESTS {
                return false;
            }
            missing.requests += 1;
            missing.ask_at = now + interval;
            due.push(extended);
            true
        });
        due
    }

    fn deadline(&self) -> Option<Instant> {
        self.missing.values().map(|missing| missing.ask_at).min()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time of arrival; any will do")]
mod tests {
    use super::*;
    use crate::interceptors::testing::{AUDIO, VIDEO, as_rtcp, audio_stream, pass_in, rtp, video_stream};

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
        assert!(requests.windows(2).all(|pair| pair[1] - pair[0] == 100), "{requests:?}");
        assert_eq!(stage.deadline(), None);
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
