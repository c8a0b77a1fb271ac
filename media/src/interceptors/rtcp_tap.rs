//! Listens to RTCP in both directions: requests for key frames, and reports on how media gets through.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rtc::{
    interceptor::{Packet, StreamInfo, TaggedPacket},
    rtcp::{
        self, payload_feedbacks::full_intra_request::FullIntraRequest,
        payload_feedbacks::picture_loss_indication::PictureLossIndication, receiver_report::ReceiverReport,
        reception_report::ReceptionReport, sender_report::SenderReport,
    },
};
use tokio::sync::mpsc;

use super::{Kind, Meter, Stage, behind_voice::MAX_HOLD};
use crate::rtp::{Network, PathReport};

/// Sender reports that a receiver report may still answer.
const MAX_SENT_REPORTS: usize = 16;

/// What the far end says of what we send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Feedback {
    /// Its decoder of this stream needs a key frame (RFC 4585, section 6.3.1; RFC 5104, section 4.3.1).
    KeyFrameRequest(Kind),
    /// The first packet of a shared screen came.
    ScreenComes,
    /// Much of the picture is lost, and will not be repaired: it has to begin anew.
    PictureLost,
    /// How one of our streams gets through.
    Report(Kind, PathReport),
    /// How much the path carries.
    Network(Network),
}

/// The stage that listens.
#[derive(Debug)]
pub(crate) struct TapRtcp {
    local: HashMap<u32, Stream>,
    remote: HashMap<u32, Kind>,
    /// The middle of the NTP time in our latest sender reports, and when they were sent.
    sent_reports: VecDeque<(u32, Instant)>,
    /// Dropped when full: reports and requests come again.
    feedback: mpsc::Sender<Feedback>,
    meter: Arc<Meter>,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    kind: Kind,
    clock_rate: u32,
}

impl TapRtcp {
    pub(crate) fn new(feedback: mpsc::Sender<Feedback>, meter: Arc<Meter>) -> Self {
        Self { local: HashMap::new(), remote: HashMap::new(), sent_reports: VecDeque::new(), feedback, meter }
    }

    fn heard(&self, now: Instant, packet: &dyn rtcp::Packet) {
        let packet = packet.as_any();
        if let Some(pli) = packet.downcast_ref::<PictureLossIndication>() {
            self.key_frame_requested(pli.media_ssrc);
        } else if let Some(fir) = packet.downcast_ref::<FullIntraRequest>() {
            fir.fir.iter().for_each(|entry| self.key_frame_requested(entry.ssrc));
        } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
            report.reports.iter().for_each(|report| self.reported(now, report));
        } else if let Some(report) = packet.downcast_ref::<SenderReport>() {
            report.reports.iter().for_each(|report| self.reported(now, report));
        }
    }

    fn key_frame_requested(&self, ssrc: u32) {
        match self.local.get(&ssrc).map(|stream| stream.kind) {
            Some(kind @ (Kind::Video | Kind::Screen)) => {
                let _ = self.feedback.try_send(Feedback::KeyFrameRequest(kind));
            }
            Some(Kind::Audio) | None => {}
        }
    }

    fn reported(&self, now: Instant, report: &ReceptionReport) {
        let Some(stream) = self.local.get(&report.ssrc) else { return };
        if let Some(rtt) = self.round_trip(now, report) {
            self.meter.set_rtt(rtt);
        }
        let report = PathReport {
            loss: f32::from(report.fraction_lost) / 256.0,
            rtt_ms: self.meter.rtt().map_or(0.0, |rtt| rtt.as_secs_f32() * 1e3),
            jitter_ms: report.jitter as f32 * 1e3 / stream.clock_rate.max(1) as f32,
        };
        let _ = self.feedback.try_send(Feedback::Report(stream.kind, report));
    }

    /// The time since we sent the report that this one answers, less the time that the far end kept it
    /// (RFC 3550, section 6.4.1). Ours may have waited after it came by here (`behind_voice`), and says so.
    fn round_trip(&self, now: Instant, report: &ReceptionReport) -> Option<Duration> {
        let seconds = |units: u32| Duration::from_secs_f64(f64::from(units) / 65_536.0);
        let waited = |(time, sent): &(u32, Instant)| (seconds(report.last_sender_report.wrapping_sub(*time)), *sent);
        let (waited, sent) = self.sent_reports.iter().map(waited).find(|(waited, _)| *waited < 2 * MAX_HOLD)?;
        now.checked_duration_since(sent)?.checked_sub(waited)?.checked_sub(seconds(report.delay))
    }

    fn sending(&mut self, now: Instant, packet: &dyn rtcp::Packet) {
        let packet = packet.as_any();
        if let Some(report) = packet.downcast_ref::<SenderReport>() {
            self.sent_reports.push_back(((report.ntp_time >> 16) as u32, now));
            if self.sent_reports.len() > MAX_SENT_REPORTS {
                self.sent_reports.pop_front();
            }
        } else if let Some(report) = packet.downcast_ref::<ReceiverReport>() {
            // Video has more packets to measure with.
            let of = |kind| report.reports.iter().find(|report| self.remote.get(&report.ssrc) == Some(&kind));
            if let Some(report) = of(Kind::Video).or_else(|| of(Kind::Audio)) {
                self.meter.receive_loss.store(u32::from(report.fraction_lost), Ordering::Relaxed);
            }
        }
    }
}

impl Stage for TapRtcp {
    fn incoming(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        self.meter.arrived.fetch_add(1, Ordering::Relaxed);
        if let Packet::Rtcp(packets) = &packet.message.packet {
            packets.iter().for_each(|rtcp| self.heard(packet.now, rtcp.as_ref()));
        }
        onward.push_back(packet);
    }

    fn outgoing(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        if let Packet::Rtcp(packets) = &packet.message.packet {
            packets.iter().for_each(|rtcp| self.sending(packet.now, rtcp.as_ref()));
        }
        onward.push_back(packet);
    }

    fn bind_local(&mut self, stream: &StreamInfo) {
        if let Some(kind) = Kind::of(stream, &self.meter.local_screen) {
            self.local.insert(stream.ssrc, Stream { kind, clock_rate: stream.clock_rate });
        }
    }

    fn bind_remote(&mut self, stream: &StreamInfo) {
        // The stream of retransmissions is bound as well, with the codec that it repairs.
        if self.remote.len() < 4
            && let Some(kind) = Kind::of(stream, &self.meter.remote_screen)
            && !self.remote.values().any(|&bound| bound == kind)
        {
            self.remote.insert(stream.ssrc, kind);
            if kind == Kind::Screen {
                let _ = self.feedback.try_send(Feedback::ScreenComes);
            }
        }
    }

    fn unbind_remote(&mut self, stream: &StreamInfo) {
        self.remote.remove(&stream.ssrc);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time of arrival; any will do")]
mod tests {
    use super::*;
    use crate::interceptors::testing::{AUDIO, VIDEO, audio_stream, pass_in, pass_out, rtcp, video_stream};

    fn tap() -> (TapRtcp, mpsc::Receiver<Feedback>) {
        let (feedback, heard) = mpsc::channel(4);
        let mut tap = TapRtcp::new(feedback, Arc::default());
        tap.bind_local(&video_stream());
        tap.bind_local(&audio_stream());
        (tap, heard)
    }

    #[test]
    fn pli_and_fir_for_our_video_are_told() {
        let (mut tap, mut heard) = tap();
        let now = Instant::now();
        pass_in(&mut tap, rtcp(now, PictureLossIndication { sender_ssrc: 1, media_ssrc: VIDEO }));
        assert_eq!(heard.try_recv(), Ok(Feedback::KeyFrameRequest(Kind::Video)));
        let entry = rtcp::payload_feedbacks::full_intra_request::FirEntry { ssrc: VIDEO, sequence_number: 0 };
        pass_in(&mut tap, rtcp(now, FullIntraRequest { sender_ssrc: 1, media_ssrc: 0, fir: vec![entry] }));
        assert_eq!(heard.try_recv(), Ok(Feedback::KeyFrameRequest(Kind::Video)));
        for stranger in [AUDIO, 77] {
            pass_in(&mut tap, rtcp(now, PictureLossIndication { sender_ssrc: 1, media_ssrc: stranger }));
        }
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn receiver_report_gives_loss_jitter_and_round_trip_time() {
        let (mut tap, mut heard) = tap();
        let sent = Instant::now();
        pass_out(&mut tap, rtcp(sent, SenderReport { ntp_time: 0x1111_2222_3333_4444, ..SenderReport::default() }));
        let report = ReceptionReport {
            ssrc: VIDEO,
            fraction_lost: 64,
            jitter: 900,
            last_sender_report: 0x2222_3333,
            delay: 65_536 / 2,
            ..ReceptionReport::default()
        };
        let report = ReceiverReport { ssrc: 1, reports: vec![report], ..ReceiverReport::default() };
        pass_in(&mut tap, rtcp(sent + Duration::from_millis(540), report));
        let Ok(Feedback::Report(Kind::Video, report)) = heard.try_recv() else { panic!("no report") };
        assert_eq!((report.loss, report.jitter_ms), (0.25, 10.0));
        assert!((report.rtt_ms - 40.0).abs() < 0.1, "{report:?}");
    }

    #[test]
    fn a_report_that_waited_before_it_left_makes_no_round_trip_longer() {
        let (mut tap, _heard) = tap();
        let sent = Instant::now();
        pass_out(&mut tap, rtcp(sent, SenderReport { ntp_time: 0x1111_2222_ffff_0000, ..SenderReport::default() }));
        let waited = 65_536 / 32;
        let last_sender_report = 0x2222_ffff_u32 + waited;
        let report = ReceptionReport { ssrc: VIDEO, last_sender_report, ..ReceptionReport::default() };
        let report = ReceiverReport { ssrc: 1, reports: vec![report], ..ReceiverReport::default() };
        pass_in(&mut tap, rtcp(sent + Duration::from_millis(31 + 40), report));
        let rtt = tap.meter.rtt().unwrap();
        assert!((39..=40).contains(&rtt.as_millis()), "{rtt:?}");
    }

    #[test]
    fn report_that_answers_nothing_leaves_the_round_trip_time_alone() {
        let (mut tap, mut heard) = tap();
        let report = ReceptionReport { ssrc: AUDIO, jitter: 480, ..ReceptionReport::default() };
        let report = ReceiverReport { ssrc: 1, reports: vec![report], ..ReceiverReport::default() };
        pass_in(&mut tap, rtcp(Instant::now(), report));
        let expected = PathReport { loss: 0.0, rtt_ms: 0.0, jitter_ms: 10.0 };
        assert_eq!(heard.try_recv(), Ok(Feedback::Report(Kind::Audio, expected)));
        assert_eq!(tap.meter.rtt(), None);
    }

    #[test]
    fn our_own_reports_tell_the_loss_of_what_we_receive() {
        let (mut tap, _heard) = tap();
        tap.bind_remote(&video_stream());
        let report = ReceptionReport { ssrc: VIDEO, fraction_lost: 26, ..ReceptionReport::default() };
        let report = ReceiverReport { ssrc: 1, reports: vec![report], ..ReceiverReport::default() };
        pass_out(&mut tap, rtcp(Instant::now(), report));
        assert_eq!(tap.meter.receive_loss.load(Ordering::Relaxed), 26);
    }

    #[test]
    fn a_flood_of_requests_is_dropped_when_nobody_listens() {
        let (mut tap, mut heard) = tap();
        for _ in 0..1000 {
            pass_in(&mut tap, rtcp(Instant::now(), PictureLossIndication { sender_ssrc: 1, media_ssrc: VIDEO }));
        }
        assert_eq!(std::iter::from_fn(|| heard.try_recv().ok()).count(), 4);
    }
}
