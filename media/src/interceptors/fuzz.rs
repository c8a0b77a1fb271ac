//! Whatever comes as RTP and RTCP, once the stack has parsed it: no panic, and nothing that grows.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use rtc::{
    interceptor::{AttributedPacket, Packet, RTPHeaderExtension, StreamInfo, TaggedPacket},
    rtcp,
    rtp::{self},
    shared::{TransportContext, marshal::Unmarshal as _},
};
use tokio::sync::mpsc;

use super::{
    Stage,
    arrivals::ReportArrivals,
    congestion::{Congestion, TRANSPORT_CC},
    nack::RequestLost,
    rtcp_tap::TapRtcp,
    rtx::UnwrapRtx,
    testing::{AUDIO, VIDEO, VIDEO_RTX, audio_stream, pass_in, pass_out, video_stream},
};
use crate::mutator::fuzz;

fn tagged(now: Instant, packet: Packet) -> TaggedPacket {
    TaggedPacket { now, transport: TransportContext::default(), message: AttributedPacket::new(packet) }
}

/// RFC 3550, section 5.1, with a one-byte header extension.
fn rtp_bytes(ssrc: u32, payload_type: u8, sequence: u16, payload: &[u8]) -> Vec<u8> {
    [
        &[0x90, payload_type][..],
        &sequence.to_be_bytes(),
        &90_000_u32.to_be_bytes(),
        &ssrc.to_be_bytes(),
        &[0xbe, 0xde, 0, 1, 0x10, 0x31, 0, 0],
        payload,
    ]
    .concat()
}

/// Header of one RTCP packet (RFC 3550, section 6.1) and its body, in whole words.
fn rtcp_bytes(count: u8, kind: u8, body: &[u32]) -> Vec<u8> {
    let words = body.iter().flat_map(|word| word.to_be_bytes());
    [0x80 | count, kind, 0, body.len() as u8].into_iter().chain(words).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "packets need a time of arrival; any will do")]
fn fuzz_rtp_and_retransmissions() {
    let now = Instant::now();
    let (mut rtx, mut nack) = (UnwrapRtx::new(Arc::default()), RequestLost::new(1, Arc::default()));
    for stream in [video_stream(), audio_stream()] {
        rtx.bind_remote(&stream);
        nack.bind_remote(&stream);
    }
    let samples = [
        rtp_bytes(VIDEO, 102, 1000, &[0x65; 40]),
        rtp_bytes(VIDEO_RTX, 103, 7, &[3, 0xe7, 0x65, 1, 2, 3]),
        rtp_bytes(VIDEO_RTX, 103, 8, &[]),
        rtp_bytes(AUDIO, 111, 65_535, &[0xf8; 20]),
    ];
    fuzz(&samples, |bytes| {
        let Ok(packet) = rtp::Packet::unmarshal(&mut Bytes::copy_from_slice(bytes)) else { return };
        let length = packet.payload.len();
        for unwrapped in pass_in(&mut rtx, tagged(now, Packet::Rtp(packet))) {
            for passed in pass_in(&mut nack, unwrapped) {
                let Packet::Rtp(passed) = passed.message.packet else { continue };
                assert!(passed.payload.len() <= length);
            }
        }
        let mut asked = std::collections::VecDeque::new();
        nack.timeout(now, &mut asked);
        assert!(asked.len() < 64, "{} requests at once", asked.len());
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "packets need a time of arrival; any will do")]
fn fuzz_rtcp() {
    let now = Instant::now();
    let (feedback, mut heard) = mpsc::channel(4);
    let mut tap = TapRtcp::new(feedback, Arc::default());
    for stream in [video_stream(), audio_stream()] {
        tap.bind_local(&stream);
        tap.bind_remote(&stream);
    }
    let report = [1, VIDEO, 0x4000_0001, 1000, 90, 0x2222_3333, 32_768];
    let samples = [
        rtcp_bytes(1, 201, &report),
        rtcp_bytes(1, 200, &[&[1, 2, 3, 4, 5, 6], &report[1..]].concat()),
        rtcp_bytes(1, 206, &[1, VIDEO]),
        rtcp_bytes(4, 206, &[1, 0, VIDEO, 0x0100_0000]),
        rtcp_bytes(1, 205, &[1, VIDEO, 0x03e8_ffff]),
        rtcp_bytes(15, 205, &[1, VIDEO, 0x0001_0002, 0x0000_0100, 0x2001_0000]),
        [rtcp_bytes(1, 201, &report), rtcp_bytes(1, 202, &[1, 0x0104_4142, 0x4344_0000])].concat(),
    ];
    fuzz(&samples, |bytes| {
        let Ok(packets) = rtcp::packet::unmarshal(&mut Bytes::copy_from_slice(bytes)) else { return };
        assert_eq!(pass_in(&mut tap, tagged(now, Packet::Rtcp(packets))).len(), 1);
        while let Ok(feedback) = heard.try_recv() {
            if let super::rtcp_tap::Feedback::Report(_, report) = feedback {
                assert!((0.0..=1.0).contains(&report.loss) && report.rtt_ms.is_finite() && report.jitter_ms >= 0.0);
            }
        }
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "packets need a time of arrival; any will do")]
fn fuzz_transport_wide_feedback() {
    let start = Instant::now();
    let (feedback, mut heard) = mpsc::channel(4);
    let mut stage = Congestion::new(1, feedback, Arc::default());
    let extension = RTPHeaderExtension { uri: TRANSPORT_CC.to_owned(), id: 7 };
    stage.bind_local(&StreamInfo { rtp_header_extensions: vec![extension], ..video_stream() });
    let mut sequence = 0;
    let mut send = |stage: &mut Congestion, now| {
        sequence += 1;
        let bytes = rtp_bytes(VIDEO, 102, sequence, &[0x65; 900]);
        let packet = rtp::Packet::unmarshal(&mut Bytes::from(bytes)).expect("a packet of ours");
        pass_out(stage, tagged(now, Packet::Rtp(packet)));
    };
    (0..200).for_each(|_| send(&mut stage, start));
    // Base 1, eight packets: a vector of two bits each and a run; reference time 2, then the deltas in 0.25 ms.
    let samples = [
        rtcp_bytes(15, 205, &[1, VIDEO, 0x0001_0008, 0x0000_0201, 0xd555_2001, 0x0408_0c10, 0x1418_1c20]),
        rtcp_bytes(15, 205, &[1, VIDEO, 0x0005_0003, 0xffff_ff02, 0xe000_0000, 0x7fff_8000]),
        rtcp_bytes(15, 205, &[1, VIDEO, 0x0000_ffff, 0x0000_0003, 0x1fff_3fff, 0x3fff_3fff, 0x3fff_3fff, 0x3fff_3fff]),
        rtcp_bytes(15, 205, &[1, VIDEO, 0x0001_0002, 0x0000_0100, 0x2001_0000]),
    ];
    let mut reports = 0_u32;
    fuzz(&samples, |bytes| {
        let Ok(packets) = rtcp::packet::unmarshal(&mut Bytes::copy_from_slice(bytes)) else { return };
        reports += 1;
        let now = start + std::time::Duration::from_millis(u64::from(reports));
        send(&mut stage, now);
        assert_eq!(pass_in(&mut stage, tagged(now, Packet::Rtcp(packets))).len(), 1);
        stage.timeout(now, &mut std::collections::VecDeque::new());
        while let Ok(feedback) = heard.try_recv() {
            if let super::rtcp_tap::Feedback::Network(network) = feedback {
                assert!((31_500..=10_000_000).contains(&network.available_bps), "{network:?}");
                assert!((0.0..=1.0).contains(&network.loss) && network.queue_ms.is_finite(), "{network:?}");
            }
        }
    });
}

#[test]
#[expect(clippy::disallowed_methods, reason = "packets need a time of arrival; any will do")]
fn fuzz_transport_wide_numbers() {
    let start = Instant::now();
    let mut stage = ReportArrivals::new(1);
    let extension = RTPHeaderExtension { uri: TRANSPORT_CC.to_owned(), id: 1 };
    stage.bind_remote(&StreamInfo { rtp_header_extensions: vec![extension], ..video_stream() });
    let mut packets = 0_u32;
    fuzz(&[rtp_bytes(VIDEO, 102, 1000, &[0x65; 40]), rtp_bytes(AUDIO, 111, 65_535, &[0xf8; 20])], |bytes| {
        let Ok(packet) = rtp::Packet::unmarshal(&mut Bytes::copy_from_slice(bytes)) else { return };
        packets += 1;
        let now = start + std::time::Duration::from_millis(u64::from(packets) * 3);
        assert_eq!(pass_in(&mut stage, tagged(now, Packet::Rtp(packet))).len(), 1);
        let mut reports = std::collections::VecDeque::new();
        stage.timeout(now, &mut reports);
        assert!(reports.len() <= 1);
    });
}
