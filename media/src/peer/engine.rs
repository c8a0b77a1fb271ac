//! How the peer connection is set up: codecs, header extensions, timers, interceptors.

use std::{sync::Arc, time::Duration};

use rtc::{
    ice::mdns::MulticastDnsMode,
    interceptor::{ReceiverReportBuilder, SenderReportBuilder},
    peer_connection::configuration::{
        interceptor_registry::{Registry, Slot},
        media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MIME_TYPE_VP9},
    },
    rtp_transceiver::rtp_sender::{
        RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind,
    },
};
use webrtc::peer_connection::{MediaEngine, SettingEngine, SettingEngineBuilder};

use super::Error;
use crate::{
    codec::VideoCodec,
    interceptors::{
        Kind, Meter, Queued,
        arrivals::ReportArrivals,
        congestion::{Congestion, TRANSPORT_CC},
        deliver::{ABS_CAPTURE_TIME, Deliver},
        gather::GatherReports,
        nack::RequestLost,
        protect::{self, Protect},
        recover::Recover,
        rtcp_tap::TapRtcp,
        rtx::UnwrapRtx,
    },
};

/// Loudness of the audio in a packet (RFC 6464).
pub(super) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
/// Which section of the description a packet belongs to (RFC 8843, section 14).
const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

const OPUS_PAYLOAD_TYPE: u8 = 111;

/// Redundant audio (RFC 2198), and its payload type here, which is the browsers' too.
pub(super) const RED: &str = "audio/red";
const RED_PAYLOAD_TYPE: u8 = crate::interceptors::deliver::RED_PAYLOAD_TYPE;

/// How often connectivity checks are repeated, and answered ones followed by the nomination. The stack's 200 ms would
/// be most of the time that a call on a LAN takes to connect.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);
/// Checks of one pair before it is given up: 20 s of them, longer than anybody waits for a call to connect.
const MAX_CHECKS: u16 = 1000;
/// How often a connected path is checked (RFC 7675 has 5 s). On a thin one checks take from the voice, and that media
/// ceases shows sooner; they are for paths on which nothing flows.
const KEEPALIVE: Duration = Duration::from_secs(2);
/// After so long without a check or an answer the path counts as broken, unless media arrives: two checks of each side.
const DISCONNECTED_AFTER: Duration = Duration::from_millis(4500);
/// How long ICE tries before it gives up. It tries from the offer on, while the other person still decides; deadlines
/// are for whoever drives the session.
const FAILED_AFTER: Duration = Duration::from_secs(120);
/// How long a relayed path waits for a direct one: two NATs let a check pass after a round trip between the ends, and
/// who is behind others than these is to see a picture within 600 ms. A relayed path between distant ends needs no
/// patience to lose: before its round trip, which is hardly shorter, it waits for a permission at the relay.
const RELAY_PATIENCE: Duration = Duration::from_millis(150);

/// How often receivers report. They say how much is lost and how long a round trip takes; the rate control has
/// reports of its own.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// The payload type that we offer for a codec, the browsers' own; that of its retransmissions is the next.
const fn payload_type(codec: VideoCodec) -> u8 {
    match codec {
        VideoCodec::Vp8 => 96,
        VideoCodec::Vp9 => 98,
        VideoCodec::H264 => 102,
    }
}

/// The codecs that a kind of media may be sent with, those of pictures as the session has them.
pub(super) fn codecs(kind: Kind, video: &[VideoCodec]) -> Vec<RTCRtpCodec> {
    match kind {
        Kind::Audio => vec![opus()],
        Kind::Video | Kind::Screen => video.iter().map(|&codec| picture(codec)).collect(),
    }
}

fn opus() -> RTCRtpCodec {
    RTCRtpCodec {
        mime_type: MIME_TYPE_OPUS.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: "minptime=10;useinbandfec=1".to_owned(),
        rtcp_feedback: vec![feedback("transport-cc", "")],
    }
}

fn picture(codec: VideoCodec) -> RTCRtpCodec {
    let (mime_type, parameters) = match codec {
        // Constrained baseline, level 3.1: 1280 x 720 at 30 frames/s (RFC 6184, section 8.1).
        VideoCodec::H264 => (MIME_TYPE_H264, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
        VideoCodec::Vp8 => (MIME_TYPE_VP8, ""),
        VideoCodec::Vp9 => (MIME_TYPE_VP9, "profile-id=0"),
    };
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate: 90_000,
        channels: 0,
        sdp_fmtp_line: parameters.to_owned(),
        rtcp_feedback: vec![
            feedback("ccm", "fir"),
            feedback("nack", ""),
            feedback("nack", "pli"),
            feedback("transport-cc", ""),
        ],
    }
}

fn feedback(typ: &str, parameter: &str) -> RTCPFeedback {
    RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() }
}

/// What can be negotiated, with these codecs of pictures, the preferred first.
pub(super) fn media(video: &[VideoCodec]) -> Result<MediaEngine, Error> {
    let mut engine = MediaEngine::default();
    let opus = RTCRtpCodecParameters { rtp_codec: opus(), payload_type: OPUS_PAYLOAD_TYPE };
    engine.register_codec(opus, RtpCodecKind::Audio)?;
    let red = RTCRtpCodec {
        mime_type: RED.to_owned(),
        clock_rate: 48_000,
        channels: 2,
        sdp_fmtp_line: format!("{OPUS_PAYLOAD_TYPE}/{OPUS_PAYLOAD_TYPE}"),
        ..RTCRtpCodec::default()
    };
    engine.register_codec(
        RTCRtpCodecParameters { rtp_codec: red, payload_type: RED_PAYLOAD_TYPE },
        RtpCodecKind::Audio,
    )?;
    for &codec in video {
        let payload_type = payload_type(codec);
        let rtx = RTCRtpCodec {
            mime_type: MIME_TYPE_RTX.to_owned(),
            clock_rate: 90_000,
            sdp_fmtp_line: format!("apt={payload_type}"),
            ..RTCRtpCodec::default()
        };
        for (rtp_codec, payload_type) in [(picture(codec), payload_type), (rtx, payload_type + 1)] {
            engine.register_codec(RTCRtpCodecParameters { rtp_codec, payload_type }, RtpCodecKind::Video)?;
        }
    }
    if !video.is_empty() {
        let repairs =
            RTCRtpCodec { mime_type: protect::MIME_TYPE.to_owned(), clock_rate: 90_000, ..RTCRtpCodec::default() };
        let repairs = RTCRtpCodecParameters { rtp_codec: repairs, payload_type: protect::PAYLOAD_TYPE };
        engine.register_codec(repairs, RtpCodecKind::Video)?;
    }
    for (uri, kinds) in [
        (MID, &[RtpCodecKind::Audio, RtpCodecKind::Video][..]),
        (TRANSPORT_CC, &[RtpCodecKind::Audio, RtpCodecKind::Video]),
        (ABS_CAPTURE_TIME, &[RtpCodecKind::Audio, RtpCodecKind::Video]),
        (AUDIO_LEVEL, &[RtpCodecKind::Audio]),
    ] {
        for &kind in kinds {
            engine.register_header_extension(RTCRtpHeaderExtensionCapability { uri: uri.to_owned() }, kind, None)?;
        }
    }
    Ok(engine)
}

/// Timers and transports.
pub(super) fn settings() -> SettingEngine {
    let at_once = Some(Duration::ZERO);
    SettingEngineBuilder::new()
        .with_ice_connection_attempts(Some(CHECK_INTERVAL), Some(MAX_CHECKS))
        .with_ice_timeouts(Some(DISCONNECTED_AFTER), Some(FAILED_AFTER), Some(KEEPALIVE))
        .with_host_acceptance_min_wait(at_once)
        .with_srflx_acceptance_min_wait(at_once)
        .with_prflx_acceptance_min_wait(at_once)
        .with_relay_acceptance_min_wait(Some(RELAY_PATIENCE))
        // Joining the multicast group fails on a host without a default route, and names of peers on the LAN are
        // resolved by whoever exchanges the candidates.
        .with_multicast_dns_mode(MulticastDnsMode::Disabled)
        // A restart after the network changed needs sockets on the addresses that exist then.
        .with_discard_local_candidates_during_ice_restart(true)
        .build()
}

/// The chain, from the network to the pipelines.
pub(super) fn interceptors(
    congestion: Congestion,
    tap: TapRtcp,
    lost: RequestLost,
    deliver: Deliver,
    meter: Arc<Meter>,
) -> Registry {
    // Reception is reported before repair, so that the sender learns of every loss.
    let report_received = ReceiverReportBuilder::new().with_interval(REPORT_INTERVAL).build();
    let report_sent = SenderReportBuilder::new().with_interval(REPORT_INTERVAL).build();
    Registry::new()
        .with(Slot::Pacer, Queued::new(congestion))
        .with(Slot::from(4_500), Queued::new(tap))
        .with(Slot::from(4_600), Queued::new(GatherReports::default()))
        .with(Slot::FecEncoder, Queued::new(Protect::new(Arc::clone(&meter))))
        .with(Slot::from(6_000), Queued::new(ReportArrivals::new(rand::random())))
        .with(Slot::from(6_100), report_received)
        .with(Slot::from(6_500), Queued::new(UnwrapRtx::new(Arc::clone(&meter))))
        .with(Slot::from(6_600), Queued::new(Recover::new(meter)))
        .with(Slot::NackGenerator, Queued::new(lost))
        .with(Slot::SenderReport, report_sent)
        .with(Slot::from(14_000), Queued::new(deliver))
}
