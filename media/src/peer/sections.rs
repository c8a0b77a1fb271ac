//! What a description says of its sections for pictures: which is for the camera, and which for a shared screen.

/// The name of a screen's track. The camera's is another.
pub(super) const SCREEN_TRACK: &str = "screen";
/// Lines that are looked at.
const MAX_LINES: usize = 4_096;

/// A section for a screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    /// Of the stream, and of its retransmissions.
    pub(super) ssrc: Option<u32>,
    pub(super) rtx: Option<u32>,
}

/// The section for a screen, if there is one that was not turned down (RFC 8866, section 5.14).
pub(super) fn screen(sdp: &str) -> Option<Section> {
    picture_sections(sdp).find(|section| is_screen(section)).map(|section| {
        let first = attributes(&section, "ssrc:").find_map(|value| value.split(' ').next()?.parse().ok());
        // RFC 5576, section 4.2: the stream, then what repairs it.
        let group = attributes(&section, "ssrc-group:FID ").find_map(|value| {
            let (ssrc, rtx) = value.split_once(' ')?;
            Some((ssrc.parse().ok()?, rtx.trim().parse().ok()?))
        });
        match group {
            Some((ssrc, rtx)) => Section { ssrc: Some(ssrc), rtx: Some(rtx) },
            None => Section { ssrc: first, rtx: None },
        }
    })
}

/// Whether an offer has a section for a camera's pictures that was not turned down.
pub(crate) fn offers_camera(sdp: &str) -> bool {
    picture_sections(sdp).any(|section| !is_screen(&section))
}

fn is_screen(section: &[&str]) -> bool {
    // RFC 8830: a stream's name and a track's.
    attributes(section, "msid:").any(|value| value.split(' ').nth(1) == Some(SCREEN_TRACK))
}

fn picture_sections(sdp: &str) -> impl Iterator<Item = Vec<&str>> {
    let mut lines = sdp.lines().take(MAX_LINES).skip_while(|line| !line.starts_with("m=")).peekable();
    std::iter::from_fn(move || {
        let mut section = vec![lines.next()?];
        while let Some(line) = lines.next_if(|line| !line.starts_with("m=")) {
            section.push(line);
        }
        Some(section)
    })
    .filter(|section| section[0].strip_prefix("m=video ").is_some_and(|rest| !rest.starts_with("0 ")))
}

fn attributes<'a>(section: &'a [&str], name: &'a str) -> impl Iterator<Item = &'a str> {
    section.iter().filter_map(move |line| line.strip_prefix("a=")?.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\na=msid:parlor screen\r\nm=audio 9 RTP 111\r\na=msid:parlor audio\r\na=ssrc:1 cname:x\r\n\
        m=video 9 RTP 102\r\na=msid:parlor video\r\na=ssrc-group:FID 2 3\r\na=ssrc:2 cname:x\r\n\
        m=video 9 RTP 102\r\na=msid:parlor screen\r\na=ssrc-group:FID 4 5\r\na=ssrc:4 cname:x\r\na=ssrc:5 cname:x\r\n";

    #[test]
    fn the_screen_is_found_behind_the_camera() {
        assert_eq!(screen(OFFER), Some(Section { ssrc: Some(4), rtx: Some(5) }));
        let plain = OFFER.replace("a=ssrc-group:FID 4 5\r\n", "");
        assert_eq!(screen(&plain), Some(Section { ssrc: Some(4), rtx: None }));
        assert_eq!(screen(&OFFER.replace("a=ssrc", "a=none")), Some(Section::default()));
    }

    #[test]
    fn who_has_no_section_for_screens_takes_none() {
        assert_eq!(screen(&OFFER.replace("msid:parlor screen", "msid:parlor other")), None);
        let (camera, _) = OFFER.split_at(OFFER.rfind("m=video").unwrap());
        assert_eq!(screen(camera), None);
        assert_eq!(screen(&format!("{camera}m=video 0 RTP 102\r\na=msid:parlor screen\r\n")), None);
    }

    #[test]
    fn an_offer_tells_whether_it_has_pictures_of_a_camera() {
        assert!(offers_camera("v=0\r\nm=audio 9 RTP 111\r\nm=video 9 RTP 102\r\n"));
        assert!(!offers_camera("v=0\r\nm=audio 9 RTP 111\r\nm=video 0 RTP 102\r\n"));
        assert!(!offers_camera("v=0\r\nm=audio 9 RTP 111\r\na=m=video 9\r\n"));
        assert!(offers_camera(OFFER));
        assert!(!offers_camera(&OFFER.replacen("m=video 9", "m=video 0", 1)), "a voice call may have screens");
    }

    #[test]
    fn nonsense_is_no_section() {
        for wrong in ["", "m=", "m=video ", "a=msid:parlor screen", "m=video 9\r\na=msid:\r\na=ssrc-group:FID \r\n"] {
            assert_eq!(screen(wrong), None, "{wrong}");
        }
        let wrong = "m=video 9\r\na=msid:parlor screen\r\na=ssrc-group:FID 4\r\na=ssrc:99999999999 x\r\n";
        assert_eq!(screen(wrong), Some(Section::default()));
    }
}
