//! The tones that tell what a call does: ringing, waiting, busy, over.
//!
//! Each is synthesized from a short score. A thread of its own plays them on a stream that it opens when the first
//! tone sounds and closes when it has been quiet for a while.

use std::{
    f32::consts::TAU,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{PIECE, Piece, SAMPLE_RATE, mixer, playback::Playback};
use crate::AudioSink;

/// What a call does, in sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tone {
    /// Someone calls; again and again until [`Tones::stop`].
    Ring,
    /// It rings at the other's; again and again until [`Tones::stop`].
    Ringback,
    /// The call is over; once.
    Ended,
    /// The other is in a call; a few times.
    Busy,
}

/// Plays tones, outside a call and inside. Dropping it stops the thread.
#[derive(Debug)]
pub struct Tones {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Play(Tone),
    Stop,
}

impl Tones {
    /// Starts the thread; no device is opened yet. Tones go to loudspeakers alone: a file holds what the other says.
    pub fn open(speaker: &AudioSink) -> Self {
        let sink = match speaker {
            AudioSink::Default | AudioSink::Device(_) => speaker.clone(),
            AudioSink::None | AudioSink::File(_) => AudioSink::None,
        };
        // Orders come at the pace of a person; one too many is dropped.
        let (orders, inbox) = sync_channel(16);
        let thread = thread::Builder::new()
            .name("tones".to_owned())
            .spawn(move || run(&sink, &inbox))
            .map_err(|error| tracing::warn!(%error, "no thread for tones"))
            .ok();
        Self { orders: Some(orders), thread }
    }

    /// Plays a tone, in place of whatever sounds.
    pub fn play(&self, tone: Tone) {
        self.order(Order::Play(tone));
    }

    /// Silence.
    pub fn stop(&self) {
        self.order(Order::Stop);
    }

    fn order(&self, order: Order) {
        if let Some(orders) = &self.orders
            && orders.try_send(order).is_err()
        {
            tracing::debug!(?order, "no tone");
        }
    }
}

impl Drop for Tones {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // The thread notices within 10 ms, and a device that does not close is left behind by its keeper.
            let _ = thread.join();
        }
    }
}

/// How long the stream stays open without a tone: the next one often follows soon.
const LINGER: Duration = Duration::from_secs(3);

fn run(sink: &AudioSink, inbox: &Receiver<Order>) {
    while let Ok(order) = inbox.recv() {
        match order {
            Order::Stop => {}
            Order::Play(tone) => {
                if play(sink, inbox, tone).is_none() {
                    return;
                }
            }
        }
    }
}

/// Plays `tone` and whatever follows it, until it was quiet for [`LINGER`]; `None` when the owner is gone.
fn play(sink: &AudioSink, inbox: &Receiver<Order>, tone: Tone) -> Option<()> {
    let mut playback = Playback::open(sink);
    let mut voice = Synthesizer::new();
    voice.start(tone);
    let linger = (LINGER.as_millis() / 10) as u32;
    let mut quiet = 0;
    let mut piece: Piece = [0.0; PIECE];
    while quiet < linger {
        playback.wait();
        match inbox.try_recv() {
            Ok(Order::Play(tone)) => voice.start(tone),
            Ok(Order::Stop) => voice.release(),
            Err(TryRecvError::Empty) => {}
            Err(TryRecvError::Disconnected) => return None,
        }
        piece.fill(0.0);
        quiet = if voice.add_to(&mut piece) { 0 } else { quiet + 1 };
        mixer::soft_clip(&mut piece);
        playback.write(&piece);
        while let Some(event) = playback.poll_event() {
            // A problem with the loudspeaker is told by the call; a tone that can't be heard is no news.
            tracing::debug!(?event, "tones");
        }
    }
    Some(())
}

/// A note: when it starts in its score, for how long it is held, its frequency, and how it fades.
struct Note {
    at_ms: u32,
    hold_ms: u32,
    hz: f32,
    touch: Touch,
}

#[derive(Clone, Copy, PartialEq)]
enum Touch {
    /// Struck and dying away.
    Bell,
    /// Even, with soft edges.
    Flute,
}

/// Notes, how long one turn takes, and how many turns there are; `None` for ever.
struct Score {
    notes: &'static [Note],
    turn_ms: u32,
    turns: Option<u32>,
}

const fn bell(at_ms: u32, hz: f32) -> Note {
    Note { at_ms, hold_ms: 900, hz, touch: Touch::Bell }
}

const fn flute(at_ms: u32, hold_ms: u32, hz: f32) -> Note {
    Note { at_ms, hold_ms, hz, touch: Touch::Flute }
}

/// A rising chime (E5, A5, C sharp 6, E6), twice a turn.
const RING: Score = Score {
    notes: &[
        bell(0, 659.3),
        bell(140, 880.0),
        bell(280, 1_108.7),
        bell(420, 1_318.5),
        bell(900, 880.0),
        bell(1_040, 1_108.7),
        bell(1_180, 1_318.5),
    ],
    turn_ms: 3_000,
    turns: None,
};

/// The ringing tone of the European networks: 425 Hz, one second in five (ETSI TR 101 041-2).
const RINGBACK: Score = Score { notes: &[flute(0, 1_000, 425.0)], turn_ms: 5_000, turns: None };

/// Two falling notes (A5, E5).
const ENDED: Score = Score { notes: &[bell(0, 880.0), bell(160, 659.3)], turn_ms: 1_200, turns: Some(1) };

/// The busy tone of the European networks: 425 Hz, half a second in one.
const BUSY: Score = Score { notes: &[flute(0, 480, 425.0)], turn_ms: 960, turns: Some(3) };

impl Tone {
    const fn score(self) -> &'static Score {
        match self {
            Self::Ring => &RING,
            Self::Ringback => &RINGBACK,
            Self::Ended => &ENDED,
            Self::Busy => &BUSY,
        }
    }
}

/// Loudness of a note.
const AMPLITUDE: f32 = 0.16;

/// Attack and release: soft enough not to click.
const EDGE_MS: f32 = 8.0;

/// Plays one score at a time.
struct Synthesizer {
    score: Option<&'static Score>,
    /// Samples since the score began.
    at: u64,
    /// 1.0, falling to 0.0 after a release.
    gain: f32,
    released: bool,
}

impl Synthesizer {
    fn new() -> Self {
        Self { score: None, at: 0, gain: 1.0, released: false }
    }

    fn start(&mut self, tone: Tone) {
        *self = Self { score: Some(tone.score()), at: 0, gain: 1.0, released: false };
    }

    fn release(&mut self) {
        self.released = true;
    }

    /// Adds the next 10 ms; false when nothing sounds any more.
    fn add_to(&mut self, piece: &mut Piece) -> bool {
        let Some(score) = self.score else { return false };
        let turn_len = u64::from(score.turn_ms) * u64::from(SAMPLE_RATE / 1_000);
        for sample in piece {
            let over = score.turns.is_some_and(|turns| self.at >= turn_len * u64::from(turns));
            if over || self.gain <= 0.0 {
                self.score = None;
                return true;
            }
            let t_ms = (self.at % turn_len) as f32 / (SAMPLE_RATE / 1_000) as f32;
            *sample += self.gain * score.notes.iter().map(|note| note.sound(t_ms)).sum::<f32>();
            self.at += 1;
            if self.released {
                self.gain -= 1.0 / (EDGE_MS * (SAMPLE_RATE / 1_000) as f32);
            }
        }
        true
    }
}

impl Note {
    fn sound(&self, t_ms: f32) -> f32 {
        let t = t_ms - self.at_ms as f32;
        let left = self.hold_ms as f32 - t;
        if t < 0.0 || left < 0.0 {
            return 0.0;
        }
        let edges = (t / EDGE_MS).min(left / EDGE_MS).min(1.0);
        let wave = |harmonic: f32| (TAU * (self.hz * harmonic * t / 1_000.0).fract()).sin();
        AMPLITUDE
            * edges
            * match self.touch {
                Touch::Bell => {
                    wave(1.0) * (-t / 220.0).exp()
                        + 0.35 * wave(2.0) * (-t / 120.0).exp()
                        + 0.1 * wave(3.0) * (-t / 60.0).exp()
                }
                Touch::Flute => wave(1.0),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::mixer::tests::level_at;

    fn render(tone: Tone, pieces: usize) -> Vec<f32> {
        let mut voice = Synthesizer::new();
        voice.start(tone);
        let mut sound = Vec::new();
        for _ in 0..pieces {
            let mut piece = [0.0; PIECE];
            voice.add_to(&mut piece);
            sound.extend_from_slice(&piece);
        }
        sound
    }

    #[test]
    fn ringing_repeats_and_the_other_tones_end() {
        for (tone, sounds_after_20_s) in
            [(Tone::Ring, true), (Tone::Ringback, true), (Tone::Busy, false), (Tone::Ended, false)]
        {
            let sound = render(tone, 2_600);
            let loud = |from_s: usize| sound[from_s * 48_000..][..6 * 48_000].iter().any(|sample| sample.abs() > 0.05);
            assert!(loud(0), "{tone:?}");
            assert_eq!(loud(20), sounds_after_20_s, "{tone:?}");
        }
    }

    #[test]
    fn ringback_is_the_425_hz_that_people_know() {
        let sound = render(Tone::Ringback, 500);
        assert!((level_at(425.0, 48_000, &sound[2_400..45_600]) - AMPLITUDE).abs() < 0.01);
        assert!(sound[49_000..].iter().all(|sample| *sample == 0.0));
    }

    #[test]
    fn no_tone_clicks_or_clips_even_when_it_is_cut_off() {
        for tone in [Tone::Ring, Tone::Ringback, Tone::Busy, Tone::Ended] {
            let mut voice = Synthesizer::new();
            voice.start(tone);
            let mut sound = vec![0.0];
            for i in 0..400 {
                if i == 37 {
                    voice.release();
                }
                let mut piece = [0.0; PIECE];
                voice.add_to(&mut piece);
                sound.extend_from_slice(&piece);
            }
            let step = sound.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
            assert!(step < 0.08, "{tone:?} jumps by {step}");
            assert!(sound.iter().all(|sample| sample.abs() < 0.8));
            assert!(sound[38 * PIECE + 480..].iter().all(|sample| *sample == 0.0), "{tone:?} goes on after a stop");
        }
    }

    #[test]
    fn dropping_stops_at_once() {
        let tones = Tones::open(&AudioSink::None);
        tones.play(Tone::Ring);
        let started = crate::audio::clock::now();
        drop(tones);
        assert!(started.elapsed() < Duration::from_millis(500));
    }
}
