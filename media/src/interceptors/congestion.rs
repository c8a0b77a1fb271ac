//! The last stage before the wire: packets leave at the pace that the path carries, numbered, and what the far end says
//! about each decides how much is sent. The voice does not wait.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rtc::{
    interceptor::{Attribute, AttributedPacket, Packet, StreamInfo, TaggedPacket},
    rtcp::transport_feedbacks::{
        transport_layer_cc::{PacketStatusChunk, SymbolTypeTcc, TransportLayerCc},
        transport_layer_nack::TransportLayerNack,
    },
    shared::{TransportContext, marshal::MarshalSize as _},
};
use tokio::sync::mpsc;

use super::{Kind, Meter, Stage, behind_voice::BehindVoice, retransmission::Retransmissions, rtcp_tap::Feedback};
use crate::{
    rate::{Arrival, BETWEEN_COPIES, Bitrate, Class, Controller, History, Outcome, Pacer, copies, pace, repair_ratio},
    rtp::Network,
};

/// A number for every packet of a connection, whatever its stream.
pub(crate) const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";

/// What a connection begins with, voice and picture together.
const START: Bitrate = Bitrate::from_bps(1_500_000);
/// SRTP's tag, UDP and IPv4.
const BELOW_RTP: u32 = 10 + 8 + 20;
/// In Hz.
const VOICE_CLOCK: u32 = 48_000;
const PICTURE_CLOCK: u32 = 90_000;
/// How often it is looked whether reports fail to come.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// Packets without a report for so long are lost, as is the report.
const LIFE: Duration = Duration::from_secs(3);
/// The part of what is lost that is asked for though much is sent ahead of losses.
const ASKED_BESIDE_PROTECTION: f32 = 0.5;
/// Copies of retransmissions that wait for their time; more are left out.
const MAX_COPIES: usize = 256;
/// Packets that one report may be about; more is nonsense.
const MAX_REPORTED: usize = 4_096;

/// The stage that paces and listens.
pub(crate) struct Congestion {
    /// Of streams of pictures, by SSRC; all else is the voice.
    classes: HashMap<u32, Class>,
    /// The extension for the number, when the far end takes it.
    extension: Option<u8>,
    pacer: Pacer<TaggedPacket>,
    history: History,
    /// Of each stream of pictures, by its SSRC.
    pictures: HashMap<u32, Retransmissions>,
    controller: Option<Controller>,
    max: Bitrate,
    check_at: Option<Instant>,
    /// Copies of retransmissions, and when they are due.
    copies: VecDeque<(Instant, TaggedPacket)>,
    /// Since when too much is on the way.
    blocked_since: Option<Instant>,
    /// Reports that wait for the voice.
    reports: BehindVoice,
    arrivals: Vec<Arrival>,
    outcomes: Vec<Outcome>,
    /// Dropped when full: the next report comes soon.
    feedback: mpsc::Sender<Feedback>,
    meter: Arc<Meter>,
}

impl Congestion {
    pub(crate) fn new(first: u16, feedback: mpsc::Sender<Feedback>, meter: Arc<Meter>) -> Self {
        Self {
            classes: HashMap::new(),
            extension: None,
            pacer: Pacer::new(pace(START, false)),
            history: History::new(first),
            pictures: HashMap::new(),
            controller: None,
            max: START,
            check_at: None,
            copies: VecDeque::new(),
            blocked_since: None,
            reports: BehindVoice::default(),
            arrivals: Vec::new(),
            outcomes: Vec::new(),
            feedback,
            meter,
        }
    }

    /// Numbers a packet and lets it go.
    fn leave(&mut self, now: Instant, mut packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        if let (Packet::Rtp(rtp), Some(id)) = (&mut packet.message.packet, self.extension) {
            let bytes = rtp.marshal_size() as u32 + BELOW_RTP;
            let number = self.history.send(now, bytes).to_be_bytes();
            if let Err(error) = rtp.header.set_extension(id, bytes::Bytes::copy_from_slice(&number)) {
                tracing::trace!(%error, "a packet without a number");
            }
        }
        packet.now = now;
        onward.push_back(packet);
    }

    /// Begins as at first, if media takes another path.
    fn follow_path(&mut self, now: Instant) {
        if self.meter.new_path.swap(false, Ordering::Relaxed) {
            self.history.forget();
            self.copies.clear();
            self.controller = Some(Controller::new(now, START, self.max()));
            self.settle();
        }
    }

    fn release(&mut self, now: Instant, onward: &mut VecDeque<TaggedPacket>) {
        while let Some((_, packet)) = self.copies.pop_front_if(|(due, _)| *due <= now) {
            self.wait(now, Class::Repair, packet);
        }
        while !self.is_blocked(now) {
            let Some((packet, _)) = self.pacer.pop(now) else { break };
            self.leave(now, packet, onward);
        }
        let blocked = self.blocked_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let micros = |delay: Duration| u32::try_from((delay + blocked).as_micros()).unwrap_or(u32::MAX);
        self.meter.pacer_us.store(micros(self.pacer.delay()), Ordering::Relaxed);
        self.meter.screen_pacer_us.store(micros(self.pacer.whole_delay()), Ordering::Relaxed);
    }

    /// So much is on the way that pictures wait until something is heard of it.
    fn is_blocked(&mut self, now: Instant) -> bool {
        let max = self.max();
        let controller = self.controller.get_or_insert_with(|| Controller::new(now, START, max));
        let blocked = controller.is_blocked(now, &self.history);
        self.blocked_since = blocked.then(|| self.blocked_since.unwrap_or(now));
        blocked
    }

    /// Reports go behind the voice where the path is thin.
    fn rtcp(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        let is_thin = self.controller.as_ref().is_some_and(Controller::wants_pairs);
        onward.extend(if is_thin { self.reports.keep(packet) } else { Some(packet) });
    }

    fn reported(&mut self, now: Instant, report: &TransportLayerCc) {
        read_report(report, &mut self.arrivals);
        let reference_us = i64::from(report.reference_time) * 64_000;
        self.history.report(reference_us, &self.arrivals, &mut self.outcomes);
        self.history.expire(now, LIFE);
        let max = self.max();
        let controller = self.controller.get_or_insert_with(|| Controller::new(now, START, max));
        controller.set_max(max);
        controller.handle_report(now, &self.outcomes);
        let overflow = controller.take_overflow();
        self.settle();
        if overflow {
            self.begin_anew();
        }
        // What waits may go on at once.
        self.is_blocked(now);
    }

    /// Much was lost, and what waits is too much for the path as it is now: a new picture is sooner there than the rest of
    /// the old ones.
    fn begin_anew(&mut self) {
        let begun = self.pictures.values_mut().filter_map(|pictures| pictures.give_up().then_some(())).count();
        if begun == 0 {
            return;
        }
        tracing::debug!("the path's queue overflowed: the picture begins anew");
        self.pacer.clear();
        self.history.give_up();
        self.copies.clear();
        let _ = self.feedback.try_send(Feedback::PictureLost);
    }

    /// Puts a packet into the pacer, which gives the voice back.
    fn wait(&mut self, now: Instant, class: Class, packet: TaggedPacket) -> Option<TaggedPacket> {
        let Packet::Rtp(rtp) = &packet.message.packet else { return None };
        let bytes = rtp.marshal_size() as u32 + BELOW_RTP;
        self.pacer.push(now, class, packet, bytes)
    }

    /// The far end asks for packets again. Where retransmissions get lost, copies follow.
    fn requested(&mut self, now: Instant, request: &TransportLayerNack) {
        let Some(pictures) = self.pictures.get_mut(&request.media_ssrc) else { return };
        let rtt = self.controller.as_ref().map_or(Duration::ZERO, Controller::loop_time);
        let copies = copies(self.controller.as_ref().map_or(0.0, Controller::accidental_loss));
        let answer = pictures.answer(now, request, rtt, self.meter.payload_types.get());
        let tagged = |packet| {
            let message = AttributedPacket::new(Packet::Rtp(packet)).with(Attribute::Retransmission);
            TaggedPacket { now, transport: TransportContext::default(), message }
        };
        for number in 1..u32::from(copies) {
            let due = now + BETWEEN_COPIES * number;
            let place = self.copies.partition_point(|(at, _)| *at <= due);
            let room = MAX_COPIES.saturating_sub(self.copies.len());
            for copy in answer.iter().filter_map(|packet| pictures.copy(packet)).take(room) {
                self.copies.insert(place, (due, tagged(copy)));
            }
        }
        for packet in answer {
            let _waits = self.wait(now, Class::Repair, tagged(packet));
        }
    }

    fn accidental_loss(&self) -> f32 {
        self.controller.as_ref().map_or(0.0, Controller::accidental_loss)
    }

    /// What repairs take, as a part of what they repair.
    fn repair_ratio(&self) -> f32 {
        let ahead = self.meter.protection();
        let asked = repair_ratio(self.accidental_loss());
        // What came ahead is not asked for.
        ahead + if ahead > 0.0 { asked * ASKED_BESIDE_PROTECTION } else { asked }
    }

    fn max(&self) -> Bitrate {
        let of_use = self.meter.max_bps.load(Ordering::Relaxed);
        let of_use = of_use.saturating_add(self.meter.max_screen_bps.load(Ordering::Relaxed));
        // Repairs come on top of what is of use.
        Bitrate::from_bps(of_use).max(self.max).scaled(1.0 + self.repair_ratio())
    }

    /// The rate may have changed.
    fn settle(&mut self) {
        let Some(controller) = &self.controller else { return };
        let target = controller.target();
        self.pacer.set_rate(pace(target, controller.is_limited()));
        let loop_us = u32::try_from(controller.loop_time().as_micros()).unwrap_or(u32::MAX);
        self.meter.loop_us.store(loop_us, Ordering::Relaxed);
        self.meter.set_accidental_loss(controller.accidental_loss());
        let network = Network {
            available_bps: target.as_bps(),
            sustainable_bps: controller.sustainable().as_bps(),
            loss: controller.loss(),
            repair: self.repair_ratio(),
            queue_ms: controller.queue_ms(),
            is_limited: controller.is_limited(),
            wants_pairs: controller.wants_pairs(),
        };
        let _ = self.feedback.try_send(Feedback::Network(network));
    }
}

impl Stage for Congestion {
    fn incoming(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        if let Packet::Rtcp(packets) = &packet.message.packet {
            for rtcp in packets {
                if let Some(report) = rtcp.as_any().downcast_ref::<TransportLayerCc>() {
                    self.reported(packet.now, report);
                } else if let Some(request) = rtcp.as_any().downcast_ref::<TransportLayerNack>() {
                    self.requested(packet.now, request);
                }
            }
        }
        onward.push_back(packet);
    }

    fn outgoing(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        let now = packet.now;
        self.follow_path(now);
        let Packet::Rtp(rtp) = &packet.message.packet else { return self.rtcp(packet, onward) };
        let class = self.classes.get(&rtp.header.ssrc).copied().unwrap_or(Class::Voice);
        if let Some(pictures) = self.pictures.get_mut(&rtp.header.ssrc) {
            pictures.keep(rtp);
        }
        if let Some(packet) = self.wait(now, class, packet) {
            self.leave(now, packet, onward);
            self.reports.voice_leaves(now);
        }
        self.check_at.get_or_insert(now + CHECK_INTERVAL);
        self.release(now, onward);
    }

    fn timeout(&mut self, now: Instant, onward: &mut VecDeque<TaggedPacket>) {
        self.release(now, onward);
        let clock = |ssrc| if self.classes.contains_key(&ssrc) { PICTURE_CLOCK } else { VOICE_CLOCK };
        onward.extend(self.reports.release(now, clock));
        if self.check_at.is_some_and(|at| at <= now) {
            self.check_at = Some(now + CHECK_INTERVAL);
            if let Some(controller) = &mut self.controller {
                let before = controller.target();
                controller.handle_timeout(now, self.history.waiting_since(controller.last_report()));
                let overflow = controller.take_overflow();
                if controller.target() != before {
                    self.settle();
                }
                if overflow {
                    self.begin_anew();
                }
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let release = if self.blocked_since.is_some() { None } else { self.pacer.deadline() };
        let copies = self.copies.front().map(|(due, _)| *due);
        release.into_iter().chain(copies).chain(self.reports.deadline()).chain(self.check_at).min()
    }

    fn bind_local(&mut self, stream: &StreamInfo) {
        let extension = stream.rtp_header_extensions.iter().find(|extension| extension.uri == TRANSPORT_CC);
        if let Some(id) = extension.and_then(|extension| u8::try_from(extension.id).ok()).filter(|id| *id != 0) {
            self.extension = Some(id);
        }
        let class = match Kind::of(stream, &self.meter.local_screen) {
            Some(Kind::Video) => Class::Picture,
            Some(Kind::Screen) => Class::Screen,
            Some(Kind::Audio) | None => return,
        };
        // Once for each codec that it may be of.
        self.classes.insert(stream.ssrc, class);
        self.classes.extend(stream.ssrc_fec.map(|repairs| (repairs, Class::Picture)));
        self.pictures.entry(stream.ssrc).or_insert_with(|| Retransmissions::new(stream.ssrc_rtx));
    }
}

/// What a report says of each packet. Whatever it says: no more than [`MAX_REPORTED`] of them, and every time finite.
pub(super) fn read_report(report: &TransportLayerCc, arrivals: &mut Vec<Arrival>) {
    arrivals.clear();
    let total = usize::from(report.packet_status_count).min(MAX_REPORTED);
    let mut deltas = report.recv_deltas.iter();
    let mut at_us = 0_i64;
    let mut sequence = report.base_sequence_number;
    let mut take = |symbol: SymbolTypeTcc, arrivals: &mut Vec<Arrival>| {
        if arrivals.len() >= total {
            return;
        }
        let at_us = match symbol {
            SymbolTypeTcc::PacketNotReceived => None,
            SymbolTypeTcc::PacketReceivedSmallDelta | SymbolTypeTcc::PacketReceivedLargeDelta => {
                deltas.next().map(|delta| {
                    at_us += delta.delta;
                    at_us
                })
            }
            SymbolTypeTcc::PacketReceivedWithoutDelta => Some(at_us),
        };
        arrivals.push(Arrival { sequence, at_us });
        sequence = sequence.wrapping_add(1);
    };
    for chunk in &report.packet_chunks {
        match chunk {
            PacketStatusChunk::RunLengthChunk(run) => {
                (0..usize::from(run.run_length).min(MAX_REPORTED))
                    .for_each(|_| take(run.packet_status_symbol, arrivals));
            }
            PacketStatusChunk::StatusVectorChunk(vector) => {
                vector.symbol_list.iter().for_each(|symbol| take(*symbol, arrivals));
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time; any will do")]
mod tests {
    use rtc::{
        interceptor::RTPHeaderExtension,
        rtcp::transport_feedbacks::transport_layer_nack::nack_pairs_from_sequence_numbers,
    };

    use super::*;
    use crate::{
        codec::VideoCodec,
        interceptors::{
            arrivals::ReportArrivals,
            payload_types::PayloadTypes,
            testing::{AUDIO, VIDEO, VIDEO_RTX, as_rtp, audio_stream, pass_in, pass_out, rtp, video_stream},
        },
    };

    const MS: Duration = Duration::from_millis(1);
    const ANSWER: &str = "m=video 9 X 102 103\na=rtpmap:102 H264/90000\na=fmtp:102 packetization-mode=1\n\
                          a=rtpmap:103 rtx/90000\na=fmtp:103 apt=102\n";
    const NUMBER: u8 = 7;

    fn numbered(stream: StreamInfo) -> StreamInfo {
        let extension = RTPHeaderExtension { uri: TRANSPORT_CC.to_owned(), id: u16::from(NUMBER) };
        StreamInfo { rtp_header_extensions: vec![extension], ..stream }
    }

    fn stage() -> (Congestion, mpsc::Receiver<Feedback>) {
        let (feedback, heard) = mpsc::channel(64);
        let mut stage = Congestion::new(65_530, feedback, Arc::default());
        stage.bind_local(&numbered(video_stream()));
        stage.bind_local(&numbered(audio_stream()));
        (stage, heard)
    }

    fn number(packet: &TaggedPacket) -> u16 {
        let value = as_rtp(packet).header.get_extension(NUMBER).unwrap();
        u16::from_be_bytes([value[0], value[1]])
    }

    #[test]
    fn every_packet_is_numbered_in_the_order_in_which_it_leaves() {
        let (mut stage, _heard) = stage();
        let now = Instant::now();
        let mut left = Vec::new();
        for sequence in 0..4 {
            left.extend(pass_out(&mut stage, rtp(now, VIDEO, 102, sequence, &[1; 100])));
            left.extend(pass_out(&mut stage, rtp(now, AUDIO, 111, sequence, &[1; 80])));
        }
        let numbers = left.iter().map(number).collect::<Vec<_>>();
        assert_eq!(numbers, [65_530, 65_531, 65_532, 65_533, 65_534, 65_535, 0, 1]);
    }

    #[test]
    fn the_voice_overtakes_a_picture_that_waits() {
        let (mut stage, _heard) = stage();
        stage.pacer.set_rate(Bitrate::from_bps(500_000));
        let now = Instant::now();
        for sequence in 0..20 {
            pass_out(&mut stage, rtp(now, VIDEO, 102, sequence, &[1; 1_000]));
        }
        let left = pass_out(&mut stage, rtp(now, AUDIO, 111, 0, &[1; 80]));
        assert_eq!(as_rtp(&left[0]).header.ssrc, AUDIO);
        assert!(stage.meter.pacer_us.load(Ordering::Relaxed) > 200_000);
        assert!(stage.deadline().is_some_and(|at| at > now));
        let mut later = VecDeque::new();
        stage.timeout(now + 100 * MS, &mut later);
        assert!(!later.is_empty() && later.iter().all(|packet| as_rtp(packet).header.ssrc == VIDEO));
    }

    #[test]
    fn what_was_lost_leaves_before_what_is_new_and_in_a_stream_of_its_own() {
        let (mut stage, _heard) = stage();
        let types = PayloadTypes::parse(ANSWER, VideoCodec::BUILT);
        stage.meter.payload_types.set(types).unwrap();
        let now = Instant::now();
        pass_out(&mut stage, rtp(now, VIDEO, 102, 1, &[7; 1_000]));
        stage.pacer.set_rate(Bitrate::from_bps(500_000));
        for sequence in 2..20 {
            pass_out(&mut stage, rtp(now, VIDEO, 102, sequence, &[1; 1_000]));
        }
        let nacks = nack_pairs_from_sequence_numbers(&[1]);
        let request = TransportLayerNack { sender_ssrc: 1, media_ssrc: VIDEO, nacks };
        let message = AttributedPacket::new(Packet::Rtcp(vec![Box::new(request)]));
        let now = now + 20 * MS;
        pass_in(&mut stage, TaggedPacket { now, transport: TransportContext::default(), message });
        let mut left = VecDeque::new();
        stage.timeout(now + 20 * MS, &mut left);
        let repair = as_rtp(&left[0]);
        assert_eq!((repair.header.ssrc, repair.header.payload_type), (VIDEO_RTX, 103));
        assert_eq!(&repair.payload[..4], [0, 1, 7, 7]);
        assert!(repair.header.get_extension(NUMBER).is_some(), "it is reported on like any other");
    }

    #[test]
    fn pictures_wait_while_nothing_is_heard_of_what_was_sent_and_the_voice_does_not() {
        let (mut sender, _heard) = stage();
        let mut receiver = ReportArrivals::new(1);
        receiver.bind_remote(&numbered(video_stream()));
        let start = Instant::now();
        let mut left = VecDeque::new();
        for sequence in 0..200_u16 {
            let now = start + u32::from(sequence) * MS;
            left.extend(pass_out(&mut sender, rtp(now, VIDEO, 102, sequence, &[1; 1_000])));
        }
        assert!((40..60).contains(&left.len()), "{}", left.len());
        let now = start + 200 * MS;
        assert_eq!(pass_out(&mut sender, rtp(now, AUDIO, 111, 0, &[1; 80])).len(), 1);
        assert!(sender.meter.pacer_us.load(Ordering::Relaxed) > 100_000);
        assert!(sender.deadline().is_some_and(|at| at >= start + 100 * MS), "it would spin");

        // One report on what came through, and the rest follows.
        for mut packet in left {
            packet.now = now;
            pass_in(&mut receiver, packet);
        }
        let mut reports = VecDeque::new();
        receiver.timeout(now + 60 * MS, &mut reports);
        let now = now + 80 * MS;
        for report in reports {
            pass_in(&mut sender, TaggedPacket { now, ..report });
        }
        assert!(sender.deadline().is_some_and(|at| at <= now));
        let mut left = VecDeque::new();
        sender.timeout(now, &mut left);
        assert!(!left.is_empty());
    }

    #[test]
    fn what_the_far_end_reports_becomes_a_rate() {
        let (mut sender, mut heard) = stage();
        let mut receiver = ReportArrivals::new(1);
        receiver.bind_remote(&numbered(video_stream()));
        let start = Instant::now();
        let mut available = Vec::new();
        for sequence in 0..600_u16 {
            let now = start + u32::from(sequence) * 5 * MS;
            let mut left: VecDeque<_> = pass_out(&mut sender, rtp(now, VIDEO, 102, sequence, &[1; 1_000])).into();
            sender.timeout(now, &mut left);
            for mut packet in left {
                packet.now = now + 20 * MS;
                pass_in(&mut receiver, packet);
            }
            let mut reports = VecDeque::new();
            if receiver.deadline().is_some_and(|at| at <= now) {
                receiver.timeout(now, &mut reports);
            }
            for report in reports {
                pass_in(&mut sender, TaggedPacket { now: now + 20 * MS, ..report });
            }
            while let Ok(feedback) = heard.try_recv() {
                if let Feedback::Network(network) = feedback {
                    available.push(network);
                }
            }
        }
        let last = available.last().expect("reports came");
        assert!(last.loss == 0.0 && last.queue_ms < 2.0 && !last.is_limited, "{last:?}");
        assert!(available.len() > 20 && last.available_bps >= START.as_bps(), "{}: {last:?}", available.len());
        assert!(sender.history.in_flight() < 60_000);
    }
}
