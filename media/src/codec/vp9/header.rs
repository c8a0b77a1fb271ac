//! What the uncompressed header of a VP9 frame says, as far as it decides what a decoder may be given
//! (VP9 Bitstream Specification 0.7, section 6.2 and annex B).

/// Frames in one picture, at most.
pub(crate) const MAX_FRAMES: usize = 8;

/// What a frame refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Nothing.
    Key,
    /// Nothing, but the pictures before it stay.
    IntraOnly,
    /// Others.
    Inter,
    /// It is another, shown now.
    Existing,
}

/// What was read of a frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: FrameKind,
    /// Unless it is that of a picture that it refers to.
    pub(crate) size: Option<(u32, u32)>,
}

/// What kind of frame this is. `None`: none of profile 0, which is 4:2:0 with 8 bits.
pub(super) fn kind(frame: &[u8]) -> Option<FrameKind> {
    Bits::new(frame).kind().map(|(kind, _)| kind)
}

/// What a frame of profile 0 is like. `None`: it is not one.
pub(crate) fn read_frame(frame: &[u8]) -> Option<FrameHeader> {
    let mut bits = Bits::new(frame);
    let (kind, is_resilient) = bits.kind()?;
    let size = match kind {
        FrameKind::Existing => None,
        FrameKind::Key => {
            bits.sync_code()?;
            // The colour space; RGB (7) belongs to profile 1. Then its range.
            if bits.take(3)? == 7 {
                return None;
            }
            bits.take(1)?;
            Some(bits.size()?)
        }
        FrameKind::IntraOnly => {
            bits.reset_context(is_resilient)?;
            bits.sync_code()?;
            // What it refreshes.
            bits.take(8)?;
            Some(bits.size()?)
        }
        FrameKind::Inter => {
            bits.reset_context(is_resilient)?;
            // What it refreshes, and three references with their signs.
            bits.take(8 + 3 * 4)?;
            let mut of_reference = false;
            for _ in 0..3 {
                of_reference = bits.take(1)? == 1;
                if of_reference {
                    break;
                }
            }
            if of_reference { None } else { Some(bits.size()?) }
        }
    };
    Some(FrameHeader { kind, size })
}

/// The frames in a picture: those of its index, or the whole.
pub(crate) fn frames(picture: &[u8]) -> impl Iterator<Item = &[u8]> {
    let sizes = sizes(picture);
    let mut rest = picture;
    let (listed, count) = sizes.unwrap_or(([0; MAX_FRAMES], 1));
    listed.into_iter().take(count).filter_map(move |size| {
        if sizes.is_none() {
            return Some(std::mem::take(&mut rest)).filter(|frame| !frame.is_empty());
        }
        let (frame, behind) = rest.split_at_checked(size)?;
        rest = behind;
        (!frame.is_empty()).then_some(frame)
    })
}

const INDEX_MARKER: u8 = 0b1100_0000;
const INDEX_MASK: u8 = 0b1110_0000;

fn sizes(picture: &[u8]) -> Option<([usize; MAX_FRAMES], usize)> {
    let &marker = picture.last().filter(|marker| *marker & INDEX_MASK == INDEX_MARKER)?;
    let (count, width) = (usize::from(marker & 7) + 1, usize::from(marker >> 3 & 3) + 1);
    let index = &picture[picture.len().checked_sub(2 + count * width)?..];
    if index[0] != marker {
        return None;
    }
    let mut sizes = [0; MAX_FRAMES];
    for (size, bytes) in sizes.iter_mut().zip(index[1..].chunks_exact(width)).take(count) {
        *size = bytes.iter().rev().fold(0, |size, &byte| size << 8 | usize::from(byte));
    }
    Some((sizes, count))
}

/// Puts the index of frames of these sizes, [`MAX_FRAMES`] at most, behind them.
pub(crate) fn put_index(sizes: &[usize], picture: &mut Vec<u8>) {
    let marker = INDEX_MARKER | 3 << 3 | (sizes.len().saturating_sub(1) & 7) as u8;
    picture.push(marker);
    sizes.iter().for_each(|&size| picture.extend_from_slice(&(size as u32).to_le_bytes()));
    picture.push(marker);
}

/// The index of a single frame. With one, a decoder takes what was looked at for one frame, and looks for no more in it.
pub(crate) fn index_of_one(frame: &[u8], picture: &mut Vec<u8>) {
    put_index(&[frame.len()], picture);
}

/// Reads bits, the highest of each byte first.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count {
            let bit = self.bytes.get(self.at / 8)? >> (7 - self.at % 8) & 1;
            value = value << 1 | u32::from(bit);
            self.at += 1;
        }
        Some(value)
    }

    /// Up to where kinds differ; and whether the frame is made for lossy paths.
    fn kind(&mut self) -> Option<(FrameKind, bool)> {
        // The frame's mark, and profile 0.
        if self.take(2)? != 2 || self.take(2)? != 0 {
            return None;
        }
        if self.take(1)? == 1 {
            return Some((FrameKind::Existing, false));
        }
        let (is_inter, is_shown, is_resilient) = (self.take(1)? == 1, self.take(1)? == 1, self.take(1)? == 1);
        if !is_inter {
            return Some((FrameKind::Key, is_resilient));
        }
        let is_intra_only = !is_shown && self.take(1)? == 1;
        Some((if is_intra_only { FrameKind::IntraOnly } else { FrameKind::Inter }, is_resilient))
    }

    fn reset_context(&mut self, is_resilient: bool) -> Option<()> {
        if !is_resilient {
            self.take(2)?;
        }
        Some(())
    }

    fn sync_code(&mut self) -> Option<()> {
        (self.take(24)? == 0x49_83_42).then_some(())
    }

    fn size(&mut self) -> Option<(u32, u32)> {
        Some((self.take(16)? + 1, self.take(16)? + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits as text, spaces between fields.
    fn frame(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|byte| *byte != b' ').map(|byte| byte - b'0').collect();
        bits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |sum, (at, bit)| sum | bit << (7 - at))).collect()
    }

    const SYNC: &str = "010010011000001101000010";
    /// 1280 x 720.
    const SIZE: &str = "0000010011111111 0000001011001111";

    #[test]
    fn sizes_are_found_in_every_kind_of_frame() {
        let cases = [
            (format!("10 00 0 0 1 0 {SYNC} 001 0 {SIZE}"), FrameKind::Key, Some((1_280, 720))),
            (format!("10 00 0 1 0 0 1 00 {SYNC} 00000001 {SIZE}"), FrameKind::IntraOnly, Some((1_280, 720))),
            (format!("10 00 0 1 1 1 00000001 000000000000 000 {SIZE}"), FrameKind::Inter, Some((1_280, 720))),
            ("10 00 0 1 1 0 00 00000001 000000000000 01 ".to_owned() + SIZE, FrameKind::Inter, None),
            ("10 00 1 000".to_owned(), FrameKind::Existing, None),
        ];
        for (bits, kind, size) in cases {
            assert_eq!(read_frame(&frame(&bits)), Some(FrameHeader { kind, size }), "{bits}");
        }
    }

    #[test]
    fn other_profiles_and_what_is_cut_short_are_no_frames() {
        for bits in ["11 00 0 0 1 0", "10 10 0 0 1 0", "10 00 0 0 1 0 0100", ""] {
            assert_eq!(read_frame(&frame(bits)), None, "{bits}");
        }
        assert_eq!(read_frame(&frame(&format!("10 00 0 0 1 0 {SYNC} 111 0 {SIZE}"))), None, "RGB");
    }

    #[test]
    fn an_index_tells_frames_apart_and_a_wrong_one_tells_nothing_more_than_there_is() {
        let mut picture = vec![1, 2, 3, 4, 5];
        put_index(&[2, 3], &mut picture);
        assert_eq!(frames(&picture).collect::<Vec<_>>(), [&[1, 2][..], &[3, 4, 5]]);
        let mut wrong = vec![1, 2];
        put_index(&[200, 1], &mut wrong);
        assert_eq!(frames(&wrong).count(), 1);
        assert_eq!(frames(&[9, 9]).collect::<Vec<_>>(), [&[9, 9]]);
        assert_eq!(frames(&[]).count(), 0);
        assert_eq!(frames(&[0xD8]).collect::<Vec<_>>(), [&[0xD8]]);
    }
}
