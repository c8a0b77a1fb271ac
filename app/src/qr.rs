//! QR codes: links made visible, and read from what a camera sees.

use parlor_media::Frame;
use qrcode::{Color, EcLevel, QrCode};

/// The dark and light squares of a code, without the light margin around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    width: usize,
    dark: Vec<bool>,
}

impl Code {
    /// The code of a text; `None` if the text is too long for one.
    pub fn of(text: &str) -> Option<Self> {
        let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
        let dark = code.to_colors().into_iter().map(|colour| colour == Color::Dark).collect();
        Some(Self { width: code.width(), dark })
    }

    /// Squares in a row, and rows.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// The rows, from above; `true` is dark.
    pub fn rows(&self) -> impl Iterator<Item = &[bool]> {
        self.dark.chunks(self.width)
    }
}

/// The text of a code in a picture, if there is one that can be read.
pub fn read(frame: &Frame) -> Option<String> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    let luma = frame.y();
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width, height, |x, y| {
        luma.get(y * width + x).copied().unwrap_or(0)
    });
    picture.detect_grids().iter().find_map(|grid| grid.decode().ok()).map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parlor_media::MediaTime;

    use super::*;

    /// A camera's picture of a code: grey on grey, small, off the middle, with noise.
    fn photographed(code: &Code, square: usize) -> Frame {
        let (width, height) = (1280, 720);
        let mut planes = vec![128; Frame::i420_len(width, height)];
        let (width, height) = (width as usize, height as usize);
        let (left, top) = (300, 60);
        let rows: Vec<&[bool]> = code.rows().collect();
        for y in 0..height {
            for x in 0..width {
                let inside = |at: usize, from: usize| at.checked_sub(from).map(|at| at / square);
                let dark = match (inside(x, left), inside(y, top)) {
                    (Some(column), Some(row)) => {
                        rows.get(row).and_then(|row| row.get(column)).copied().unwrap_or(false)
                    }
                    _ => false,
                };
                let noise = (x * 7919 + y * 104_729) % 23;
                planes[y * width + x] = (if dark { 50 } else { 190 }) + noise as u8;
            }
        }
        Frame::from_i420(1280, 720, Arc::new(planes), MediaTime::default())
    }

    #[test]
    fn a_link_that_is_shown_is_read_by_a_camera() {
        let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let link = format!("parlor:{peer}?name=%E6%9D%8E&node=/ip4/192.0.2.7/udp/4001/quic-v1/p2p/{peer}");
        let code = Code::of(&link).unwrap();
        for square in [4, 7, 10] {
            assert_eq!(read(&photographed(&code, square)).as_deref(), Some(link.as_str()), "{square} pixels a square");
        }
    }

    #[test]
    fn a_picture_without_a_code_is_none_and_a_text_without_end_has_none() {
        let grey = Arc::new(vec![100; Frame::i420_len(64, 64)]);
        assert_eq!(read(&Frame::from_i420(64, 64, grey, MediaTime::default())), None);
        assert_eq!(Code::of(&"x".repeat(4000)), None);
    }
}
