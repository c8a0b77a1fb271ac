//! Hands received media to the pipelines, straight from the connection's task: no queue of the stack's, no task between.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{SyncSender, TrySendError},
    },
};

use rtc::{
    interceptor::{Packet, StreamInfo, TaggedPacket},
    rtp,
};

use super::{Kind, Meter, Stage};
use crate::{
    codec::{VideoCodec, red},
    rtp::IncomingPacket,
};

/// When the media in a packet was captured, by the sender's wall clock.
/// <https://webrtc.googlesource.com/src/+/main/docs/native-code/rtp-hdrext/abs-capture-time>
pub(crate) const ABS_CAPTURE_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";

/// Packets of a voice with copies of those before them (RFC 2198).
pub(crate) const RED_PAYLOAD_TYPE: u8 = 63;

/// The stage at the end of the chain.
#[derive(Debug)]
pub(crate) struct Deliver {
    streams: HashMap<u32, Stream>,
    audio: SyncSender<IncomingPacket>,
    video: SyncSender<IncomingPacket>,
    screen: SyncSender<IncomingPacket>,
    meter: Arc<Meter>,
    /// Of the packet of the voice that was taken apart last.
    blocks: Vec<red::Block>,
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    kind: Kind,
    capture_time: Option<u8>,
    /// The payload type of its first packet, and the codec.
    payload_type: u8,
    codec: Option<VideoCodec>,
}

impl Deliver {
    /// `audio`, `video` and `screen` lose the packets that they have no room for.
    pub(crate) fn new(
        audio: SyncSender<IncomingPacket>,
        video: SyncSender<IncomingPacket>,
        screen: SyncSender<IncomingPacket>,
        meter: Arc<Meter>,
    ) -> Self {
        Self { streams: HashMap::new(), audio, video, screen, meter, blocks: Vec::new() }
    }

    /// The codec of a picture's packet: as the descriptions have it, whatever the stream began with.
    fn codec(&self, stream: &Stream, payload_type: u8) -> Option<VideoCodec> {
        let settled = self.meter.payload_types.get().and_then(|types| types.codec(payload_type));
        settled.or_else(|| stream.codec.filter(|_| stream.payload_type == payload_type))
    }

    fn hand_over(&self, pipeline: &SyncSender<IncomingPacket>, packet: IncomingPacket) {
        match pipeline.try_send(packet) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                self.meter.overflows.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Stage for Deliver {
    fn incoming(&mut self, packet: TaggedPacket, onward: &mut VecDeque<TaggedPacket>) {
        let Packet::Rtp(rtp) = packet.message.packet else {
            return onward.push_back(packet);
        };
        let Some(stream) = self.streams.get(&rtp.header.ssrc) else { return };
        // Padding: the pictures' sequence numbers go on over it, the sound's jitter buffer takes it for sound.
        if rtp.payload.is_empty() && stream.kind == Kind::Audio {
            return;
        }
        let codec = match stream.kind {
            Kind::Audio => None,
            Kind::Video | Kind::Screen => {
                // Of what was not agreed upon, nothing can be made.
                let Some(codec) = self.codec(stream, rtp.header.payload_type) else { return };
                Some(codec)
            }
        };
        self.meter.received_bytes.fetch_add(rtp.payload.len() as u64, Ordering::Relaxed);
        let incoming = IncomingPacket {
            sequence: rtp.header.sequence_number,
            timestamp: rtp.header.timestamp,
            marker: rtp.header.marker,
            captured_unix_us: stream.capture_time.and_then(|id| capture_time(&rtp.header, id)),
            payload: rtp.payload,
            codec,
            arrived: packet.now,
        };
        match stream.kind {
            Kind::Audio if rtp.header.payload_type == RED_PAYLOAD_TYPE => {
                // The packet itself first: it says what time the copies are to be compared with.
                let mut blocks = std::mem::take(&mut self.blocks);
                red::unpack_into(&incoming.payload, &mut blocks);
                for block in blocks.drain(..).rev() {
                    self.hand_over(
                        &self.audio,
                        IncomingPacket {
                            sequence: incoming.sequence.wrapping_sub(block.distance),
                            timestamp: incoming.timestamp.wrapping_sub(block.offset),
                            payload: block.payload,
                            // What the extension says is true of the packet itself.
                            captured_unix_us: incoming.captured_unix_us.filter(|_| block.distance == 0),
                            ..incoming
                        },
                    );
                }
                self.blocks = blocks;
            }
            Kind::Audio => self.hand_over(&self.audio, incoming),
            Kind::Video => self.hand_over(&self.video, incoming),
            Kind::Screen => self.hand_over(&self.screen, incoming),
        }
    }

    fn bind_remote(&mut self, stream: &StreamInfo) {
        let Some(kind) = Kind::of(stream, &self.meter.remote_screen) else { return };
        // The stream of retransmissions is bound as well, after the stream that it repairs.
        if kind == Kind::Video && !self.streams.values().any(|bound| bound.kind == Kind::Video) {
            self.meter.remote_video.store(stream.ssrc, Ordering::Relaxed);
        }
        let extension = stream.rtp_header_extensions.iter().find(|extension| extension.uri == ABS_CAPTURE_TIME);
        let capture_time = extension.and_then(|extension| u8::try_from(extension.id).ok());
        let codec = stream.mime_type.split('/').nth(1).and_then(VideoCodec::named);
        self.streams.insert(stream.ssrc, Stream { kind, capture_time, payload_type: stream.payload_type, codec });
    }

    fn unbind_remote(&mut self, stream: &StreamInfo) {
        self.streams.remove(&stream.ssrc);
    }
}

/// Seconds from 1900 to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;

/// The extension's value for a Unix time in microseconds: NTP time, 32.32 fixed point.
pub(crate) fn encode_capture_time(unix_us: u64) -> [u8; 8] {
    let seconds = (unix_us / 1_000_000 + NTP_TO_UNIX) & 0xFFFF_FFFF;
    let fraction = ((unix_us % 1_000_000) << 32) / 1_000_000;
    (seconds << 32 | fraction).to_be_bytes()
}

fn capture_time(header: &rtp::header::Header, id: u8) -> Option<u64> {
    let value = header.get_extension(id)?;
    let ntp = u64::from_be_bytes(*value.first_chunk()?);
    // NTP seconds wrap in 2036 (RFC 5905, section 6): small ones belong to the next era.
    let seconds = ntp >> 32;
    let seconds = if seconds < NTP_TO_UNIX { seconds + (1 << 32) } else { seconds } - NTP_TO_UNIX;
    let micros = ((ntp & 0xFFFF_FFFF) * 1_000_000 + (1 << 31)) >> 32;
    Some(seconds * 1_000_000 + micros)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "packets need a time of arrival; any will do")]
mod tests {
    use std::{sync::mpsc, time::Instant};

    use bytes::Bytes;
    use rtc::interceptor::RTPHeaderExtension;

    use super::*;
    use crate::interceptors::{
        payload_types::PayloadTypes,
        testing::{AUDIO, SCREEN, SCREEN_RTX, VIDEO, audio_stream, pass_in, rtp, screen_stream, video_stream},
    };

    fn stage(room: usize) -> (Deliver, mpsc::Receiver<IncomingPacket>, mpsc::Receiver<IncomingPacket>) {
        let (stage, audio, video, _screen) = stage_with_screen(room);
        (stage, audio, video)
    }

    type Incoming = mpsc::Receiver<IncomingPacket>;

    fn stage_with_screen(room: usize) -> (Deliver, Incoming, Incoming, Incoming) {
        let (audio_out, audio) = mpsc::sync_channel(room);
        let (video_out, video) = mpsc::sync_channel(room);
        let (screen_out, screen) = mpsc::sync_channel(room);
        let mut stage = Deliver::new(audio_out, video_out, screen_out, Arc::default());
        stage.meter.remote_screen.set(SCREEN, Some(SCREEN_RTX));
        stage.bind_remote(&screen_stream());
        stage.bind_remote(&StreamInfo { ssrc: SCREEN_RTX, ..screen_stream() });
        let extension = RTPHeaderExtension { uri: ABS_CAPTURE_TIME.to_owned(), id: 5 };
        stage.bind_remote(&StreamInfo { rtp_header_extensions: vec![extension.clone()], ..audio_stream() });
        stage.bind_remote(&StreamInfo { rtp_header_extensions: vec![extension], ..video_stream() });
        (stage, audio, video, screen)
    }

    #[test]
    fn a_screen_is_not_taken_for_the_camera() {
        let (mut stage, _audio, video, screen) = stage_with_screen(4);
        assert_eq!(stage.meter.remote_video.load(Ordering::Relaxed), VIDEO);
        pass_in(&mut stage, rtp(Instant::now(), SCREEN, 102, 1, &[1]));
        pass_in(&mut stage, rtp(Instant::now(), VIDEO, 102, 2, &[2]));
        assert_eq!(screen.try_iter().map(|packet| packet.sequence).collect::<Vec<_>>(), [1]);
        assert_eq!(video.try_iter().map(|packet| packet.sequence).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn each_stream_goes_to_its_pipeline() {
        let (mut stage, audio, video) = stage(4);
        let now = Instant::now();
        assert!(pass_in(&mut stage, rtp(now, AUDIO, 111, 1, &[1])).is_empty());
        assert!(pass_in(&mut stage, rtp(now, VIDEO, 102, 2, &[2])).is_empty());
        assert!(pass_in(&mut stage, rtp(now, 99, 102, 3, &[3])).is_empty());
        assert_eq!(audio.try_recv().map(|packet| packet.sequence), Ok(1));
        let packet = video.try_recv().unwrap();
        assert_eq!((packet.sequence, packet.arrived, packet.captured_unix_us), (2, now, None));
        assert!(video.try_recv().is_err() && audio.try_recv().is_err());
    }

    #[test]
    fn capture_time_survives_the_way_over_ntp() {
        let (mut stage, _audio, video) = stage(4);
        for unix_us in [1_795_360_000_123_457, 2_085_978_495_999_999, 2_085_978_496_000_000] {
            let mut packet = rtp(Instant::now(), VIDEO, 102, 2, &[2]);
            let Packet::Rtp(inner) = &mut packet.message.packet else { panic!("RTP") };
            inner.header.set_extension(5, encode_capture_time(unix_us).to_vec().into()).unwrap();
            pass_in(&mut stage, packet);
            assert_eq!(video.try_recv().unwrap().captured_unix_us, Some(unix_us));
        }
    }

    #[test]
    fn copies_bear_their_own_number_and_time_and_no_capture_time() {
        let (mut stage, audio, _video) = stage(4);
        let (mut packer, now) = (red::Packer::default(), Instant::now());
        packer.pack(0, Bytes::from_static(&[1, 2]), 111, 1);
        let payload = packer.pack(960, Bytes::from_static(&[3, 4]), 111, 1);
        let mut packet = rtp(now, AUDIO, RED_PAYLOAD_TYPE, 8, &[]);
        let Packet::Rtp(inner) = &mut packet.message.packet else { panic!("RTP") };
        (inner.header.timestamp, inner.payload) = (960, payload);
        inner.header.set_extension(5, encode_capture_time(1_795_360_000_000_000).to_vec().into()).unwrap();
        pass_in(&mut stage, packet);
        let came: Vec<_> = audio.try_iter().map(|p| (p.sequence, p.timestamp, p.captured_unix_us)).collect();
        assert_eq!(came, [(8, 960, Some(1_795_360_000_000_000)), (7, 0, None)]);
    }

    #[test]
    fn each_picture_says_its_codec_and_what_was_not_agreed_upon_is_dropped() {
        let (mut stage, _audio, video) = stage(4);
        let answer = "m=video 9 X 102 98\na=rtpmap:102 H264/90000\na=fmtp:102 packetization-mode=1\n\
                      a=rtpmap:98 VP9/90000\n";
        stage.meter.payload_types.set(PayloadTypes::parse(answer, VideoCodec::BUILT)).unwrap();
        for payload_type in [102, 98, 96, 102] {
            pass_in(&mut stage, rtp(Instant::now(), VIDEO, payload_type, 1, &[2]));
        }
        let codecs: Vec<_> = video.try_iter().map(|packet| packet.codec).collect();
        assert_eq!(codecs, [VideoCodec::H264, VideoCodec::Vp9, VideoCodec::H264].map(Some));
    }

    #[test]
    fn packets_without_room_are_dropped_and_counted() {
        let (mut stage, _audio, video) = stage(2);
        for sequence in 0..5 {
            pass_in(&mut stage, rtp(Instant::now(), VIDEO, 102, sequence, &[2]));
        }
        assert_eq!(video.try_iter().count(), 2);
        assert_eq!(stage.meter.overflows.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn padding_is_not_sound_but_has_its_place_between_pictures() {
        let (mut stage, audio, video) = stage(2);
        pass_in(&mut stage, rtp(Instant::now(), AUDIO, 111, 1, &[]));
        assert!(audio.try_recv().is_err());
        pass_in(&mut stage, rtp(Instant::now(), VIDEO, 102, 1, &[]));
        assert!(video.try_recv().is_ok_and(|packet| packet.payload.is_empty()));
    }
}
