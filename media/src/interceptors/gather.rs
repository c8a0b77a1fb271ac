//! Reports on all streams in one packet (RFC 3550, section 6.1), and none on those that are silent (section 6.4).
//!
//! The stack makes a packet of each report: six a second in a call with pictures, behind which the voice waits on a thin
//! link.

use std::{
    collections::{HashMap, VecDeque},
    mem,
    time::Instant,
};

use rtc::{
    interceptor::{Packet, TaggedPacket},
    rtcp::{self, receiver_report::ReceiverReport, reception_report::ReceptionReport, sender_report::SenderReport},
};

use super::Stage;

/// A receiver report has room for so many (RFC 3550, section 6.4.2).
const MOST: usize = 31;

/// The stage that gathers what is reported at one moment.
#[derive(Default)]
pub(crate) struct GatherReports {
    /// The first packet of the moment: the others go with it.
    first: Option<TaggedPacket>,
    sent: Reports<SenderReport>,
    received: Reports<ReceptionReport>,
    /// Whoever reports on what was received.
    receiver_ssrc: u32,
}

/// Reports of one kind.
struct Reports<T> {
    waiting: Vec<T>,
    /// For each stream, how far it had come by the last report on it.
    told: HashMap<u32, u32>,
}

impl<T> Default for Reports<T> {
    fn default() -> Self {
        Self { waiting: Vec::new(), told: HashMap::new() }
    }
}

impl<T> Reports<T> {
    /// Those that tell something new; all, if none does: that reports come at all says that the path works. `progress`: a
    /// stream, and how far it has come.
    fn take(&mut self, progress: impl Fn(&T) -> (u32, u32)) -> Vec<T> {
        let mut reports = mem::take(&mut self.waiting);
        if reports.is_empty() {
            return reports;
        }
        let before = mem::replace(&mut self.told, reports.iter().map(&progress).collect());
        let is_news = |report: &T| {
            let (ssrc, progress) = progress(report);
            before.get(&ssrc) != Some(&progress)
        };
        if reports.iter().any(is_news) {
            reports.retain(is_news);
        }
        reports
    }
}

impl GatherReports {
    /// Keeps it, if it is nothing but reports.
    fn keep(&mut self, packets: &[Box<dyn rtcp::Packet>]) -> bool {
        let mut kinds = packets.iter().map(|packet| packet.as_any());
        if packets.is_empty() || !kinds.all(|packet| packet.is::<SenderReport>() || packet.is::<ReceiverReport>()) {
            return false;
        }
        for packet in packets {
            if let Some(report) = packet.as_any().downcast_ref::<SenderReport>() {
                self.sent.waiting.push(report.clone());
            } else if let Some(report) = packet.as_any().downcast_ref::<ReceiverReport>() {
                self.receiver_ssrc = report.ssrc;
                self.received.waiting.extend(report.reports.iter().cloned());
            }
        }
        true
    }

    fn gathered(&mut self) -> Vec<Box<dyn rtcp::Packet>> {
        let sent = self.sent.take(|report| (report.ssrc, report.packet_count));
        let received = self.received.take(|report| (report.ssrc, report.last_sequence_number));
        let mut packets: Vec<Box<dyn rtcp::Packet>> = Vec::new();
        for report in sent {
            packets.push(Box::new(report));
        }
        for reports in received.chunks(MOST) {
            let (ssrc, reports) = (self.receiver_ssrc, reports.to_vec());
            packets.push(Box::new(ReceiverReport { ssrc, reports, ..ReceiverReport::default() }));
        }
        packets
    }
}

impl Stage for GatherReports {
    fn outgoing(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        match &packet.message.packet {
            Packet::Rtcp(packets) if self.keep(packets) => {
                self.first.get_or_insert(packet);
            }
            _ => onward.push_back(packet),
        }
    }

    fn timeout(&mut self, _now: Instant, onward: &mut VecDeque<TaggedPacket>) {
        let Some(mut packet) = self.first.take() else { return };
        let packets = self.gathered();
        if !packets.is_empty() {
            packet.message.packet = Packet::Rtcp(packets);
            onward.push_back(packet);
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.first.as_ref().map(|packet| packet.now)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time; any will do")]
mod tests {
    use super::*;
    use crate::interceptors::testing::{AUDIO, VIDEO, pass_out, rtcp};

    fn received(ssrc: u32, last_sequence_number: u32) -> ReceiverReport {
        let report = ReceptionReport { ssrc, last_sequence_number, ..ReceptionReport::default() };
        ReceiverReport { ssrc: 7, reports: vec![report], ..ReceiverReport::default() }
    }

    fn sent(ssrc: u32, packet_count: u32) -> SenderReport {
        SenderReport { ssrc, packet_count, ..SenderReport::default() }
    }

    /// The streams of the reports in the one packet that leaves, if any.
    fn leaves(gather: &mut GatherReports) -> Vec<u32> {
        let mut onward = VecDeque::new();
        gather.timeout(Instant::now(), &mut onward);
        assert!(onward.len() <= 1);
        let Some(packet) = onward.pop_front() else { return Vec::new() };
        let Packet::Rtcp(packets) = &packet.message.packet else { unreachable!("nothing but reports is kept") };
        let streams = packets.iter().flat_map(|packet| match packet.as_any().downcast_ref::<ReceiverReport>() {
            Some(report) => report.reports.iter().map(|report| report.ssrc).collect(),
            None => {
                packet.as_any().downcast_ref::<SenderReport>().map(|report| report.ssrc).into_iter().collect::<Vec<_>>()
            }
        });
        streams.collect()
    }

    #[test]
    fn reports_of_one_moment_leave_together_and_at_once() {
        let (mut gather, now) = (GatherReports::default(), Instant::now());
        assert_eq!(gather.deadline(), None);
        for report in [received(VIDEO, 5), received(AUDIO, 9)] {
            assert!(pass_out(&mut gather, rtcp(now, report)).is_empty());
        }
        assert!(pass_out(&mut gather, rtcp(now, sent(3, 1))).is_empty());
        assert_eq!(gather.deadline(), Some(now));
        assert_eq!(leaves(&mut gather), [3, VIDEO, AUDIO]);
        assert_eq!((gather.deadline(), leaves(&mut gather).len()), (None, 0));
    }

    #[test]
    fn silent_streams_are_not_reported_on_unless_all_are_silent() {
        let (mut gather, now) = (GatherReports::default(), Instant::now());
        let mut second = |video, audio| {
            pass_out(&mut gather, rtcp(now, received(VIDEO, video)));
            pass_out(&mut gather, rtcp(now, received(AUDIO, audio)));
            leaves(&mut gather)
        };
        assert_eq!(second(5, 9), [VIDEO, AUDIO]);
        assert_eq!(second(5, 60), [AUDIO]);
        assert_eq!(second(5, 60), [VIDEO, AUDIO], "the far end is to hear that the path works");
        assert_eq!(second(80, 60), [VIDEO]);
    }

    #[test]
    fn everything_else_passes_at_once() {
        let (mut gather, now) = (GatherReports::default(), Instant::now());
        pass_out(&mut gather, rtcp(now, sent(VIDEO, 5)));
        let bye = rtcp::goodbye::Goodbye { sources: vec![VIDEO], ..rtcp::goodbye::Goodbye::default() };
        assert_eq!(pass_out(&mut gather, rtcp(now, bye)).len(), 1);
        assert_eq!(leaves(&mut gather), [VIDEO]);
    }
}
