//! Packets to loudspeaker.

use std::sync::{Arc, mpsc::Receiver};

use super::{OnEvent, Shared, VoiceEvent};
use crate::{
    AudioSink, FrameLog,
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
    mut reference: Option<Reference>,
    log: Option<&FrameLog>,
    incoming: &Receiver<IncomingPacket>,
    shared: &Shared,
    on_event: &OnEvent,
) -> Result<(), OpusError> {
    let mut playout = AudioPlayout::new(Decoder::new()?);
    let problems = Arc::clone(on_event);
    let mut playback = Playback::open(speaker, move |problem| problems(VoiceEvent::Problem(problem)));
    let mut piece: Piece = [0.0; PIECE];
    let mut heard = false;
    for pulls in 0_u32.. {
        playback.wait();
        if let Some(log) = log {
            log.heard(pulls, crate::clock::unix_us());
        }
        if shared.wishes().stop {
            return Ok(());
        }
        for packet in incoming.try_iter().take(AT_ONCE) {
            playout.push(packet);
        }
        playout.pull(clock::now(), &mut piece);
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
