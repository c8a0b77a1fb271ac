//! What each codec costs and how it looks, on a clip:
//!
//! ```text
//! PARLOR_CLIP=talk.y4m cargo test --release -p parlor-media --lib -- --ignored --nocapture codecs_on_a_clip
//! ```

use std::{path::Path, time::Instant};

use super::{Content, Encoded, VideoCodec};
use crate::{
    Frame, MediaTime,
    frame::{FramePool, Scaler},
    rate::Bitrate,
    y4m::Reader,
};

const FRAMES: usize = 240;
/// What is left out of the figures: the key frame, and the rate control finding its level.
const SETTLING: usize = 30;

/// A size and a bitrate that the ladder goes together with, in lines and kbit/s.
const POINTS: [(u32, u32); 8] =
    [(720, 1_500), (720, 800), (720, 480), (540, 480), (540, 300), (360, 300), (360, 150), (180, 60)];

#[test]
#[ignore = "it measures, on a clip of its own"]
fn codecs_on_a_clip() {
    let clip = std::env::var("PARLOR_CLIP").expect("PARLOR_CLIP names a clip");
    let frames = read(Path::new(&clip));
    println!("lines  kbit/s  codec  made   encode ms  decode ms  PSNR-Y  SSIM-Y  skipped");
    let mut scaler = Scaler::default();
    for (height, kbps) in POINTS {
        let scaled: Vec<Frame> = frames.iter().map(|frame| scaler.resize(frame, height)).collect();
        for &codec in VideoCodec::BUILT {
            println!("{height:5}  {kbps:6}  {}", measure(codec, kbps, &scaled));
        }
    }
}

fn read(clip: &Path) -> Vec<Frame> {
    let mut reader = Reader::open(clip).unwrap();
    let header = reader.header();
    let mut pool = FramePool::default();
    (0..FRAMES)
        .map_while(|_| {
            let read = pool.try_frame(header.width, header.height, MediaTime::default(), |mut planes| {
                if reader.read(&mut planes).unwrap() { Ok(()) } else { Err(()) }
            });
            read.ok()
        })
        .collect()
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn measure(codec: VideoCodec, kbps: u32, frames: &[Frame]) -> String {
    let mut encoder = codec.encoder(Content::Camera, Bitrate::from_bps(kbps * 1_000)).unwrap();
    let mut decoder = codec.decoder().unwrap();
    let mut bitstream = Vec::new();
    let (mut bytes, mut encode_s, mut decode_s, mut psnr, mut ssim, mut skipped) = (0, 0.0, 0.0, 0.0, 0.0, 0);
    let mut shown = None;
    for (number, frame) in frames.iter().enumerate() {
        let begin = Instant::now();
        let encoded = encoder.encode(frame, false, &mut bitstream).unwrap();
        let encoded_at = Instant::now();
        if encoded != Encoded::Skipped {
            shown = decoder.decode(&bitstream).unwrap();
        }
        let decoded_at = Instant::now();
        if number < SETTLING {
            continue;
        }
        bytes += bitstream.len();
        encode_s += (encoded_at - begin).as_secs_f64();
        decode_s += (decoded_at - encoded_at).as_secs_f64();
        skipped += usize::from(encoded == Encoded::Skipped);
        // What was left out is seen as the picture before it.
        let seen = shown.as_ref().unwrap();
        psnr += luma_psnr(frame, seen);
        ssim += luma_ssim(frame, seen);
    }
    let count = (frames.len() - SETTLING) as f64;
    format!(
        "{:5}  {:5.0}  {:9.2}  {:9.2}  {:6.2}  {:6.4}  {skipped:7}",
        codec.name(),
        bytes as f64 * 8.0 * 30.0 / count / 1_000.0,
        encode_s * 1_000.0 / count,
        decode_s * 1_000.0 / count,
        psnr / count,
        ssim / count,
    )
}

fn luma_psnr(a: &Frame, b: &Frame) -> f64 {
    let error: u64 = a.y().iter().zip(b.y()).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    10.0 * (255.0_f64.powi(2) * a.y().len() as f64 / error.max(1) as f64).log10()
}

/// The structural similarity of blocks of 8 x 8, every 4 pixels.
fn luma_ssim(a: &Frame, b: &Frame) -> f64 {
    let (width, height) = (a.width() as usize, a.height() as usize);
    let (mut sum, mut count) = (0.0, 0_u32);
    for y in (0..height.saturating_sub(7)).step_by(4) {
        for x in (0..width.saturating_sub(7)).step_by(4) {
            let (mut sa, mut sb, mut saa, mut sbb, mut sab) = (0_u32, 0_u32, 0_u32, 0_u32, 0_u32);
            for row in y..y + 8 {
                let at = row * width + x;
                for (&a, &b) in a.y()[at..at + 8].iter().zip(&b.y()[at..at + 8]) {
                    let (a, b) = (u32::from(a), u32::from(b));
                    (sa, sb, saa, sbb, sab) = (sa + a, sb + b, saa + a * a, sbb + b * b, sab + a * b);
                }
            }
            let n = 64.0;
            let (ma, mb) = (f64::from(sa) / n, f64::from(sb) / n);
            let (va, vb) = (f64::from(saa) / n - ma * ma, f64::from(sbb) / n - mb * mb);
            let covariance = f64::from(sab) / n - ma * mb;
            let (c1, c2) = (6.5025, 58.5225);
            sum += (2.0 * ma * mb + c1) * (2.0 * covariance + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2));
            count += 1;
        }
    }
    sum / f64::from(count.max(1))
}
