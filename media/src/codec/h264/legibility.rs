//! Whether text on a shared screen can be read, and how soon.

use super::*;
use crate::{
    Frame, MediaTime,
    codec::{Content, Encoded, VideoDecoder as _, VideoEncoder as _},
    frame::FramePool,
    rate::Bitrate,
};

const WIDTH: u32 = 1_920;
const HEIGHT: u32 = 1_080;
const FPS: u64 = 15;

/// A page of dark letters on white, as an editor shows it: 5 x 7 dots to a letter, each two pixels wide.
fn page(seed: u32, number: u64) -> Frame {
    let captured = MediaTime::from_micros(number * 1_000_000 / FPS);
    FramePool::default().frame(WIDTH, HEIGHT, captured, |planes| {
        planes.y.fill(235);
        planes.u.fill(128);
        planes.v.fill(128);
        let hash = |n: u32| (n ^ seed).wrapping_mul(0x9e37_79b1).rotate_left(13).wrapping_mul(0x85eb_ca6b);
        for line in 0..HEIGHT / 24 - 2 {
            let length = 40 + hash(line) % 90;
            for column in (0..length).filter(|column| hash(line * 997 + column) % 6 != 0) {
                let letter = hash(hash(line * 131 + column) % 26);
                for dot in (0..35).filter(|dot| letter >> (dot % 31) & 1 == 1) {
                    let (x, y) = (40 + column * 12 + dot % 5 * 2, 30 + line * 24 + dot / 5 * 2);
                    for (x, y) in [(x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)] {
                        planes.y[(y * WIDTH + x) as usize] = 30;
                    }
                }
            }
        }
    })
}

fn psnr(a: &Frame, b: &Frame) -> f64 {
    let error: u64 = a.y().iter().zip(b.y()).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    10.0 * (255.0_f64.powi(2) * a.y().len() as f64 / error.max(1) as f64).log10()
}

/// Mean structural similarity of luma, over squares of 8 x 8 pixels that are not empty.
fn ssim(a: &Frame, b: &Frame) -> f64 {
    let (mut sum, mut count) = (0.0, 0.0);
    for top in (0..HEIGHT - 7).step_by(8) {
        for left in (0..WIDTH - 7).step_by(8) {
            let square = |frame: &Frame| -> Vec<f64> {
                let at = |y: u32| (y * WIDTH + left) as usize;
                (top..top + 8).flat_map(|y| frame.y()[at(y)..][..8].to_vec()).map(f64::from).collect()
            };
            let (a, b) = (square(a), square(b));
            let mean = |values: &[f64]| values.iter().sum::<f64>() / 64.0;
            let (ma, mb) = (mean(&a), mean(&b));
            let spread = |x: &[f64], y: &[f64], mx: f64, my: f64| {
                x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / 63.0
            };
            let (va, vb, cov) = (spread(&a, &a, ma, ma), spread(&b, &b, mb, mb), spread(&a, &b, ma, mb));
            if va > 1.0 {
                let (c1, c2) = (6.5025, 58.5225);
                sum += (2.0 * ma * mb + c1) * (2.0 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
                count += 1.0;
            }
        }
    }
    sum / count
}

/// What is seen of a page that is turned to, after each half second, on a path of so much: PSNR and SSIM. A frame is left
/// out while what was coded before it has not left.
fn turned(mut encoder: Encoder, bps: u32, seconds: u64) -> Vec<(f64, f64)> {
    encoder.set_bitrate(Bitrate::from_bps(bps * 30 / FPS as u32));
    let (mut decoder, mut bitstream) = (Decoder::new().unwrap(), Vec::new());
    let (mut backlog_bits, mut seen, mut shown) = (0.0_f64, None, None);
    let mut quality = Vec::new();
    let turn = 4 * FPS;
    for number in 0..turn + seconds * FPS {
        backlog_bits -= f64::from(bps) / FPS as f64;
        if backlog_bits <= 0.0 {
            backlog_bits = 0.0;
            shown = seen.take().or(shown);
        }
        let original = page(if number < turn { 1 } else { 77 }, number);
        if backlog_bits <= f64::from(bps) * 0.09 {
            let encoded = encoder.encode(&original, false, &mut bitstream).unwrap();
            if encoded != Encoded::Skipped {
                backlog_bits += bitstream.len() as f64 * 8.0;
                seen = decoder.decode(&bitstream).unwrap();
            }
        }
        if number >= turn && (number + 1 - turn) * 2 % FPS <= 1 {
            let frame = shown.as_ref().unwrap();
            quality.push((psnr(&original, frame), ssim(&original, frame)));
        }
    }
    quality
}

#[test]
fn a_full_page_that_is_turned_to_can_be_read_after_two_seconds_at_1_mbit_and_after_four_at_half_of_that() {
    for (bps, half_seconds) in [(1_000_000, 4), (500_000, 8)] {
        let quality = turned(Encoder::new(Content::Screen, Bitrate::from_bps(bps)), bps, 6);
        let (psnr, ssim) = quality[half_seconds - 1];
        assert!(psnr > 32.0 && ssim > 0.97, "{bps}: {quality:.2?}");
    }
}
