//! Packets to loudspeaker.

use std::sync::mpsc::Receiver;

use super::{super::Timing, OnEvent, Shared, VoiceEvent};
use crate::{
    AudioSink,
    audio::{PIECE, Piece, clock, mixer, playback::Playback, processing::Reference},
    codec::opus::{Decoder, OpusError},
    playout::audio::AudioPlayout,
    rtp::IncomingPacket,
};

/// Packets taken in at once: a sender that floods is read at this pace, and the channel's bound does the rest.
const AT_ONCE: usize = 200;

/// Statistics are published every so many pieces.
const PUBLISH_EVERY: u32 = 10;

pub(super) fn run(
    speaker: &AudioSink,
    timing: &Timing,
    incoming: &Receiver<IncomingPacket>,
    shared: &Shared,
    on_event: &OnEvent,
) -> Result<(), OpusError> {
    let mut playout = AudioPlayout::new(Decoder::new()?);
    let mut playback = Playback::open(speaker);
    let mut reference: Option<Reference> = None;
    let mut piece: Piece = [0.0; PIECE];
    let mut heard = false;
    for pulls in 0_u32.. {
        playback.wait();
        if let Some(log) = &timing.log {
            log.heard(pulls, crate::clock::unix_us());
        }
        {
            let mut wishes = shared.wishes();
            if wishes.stop {
                return Ok(());
            }
            reference = wishes.reference.take().or(reference);
            if let Some(speaker) = wishes.speaker.take() {
                drop(wishes);
                playback.switch(speaker);
            }
        }
        while let Some(event) = playback.poll_event() {
            on_event(event.into());
        }
        for packet in incoming.try_iter().take(AT_ONCE) {
            playout.push(packet);
        }
        let captured = playout.captured_unix_us();
        playout.pull(clock::now(), &mut piece);
        if let Some(captured) = captured {
            timing.voice.heard(captured, crate::clock::unix_us());
        }
        mixer::soft_clip(&mut piece);
        playback.write(&piece);
        if let Some(reference) = &mut reference {
            reference.play(&piece);
        }
        if !heard && playout.has_sounded() {
            heard = true;
            on_event(VoiceEvent::FirstSound);
        }
        if pulls % PUBLISH_EVERY == PUBLISH_EVERY - 1 {
            *shared.stats() = playout.stats();
        }
    }
    Ok(())
}
