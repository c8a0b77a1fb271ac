//! What payload types mean for pictures in one connection, as its descriptions settled it.

use crate::codec::VideoCodec;

/// Formats of a section that are looked at.
const MAX_FORMATS: usize = 64;

/// The payload types of codecs, and of the retransmissions of each (RFC 4588).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PayloadTypes {
    codecs: Vec<(u8, VideoCodec)>,
    /// Of retransmissions, and of what they repair.
    repairs: Vec<(u8, u8)>,
}

impl PayloadTypes {
    /// Reads a description, as far as it has what is `allowed`: of an answer, what both ends have. Numbers mean the same
    /// in all sections, since these share a transport (RFC 8843, section 10.1.2).
    pub(crate) fn parse(description: &str, allowed: &[VideoCodec]) -> Self {
        let mut found = Self::default();
        let mut lines = description.lines().map(str::trim_end).peekable();
        while let Some(line) = lines.next() {
            let Some(section) = line.strip_prefix("m=video ") else { continue };
            let attributes: Vec<&str> = std::iter::from_fn(|| lines.next_if(|line| !line.starts_with("m="))).collect();
            // Port 0: it was turned down (RFC 8866, section 5.14).
            if !section.starts_with("0 ") {
                found.add(section, &attributes, allowed);
            }
        }
        found
    }

    fn add(&mut self, section: &str, attributes: &[&str], allowed: &[VideoCodec]) {
        let of = |kind: &str, payload_type: u8| {
            attributes.iter().find_map(|line| {
                let (number, value) = line.strip_prefix(kind)?.split_once(' ')?;
                (number.parse() == Ok(payload_type)).then_some(value)
            })
        };
        for payload_type in section.split(' ').skip(2).take(MAX_FORMATS).filter_map(|number| number.parse::<u8>().ok())
        {
            let Some(name) = of("a=rtpmap:", payload_type).and_then(|map| map.split('/').next()) else { continue };
            let parameters = of("a=fmtp:", payload_type).unwrap_or_default();
            if name.eq_ignore_ascii_case("rtx") {
                let repaired = parameter(parameters, "apt").and_then(|number| number.parse().ok());
                self.repairs.extend(repaired.map(|repaired| (payload_type, repaired)));
            } else if let Some(codec) = VideoCodec::named(name).filter(|codec| allowed.contains(codec))
                && is_spoken(codec, parameters)
                && self.codec(payload_type).is_none()
            {
                self.codecs.push((payload_type, codec));
            }
        }
    }

    /// The codec of packets with this payload type.
    pub(crate) fn codec(&self, payload_type: u8) -> Option<VideoCodec> {
        self.codecs.iter().find(|(number, _)| *number == payload_type).map(|(_, codec)| *codec)
    }

    /// The payload type that packets of this codec are sent with.
    pub(crate) fn payload_type(&self, codec: VideoCodec) -> Option<u8> {
        self.codecs.iter().find(|(_, known)| *known == codec).map(|(number, _)| *number)
    }

    /// The payload type of what retransmissions with this one carry.
    pub(crate) fn repaired(&self, payload_type: u8) -> Option<u8> {
        self.repairs.iter().find(|(number, _)| *number == payload_type).map(|(_, repaired)| *repaired)
    }

    /// The payload type of retransmissions of packets with this one.
    pub(crate) fn repair(&self, repaired: u8) -> Option<u8> {
        self.repairs.iter().find(|(_, of)| *of == repaired).map(|(number, _)| *number)
    }

    /// What both ends have, in our order.
    pub(crate) fn codecs(&self) -> Vec<VideoCodec> {
        VideoCodec::BUILT.iter().copied().filter(|codec| self.payload_type(*codec).is_some()).collect()
    }
}

/// Whether these parameters are of the kind that we speak.
fn is_spoken(codec: VideoCodec, parameters: &str) -> bool {
    match codec {
        VideoCodec::H264 => parameter(parameters, "packetization-mode") == Some("1"),
        VideoCodec::Vp8 => true,
        // Profile 0, also when nothing is said (RFC 9628, section 7).
        VideoCodec::Vp9 => parameter(parameters, "profile-id").is_none_or(|profile| profile == "0"),
    }
}

fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWER: &str = "v=0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 98 99 100 102 103 104 96 97\r\n\
        a=rtpmap:98 VP9/90000\r\na=fmtp:98 profile-id=0\r\na=rtpmap:99 rtx/90000\r\na=fmtp:99 apt=98\r\n\
        a=rtpmap:100 VP9/90000\r\na=fmtp:100 profile-id=2\r\n\
        a=rtpmap:102 H264/90000\r\na=fmtp:102 level-asymmetry-allowed=1;packetization-mode=0\r\n\
        a=rtpmap:103 H264/90000\r\na=fmtp:103 level-asymmetry-allowed=1; packetization-mode=1\r\n\
        a=rtpmap:104 rtx/90000\r\na=fmtp:104 apt=103;rtx-time=3000\r\n\
        a=rtpmap:96 vp8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96\r\n";

    #[test]
    fn an_answer_tells_the_payload_types_of_codecs_and_of_their_repairs() {
        let types = PayloadTypes::parse(ANSWER, VideoCodec::BUILT);
        assert_eq!(types.codecs(), VideoCodec::BUILT);
        assert_eq!(
            VideoCodec::BUILT.iter().map(|codec| types.payload_type(*codec)).collect::<Vec<_>>(),
            [Some(103), Some(98), Some(96)]
        );
        assert_eq!(
            [96, 98, 100, 102, 103].map(|number| types.codec(number).is_some()),
            [true, true, false, false, true]
        );
        assert_eq!([96, 98, 103, 111].map(|number| types.repair(number)), [Some(97), Some(99), Some(104), None]);
        assert_eq!([97, 99, 104, 111].map(|number| types.repaired(number)), [Some(96), Some(98), Some(103), None]);
    }

    #[test]
    fn what_is_not_allowed_or_was_turned_down_is_not_there() {
        assert_eq!(PayloadTypes::parse(ANSWER, &[VideoCodec::Vp8]).codecs(), [VideoCodec::Vp8]);
        let refused = ANSWER.replace("m=video 9", "m=video 0");
        assert_eq!(PayloadTypes::parse(&refused, VideoCodec::BUILT), PayloadTypes::default());
    }

    #[test]
    fn a_second_section_adds_what_is_new() {
        let twice = format!("{ANSWER}{}", ANSWER.replace("v=0\r\n", ""));
        assert_eq!(
            PayloadTypes::parse(&twice, VideoCodec::BUILT).codecs,
            PayloadTypes::parse(ANSWER, VideoCodec::BUILT).codecs
        );
    }

    proptest! {
        #[test]
        fn damaged_answers_are_read_without_a_panic(at in any::<prop::sample::Index>(), junk: String) {
            let mut answer = ANSWER.to_owned();
            answer.insert_str(at.index(ANSWER.len()), &junk);
            PayloadTypes::parse(&answer, VideoCodec::BUILT);
        }
    }
}
