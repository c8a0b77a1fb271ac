//! Whatever comes in RTP payloads: no panic, nothing longer than what came, and a decoder that survives it.

use super::{Decoder, Depacketizer, Encoder, Packetizer, starts_key_frame};
use crate::{
    Frame, MediaTime,
    codec::{Content, VideoDecoder as _, VideoEncoder as _, payload::MAX_PAYLOAD},
    frame::FramePool,
    mutator::fuzz,
    rate::Bitrate,
};

/// Payloads of an access unit, each after its length, so that a mutation of the whole moves their borders too.
fn joined<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    payloads.into_iter().flat_map(|payload| [&(payload.len() as u16).to_be_bytes(), payload].concat()).collect()
}

fn split(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let (payload, rest) = rest.split_at(usize::from(u16::from_be_bytes(*length)).min(rest.len()));
        payloads.push(payload);
        bytes = rest;
    }
    payloads
}

fn picture(number: usize) -> Frame {
    FramePool::default().frame(320, 240, MediaTime::default(), |planes| {
        planes.y.iter_mut().enumerate().for_each(|(at, sample)| *sample = (at * number) as u8);
    })
}

#[test]
fn fuzz_h264_payloads() {
    let mut encoder = Encoder::new(Content::Camera, Bitrate::from_bps(1_000_000));
    let (mut packetizer, mut bitstream) = (Packetizer::default(), Vec::new());
    let samples: Vec<Vec<u8>> = (1..6)
        .map(|number| {
            encoder.encode(&picture(number), number == 1, &mut bitstream).unwrap();
            let payloads: Vec<_> = packetizer.packetize(&bitstream, MAX_PAYLOAD).collect();
            joined(payloads.iter().map(|payload| &payload[..]))
        })
        .collect();
    let (mut depacketizer, mut decoder) = (Depacketizer::default(), Decoder::new().unwrap());
    fuzz(&samples, |bytes| {
        let payloads = split(bytes);
        let _either = payloads.first().is_some_and(|payload| starts_key_frame(payload));
        if let Some(bitstream) = depacketizer.depacketize(payloads.iter().copied()) {
            // A start code for each unit, of which an aggregate has one in three bytes at most.
            assert!(bitstream.len() <= 3 * bytes.len() + 8);
            if decoder.decode(bitstream).is_err() {
                // As the pipeline does.
                decoder = Decoder::new().unwrap();
            }
        }
    });
}
