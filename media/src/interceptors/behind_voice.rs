//! Reports, several a second, which leave right behind a packet of the voice where the path is thin: while they are on their
//! way, no other is due, whereas the next would stand behind one that left just before it (10 to 15 ms on a path of
//! 64 kbit/s).

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rtc::{
    interceptor::{Packet, TaggedPacket},
    rtcp::{
        self, receiver_report::ReceiverReport, sender_report::SenderReport,
        transport_feedbacks::transport_layer_cc::TransportLayerCc,
    },
};

/// So long behind the voice, whose packet may come in two halves.
const BEHIND: Duration = Duration::from_millis(2);
/// Longer than this none waits, whether a voice comes or not.
pub(super) const MAX_HOLD: Duration = Duration::from_millis(60);
/// So many wait at most.
const MAX_HELD: usize = 8;

/// What waits for the voice.
#[derive(Default)]
pub(super) struct BehindVoice {
    reports: VecDeque<TaggedPacket>,
    voice_left: Option<Instant>,
    /// When one of them follows the voice.
    follows_at: Option<Instant>,
}

impl BehindVoice {
    /// A packet of the voice leaves.
    pub(super) fn voice_leaves(&mut self, now: Instant) {
        self.voice_left = Some(now);
        self.follows_at = (!self.reports.is_empty()).then_some(now + BEHIND);
    }

    /// Keeps reports until they may leave; gives back what is something else, and all if there is nothing to wait for.
    pub(super) fn keep(&mut self, packet: TaggedPacket) -> Option<TaggedPacket> {
        let Packet::Rtcp(reports) = &packet.message.packet else { return Some(packet) };
        let voice_flows = self.voice_left.is_some_and(|at| packet.now.saturating_duration_since(at) < MAX_HOLD);
        if !voice_flows || self.reports.len() >= MAX_HELD || !reports.iter().all(|report| may_wait(report.as_ref())) {
            return Some(packet);
        }
        self.reports.push_back(packet);
        None
    }

    /// One behind each packet of the voice: two would hold up the next. `clock` is that of a stream, in Hz.
    pub(super) fn release(&mut self, now: Instant, clock: impl Fn(u32) -> u32) -> Option<TaggedPacket> {
        let follows = self.follows_at.take_if(|at| *at <= now).is_some();
        let leaves = |report: &mut TaggedPacket| follows || now.saturating_duration_since(report.now) >= MAX_HOLD;
        let mut report = self.reports.pop_front_if(leaves)?;
        if let Packet::Rtcp(reports) = &mut report.message.packet {
            let held = now.saturating_duration_since(report.now);
            reports.iter_mut().for_each(|report| make_later(report, held, &clock));
        }
        report.now = now;
        Some(report)
    }

    /// When there may be something to release.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let latest = self.reports.front()?.now + MAX_HOLD;
        Some(self.follows_at.map_or(latest, |follows| follows.min(latest)))
    }
}

/// Requests do not wait: somebody misses something.
fn may_wait(report: &dyn rtcp::Packet) -> bool {
    let kind = report.as_any();
    kind.is::<TransportLayerCc>() || kind.is::<SenderReport>() || kind.is::<ReceiverReport>()
}

/// What a report would say so much later, so that round trips are told without the time that it waited (RFC 3550, sections
/// 6.4.1 and A.8).
fn make_later(report: &mut Box<dyn rtcp::Packet>, held: Duration, clock: impl Fn(u32) -> u32) {
    let seconds = held.as_secs_f64();
    if let Some(sent) = report.as_any().downcast_ref::<SenderReport>() {
        let mut sent = sent.clone();
        sent.ntp_time = sent.ntp_time.wrapping_add((seconds * (1_u64 << 32) as f64) as u64);
        sent.rtp_time = sent.rtp_time.wrapping_add((seconds * f64::from(clock(sent.ssrc))) as u32);
        *report = Box::new(sent);
    } else if let Some(received) = report.as_any().downcast_ref::<ReceiverReport>() {
        let mut received = received.clone();
        for report in received.reports.iter_mut().filter(|report| report.last_sender_report != 0) {
            report.delay = report.delay.saturating_add((seconds * 65_536.0) as u32);
        }
        *report = Box::new(received);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time; any will do")]
mod tests {
    use rtc::{
        interceptor::AttributedPacket,
        rtcp::{payload_feedbacks::picture_loss_indication::PictureLossIndication, reception_report::ReceptionReport},
        shared::TransportContext,
    };

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const CLOCK: fn(u32) -> u32 = |_| 48_000;

    fn of(now: Instant, packets: Vec<Box<dyn rtcp::Packet>>) -> TaggedPacket {
        let message = AttributedPacket::new(Packet::Rtcp(packets));
        TaggedPacket { now, transport: TransportContext::default(), message }
    }

    fn report(now: Instant) -> TaggedPacket {
        of(now, vec![Box::new(TransportLayerCc::default())])
    }

    #[test]
    fn each_packet_of_the_voice_is_followed_by_one_report() {
        let (mut behind, start) = (BehindVoice::default(), Instant::now());
        behind.voice_leaves(start);
        for at in [10, 20] {
            assert!(behind.keep(report(start + at * MS)).is_none());
        }
        assert_eq!(behind.deadline(), Some(start + 70 * MS));
        assert!(behind.release(start + 39 * MS, CLOCK).is_none());
        let voice = start + 40 * MS;
        behind.voice_leaves(voice);
        assert!(behind.release(voice, CLOCK).is_none(), "its other half may still come");
        behind.voice_leaves(voice);
        assert_eq!(behind.deadline(), Some(voice + BEHIND));
        assert_eq!(behind.release(voice + BEHIND, CLOCK).map(|report| report.now), Some(voice + BEHIND));
        assert!(behind.release(voice + 3 * MS, CLOCK).is_none());
        behind.voice_leaves(start + 80 * MS);
        assert!(behind.release(start + 82 * MS, CLOCK).is_some());
        assert_eq!(behind.deadline(), None);
    }

    #[test]
    fn without_a_voice_nothing_waits() {
        let (mut behind, start) = (BehindVoice::default(), Instant::now());
        assert!(behind.keep(report(start)).is_some(), "none was ever heard");
        behind.voice_leaves(start);
        assert!(behind.keep(report(start + 60 * MS)).is_some(), "it paused");
        assert!(behind.keep(report(start + 50 * MS)).is_none());
        assert!(behind.release(start + 109 * MS, CLOCK).is_none());
        assert!(behind.release(start + 110 * MS, CLOCK).is_some(), "it ended");
    }

    #[test]
    fn round_trips_are_told_without_the_time_that_a_report_waited() {
        let (mut behind, start) = (BehindVoice::default(), Instant::now());
        behind.voice_leaves(start);
        let sent = SenderReport { ntp_time: 7 << 32, rtp_time: 1_000, ..SenderReport::default() };
        let reception = |last_sender_report| ReceptionReport { last_sender_report, delay: 10, ..Default::default() };
        let received = ReceiverReport { reports: vec![reception(5), reception(0)], ..ReceiverReport::default() };
        assert!(behind.keep(of(start, vec![Box::new(sent), Box::new(received)])).is_none());
        behind.voice_leaves(start + 23 * MS);
        let left = behind.release(start + 25 * MS, CLOCK).unwrap();
        let Packet::Rtcp(packets) = left.message.packet else { panic!("reports") };
        let sent = packets[0].as_any().downcast_ref::<SenderReport>().unwrap();
        assert_eq!((sent.ntp_time, sent.rtp_time), ((7 << 32) + (1 << 32) / 40, 1_000 + 1_200));
        let received = packets[1].as_any().downcast_ref::<ReceiverReport>().unwrap();
        assert_eq!(received.reports.iter().map(|report| report.delay).collect::<Vec<_>>(), [10 + 65_536 / 40, 10]);
    }

    #[test]
    fn a_request_does_not_wait() {
        let (mut behind, start) = (BehindVoice::default(), Instant::now());
        behind.voice_leaves(start);
        assert!(behind.keep(of(start, vec![Box::new(PictureLossIndication::default())])).is_some());
    }

    #[test]
    fn only_so_many_wait() {
        let (mut behind, start) = (BehindVoice::default(), Instant::now());
        behind.voice_leaves(start);
        assert_eq!((0..20).filter_map(|_| behind.keep(report(start))).count(), 20 - MAX_HELD);
    }
}
