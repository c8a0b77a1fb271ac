//! H.264 constrained baseline by openh264, and its RTP payload format.

mod decoder;
mod encoder;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod legibility;
mod payload;

pub(crate) use decoder::Decoder;
pub(crate) use encoder::Encoder;
pub(crate) use payload::{Depacketizer, Packetizer, starts_key_frame};

/// The NAL units of an Annex B bitstream (ITU-T H.264, B.1), without their start codes.
pub(crate) fn nal_units(bitstream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bitstream;
    std::iter::from_fn(move || {
        loop {
            let start = find_start_code(rest)? + START_CODE.len();
            rest = &rest[start..];
            let end = find_start_code(rest).unwrap_or(rest.len());
            // The zero byte of a four-byte start code, and trailing zeros, belong to no unit.
            let unit = without_trailing_zeros(&rest[..end]);
            rest = &rest[end..];
            if !unit.is_empty() {
                return Some(unit);
            }
        }
    })
}

const START_CODE: [u8; 3] = [0, 0, 1];

fn find_start_code(bytes: &[u8]) -> Option<usize> {
    bytes.windows(START_CODE.len()).position(|window| window == START_CODE)
}

fn without_trailing_zeros(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &bytes[..end]
}

#[cfg(test)]
mod tests;
