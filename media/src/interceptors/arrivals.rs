//! Tells the sender when each of its packets arrived, by their transport-wide numbers: what it needs to know how much
//! the path carries. (<https://datatracker.ietf.org/doc/html/draft-holmer-rmcat-transport-wide-cc-extensions-01>)

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rtc::{
    interceptor::{AttributedPacket, Packet, StreamInfo, TaggedPacket},
    rtcp::transport_feedbacks::transport_layer_cc::{
        PacketStatusChunk, RecvDelta, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc, SymbolTypeTcc,
        TransportLayerCc,
    },
    shared::TransportContext,
};

use super::{Stage, congestion::TRANSPORT_CC};

/// How often is reported, when much arrives, and when little does: reports take their part of a thin path.
const INTERVAL: Duration = Duration::from_millis(50);
const THIN_INTERVAL: Duration = Duration::from_millis(100);
const THINNEST_INTERVAL: Duration = Duration::from_millis(150);
/// Packets in a report; with more, or when it is about so many that did not come, it goes at once.
const MAX_ARRIVED: usize = 200;
const MAX_SPAN: i32 = 1_000;
/// Packets in a second that are much, and that are hardly any: those of a voice.
const MANY: usize = 120;
const FEW: usize = 60;
/// The unit of times in a report, microseconds, and that of the time they are relative to.
const TICK_US: i64 = 250;
const REFERENCE_US: i64 = 64_000;

/// The stage that reports.
#[derive(Debug)]
pub(crate) struct ReportArrivals {
    sender: u32,
    media: u32,
    extension: Option<u8>,
    epoch: Option<Instant>,
    /// The first packet that the next report is about.
    next: Option<u16>,
    arrived: Vec<(u16, i64)>,
    due: Option<Instant>,
    interval: Duration,
    count: u8,
}

impl ReportArrivals {
    pub(crate) fn new(sender: u32) -> Self {
        Self {
            sender,
            media: 0,
            extension: None,
            epoch: None,
            next: None,
            arrived: Vec::new(),
            due: None,
            interval: INTERVAL,
            count: 0,
        }
    }

    fn note(&mut self, now: Instant, number: u16) {
        let at_us = now.saturating_duration_since(*self.epoch.get_or_insert(now)).as_micros() as i64;
        let next = *self.next.get_or_insert(number);
        if self.arrived.len() < MAX_ARRIVED {
            self.arrived.push((number, at_us));
        }
        // Those that come after they were reported as lost are of no interest.
        let span = i32::from(number.wrapping_sub(next).cast_signed());
        let at_once = self.arrived.len() >= MAX_ARRIVED || span > MAX_SPAN;
        let due = if at_once { now } else { now + self.interval };
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
    }

    fn report(&mut self) -> Option<TransportLayerCc> {
        let next = self.next?;
        let ahead = |number: u16| i32::from(number.wrapping_sub(next).cast_signed());
        self.arrived.retain(|(number, _)| ahead(*number) >= 0);
        self.arrived.sort_by_key(|(number, _)| ahead(*number));
        self.arrived.dedup_by_key(|(number, _)| *number);
        let (&(first, first_us), &(last, _)) = (self.arrived.first()?, self.arrived.last()?);
        // After a jump of the numbers the report begins with what came.
        let base = if ahead(last) > 2 * MAX_SPAN { first } else { next };
        let mut reference_us = first_us / REFERENCE_US * REFERENCE_US;
        let reference_time = (reference_us / REFERENCE_US) as u32 & 0x00FF_FFFF;
        let (mut symbols, mut recv_deltas) = (Vec::new(), Vec::new());
        let mut expected = base;
        for &(number, at_us) in &self.arrived {
            let missing = usize::from(number.wrapping_sub(expected));
            let ticks = (at_us - reference_us) / TICK_US;
            if i16::try_from(ticks).is_err() || symbols.len() + missing > 3 * MAX_SPAN as usize {
                break; // The path slept for seconds: what is left is not worth a second report.
            }
            symbols.extend(std::iter::repeat_n(SymbolTypeTcc::PacketNotReceived, missing));
            let symbol = match u8::try_from(ticks) {
                Ok(_) => SymbolTypeTcc::PacketReceivedSmallDelta,
                Err(_) => SymbolTypeTcc::PacketReceivedLargeDelta,
            };
            symbols.push(symbol);
            recv_deltas.push(RecvDelta { type_tcc_packet: symbol, delta: ticks * TICK_US });
            reference_us += ticks * TICK_US;
            expected = number.wrapping_add(1);
        }
        self.interval = match self.arrived.len() * 1_000 / self.interval.as_millis() as usize {
            MANY.. => INTERVAL,
            FEW..MANY => THIN_INTERVAL,
            _ => THINNEST_INTERVAL,
        };
        self.arrived.clear();
        self.next = Some(last.wrapping_add(1));
        let count = self.count;
        self.count = count.wrapping_add(1);
        Some(TransportLayerCc {
            sender_ssrc: self.sender,
            media_ssrc: self.media,
            base_sequence_number: base,
            packet_status_count: symbols.len() as u16,
            reference_time,
            fb_pkt_count: count,
            packet_chunks: symbols.chunks(7).map(chunk).collect(),
            recv_deltas,
        })
    }
}

/// Seven packets, of two bits each; what is left over is not read.
fn chunk(symbols: &[SymbolTypeTcc]) -> PacketStatusChunk {
    let mut symbol_list = symbols.to_vec();
    symbol_list.resize(7, SymbolTypeTcc::PacketNotReceived);
    PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
        type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
        symbol_size: SymbolSizeTypeTcc::TwoBit,
        symbol_list,
    })
}

impl Stage for ReportArrivals {
    fn incoming(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        if let (Packet::Rtp(rtp), Some(id)) = (&packet.message.packet, self.extension)
            && let Some(value) = rtp.header.get_extension(id)
            && let Some(number) = value.first_chunk::<2>()
        {
            self.media = rtp.header.ssrc;
            self.note(packet.now, u16::from_be_bytes(*number));
        }
        onward.push_back(packet);
    }

    fn timeout(&mut self, now: Instant, onward: &mut VecDeque<TaggedPacket>) {
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        self.due = None;
        if let Some(report) = self.report() {
            onward.push_back(TaggedPacket {
                now,
                transport: TransportContext::default(),
                message: AttributedPacket::new(Packet::Rtcp(vec![Box::new(report)])),
            });
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.due
    }

    fn bind_remote(&mut self, stream: &StreamInfo) {
        let extension = stream.rtp_header_extensions.iter().find(|extension| extension.uri == TRANSPORT_CC);
        if let Some(id) = extension.and_then(|extension| u8::try_from(extension.id).ok()).filter(|id| *id != 0) {
            self.extension = Some(id);
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time; any will do")]
mod tests {
    use rtc::{
        interceptor::RTPHeaderExtension,
        rtcp,
        shared::marshal::{Marshal as _, Unmarshal as _},
    };

    use super::*;
    use crate::interceptors::testing::video_stream;

    const MS: Duration = Duration::from_millis(1);

    fn stage() -> ReportArrivals {
        let mut stage = ReportArrivals::new(9);
        let extension = RTPHeaderExtension { uri: TRANSPORT_CC.to_owned(), id: 7 };
        stage.bind_remote(&StreamInfo { rtp_header_extensions: vec![extension], ..video_stream() });
        stage
    }

    /// Number and time in milliseconds of what a report says, after a way over the wire.
    fn read(report: TransportLayerCc) -> Vec<(u16, Option<i64>)> {
        let mut bytes = report.marshal().unwrap();
        let back = TransportLayerCc::unmarshal(&mut bytes).unwrap();
        assert_eq!(rtcp::Packet::destination_ssrc(&back), [0]);
        let mut arrivals = Vec::new();
        super::super::congestion::read_report(&back, &mut arrivals);
        let reference_ms = i64::from(back.reference_time) * 64;
        arrivals.iter().map(|a| (a.sequence, a.at_us.map(|us| reference_ms + us / 1_000))).collect()
    }

    #[test]
    fn a_report_tells_what_came_and_what_did_not_over_the_wire() {
        let (mut stage, start) = (stage(), Instant::now());
        for (number, ms) in [(65_534, 0), (65_535, 3), (1, 10), (2, 5_000), (3, 4_990)] {
            stage.note(start + ms * MS, number);
        }
        let told = read(stage.report().unwrap());
        assert_eq!(
            told,
            [(65_534, Some(0)), (65_535, Some(3)), (0, None), (1, Some(10)), (2, Some(5_000)), (3, Some(4_990)),]
        );
        stage.note(start + 6_000 * MS, 6);
        assert_eq!(read(stage.report().unwrap()), [(4, None), (5, None), (6, Some(6_000))]);
    }

    #[test]
    fn nothing_is_told_when_nothing_came_or_only_what_was_told() {
        let (mut stage, start) = (stage(), Instant::now());
        assert_eq!(stage.deadline(), None);
        stage.note(start, 10);
        assert_eq!(stage.deadline(), Some(start + INTERVAL));
        assert!(stage.report().is_some());
        stage.note(start, 9);
        assert_eq!(stage.report(), None);
    }

    #[test]
    fn numbers_that_jump_make_no_endless_reports() {
        let (mut stage, start) = (stage(), Instant::now());
        for number in (0..u16::MAX).step_by(7_001) {
            stage.note(start, number);
            if let Some(report) = stage.report() {
                assert!(report.packet_status_count < 3_100, "{}", report.packet_status_count);
                read(report);
            }
        }
        for _ in 0..10_000 {
            stage.note(start, 5);
        }
        assert!(stage.arrived.len() <= MAX_ARRIVED);
    }
}
