//! The adaptive jitter buffer for voice: packets go in as they arrive, 10 ms of sound come out whenever they are asked
//! for, and the delay between is as small as the path allows.
//!
//! Time is counted in samples at 48 kHz. A packet's *transit* is its arrival minus its timestamp; the smallest transit
//! of the last seconds is the *base*: the path at its best. The *lag* of what is played is how much later it is than
//! the base would allow. The lag wanted follows the 96th percentile of the transits (`delay`); sound is shortened or
//! lengthened by whole pitch periods to get there (`stretch`), which also absorbs clocks that drift.
//!
//! Nothing here reads a clock, and nothing that a peer sends makes it grow or panic.

mod delay;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod quality;
mod stretch;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use bytes::Bytes;
use delay::{Delay, Placed};

use crate::{
    AudioRecvStats,
    audio::{PIECE, mixer},
    rtp::IncomingPacket,
};

/// Turns packets into sound. Opus, and plainer things in tests.
pub trait Decode {
    /// How many samples a payload holds; `None` when it is none of this codec's.
    fn duration(&self, payload: &[u8]) -> Option<usize>;
    /// The sender pauses after this packet.
    fn is_pause(&self, payload: &[u8]) -> bool;
    /// Appends the sound of a packet; false when it can't.
    fn decode(&mut self, payload: &[u8], out: &mut Vec<f32>) -> bool;
    /// As `decode`, for a packet in whose place something was concealed since the last was decoded: that is forgotten.
    fn decode_late(&mut self, payload: &[u8], out: &mut Vec<f32>) -> bool {
        self.decode(payload, out)
    }
    /// Whether a payload holds a copy of the packet before it.
    fn holds_copy(&self, payload: &[u8]) -> bool;
    /// Appends the last `samples` before `next`, from the copy in it; false when there is none.
    fn recover(&mut self, next: &[u8], samples: usize, out: &mut Vec<f32>) -> bool;
    /// Appends `samples` that continue what was decoded last.
    fn conceal(&mut self, samples: usize, out: &mut Vec<f32>);
}

/// Packets held at most: 2 s of 20 ms packets. The oldest gives way.
const MOST_PACKETS: usize = 100;

/// Concealment fades; after so much of it there is silence: 100 ms.
const MOST_MADE_UP: i64 = 4_800;

/// Lag beyond what is wanted that is jumped over instead of worked off: 300 ms.
const MOST_EXCESS: i64 = 14_400;

/// Lag beyond what is wanted that is left alone: 10 ms.
const SLACK: i64 = 480;

/// Lag short of what is wanted that is left alone: 1 ms.
const SHORTFALL: i64 = 48;

/// Pulls over which the smallest lag counts: devices ask in bursts.
const LAG_WINDOW: usize = 20;

/// Pulls between two changes of tempo in speech.
const REST: u32 = 3;

/// Below this mean square (-50 dBFS) nobody speaks: there the tempo changes unheard.
const QUIET: f32 = 1e-5;

/// So much is looked at to tell: 20 ms.
const QUIET_FOR: usize = 960;

/// A change of tempo in the midst of a word is heard, a delay that is a little wrong is not: within these (60 ms too much,
/// 20 ms too little) the next silence is waited for, at most so many pulls (1 s).
const BEARABLE_EXCESS: i64 = 2_880;
const BEARABLE_SHORTFALL: i64 = 960;
const PATIENCE: u32 = 100;

/// A step in the waveform is levelled out over so many samples: 2.5 ms.
const SEAM: usize = 120;

/// Pieces in a second.
const SECOND: usize = 100;

/// The jitter buffer.
pub struct AudioPlayout<D> {
    decoder: D,
    /// Time zero: the first arrival.
    origin: Option<Instant>,
    delay: Delay,
    /// Unix time of timestamp zero by the sender's clock, microseconds.
    captured_from: Option<i64>,
    packets: BTreeMap<i64, Packet>,
    state: State,
    /// Decoded and not yet played.
    pcm: Vec<f32>,
    /// What is being decoded: kept for its memory.
    sound: Vec<f32>,
    /// The last sample that was appended to `pcm`.
    last_sample: f32,
    /// What is appended next does not continue it.
    seam: bool,
    /// Samples made up since the last pull.
    made_up: usize,
    lags: VecDeque<i64>,
    pulls_since_stretch: u32,
    /// Pulls in a row that wanted another tempo and found no place for it.
    waiting: u32,
    history: VecDeque<Played>,
    counts: Counts,
}

struct Packet {
    sequence: u16,
    payload: Bytes,
    duration: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Silence until the first packet at or after `not_before` is due.
    Idle {
        not_before: i64,
        /// The sender said that it pauses (or has not begun), so that the silence is its own.
        paused: bool,
    },
    /// Sound flows.
    Playing {
        /// Timestamp after the last sample that was decoded.
        next: i64,
        /// Samples made up since, in place of what has not come.
        made_up: i64,
        /// Sequence number of the last packet decoded.
        sequence: u16,
    },
}

/// The length of so many samples, microseconds.
fn micros(samples: i64) -> i64 {
    samples.saturating_mul(125) / 6
}

/// One piece, for the statistics of the last second.
#[derive(Clone, Copy, Default)]
struct Played {
    made_up: usize,
    energy: f32,
}

#[derive(Default)]
struct Counts {
    packets: u64,
    fec: u64,
    late: u64,
}

impl<D: Decode> AudioPlayout<D> {
    /// An empty buffer.
    pub fn new(decoder: D) -> Self {
        Self {
            decoder,
            origin: None,
            delay: Delay::default(),
            captured_from: None,
            packets: BTreeMap::new(),
            state: State::Idle { not_before: i64::MIN, paused: true },
            pcm: Vec::with_capacity(4 * 5_760),
            sound: Vec::with_capacity(5_760),
            last_sample: 0.0,
            seam: true,
            made_up: 0,
            lags: VecDeque::with_capacity(LAG_WINDOW),
            pulls_since_stretch: 0,
            waiting: 0,
            history: VecDeque::with_capacity(SECOND),
            counts: Counts::default(),
        }
    }

    /// Takes a packet that arrived, itself or as a copy in another.
    pub fn push(&mut self, packet: IncomingPacket) {
        let Some(duration) = self.decoder.duration(&packet.payload) else { return };
        let duration = duration as i64;
        let arrived = self.samples_at(packet.arrived);
        self.delay.set_duration(duration);
        let (timestamp, is_new) = match self.delay.place(packet.timestamp, arrived) {
            Placed::At(timestamp) => (timestamp, true),
            Placed::Again(timestamp) => (timestamp, false),
            Placed::Restarted(timestamp) => {
                self.packets.clear();
                self.lags.clear();
                self.captured_from = None;
                self.idle(i64::MIN, true);
                (timestamp, true)
            }
            Placed::Suspect => return,
        };
        if let Some(unix_us) = packet.captured_unix_us {
            self.captured_from = Some(unix_us.cast_signed().saturating_sub(micros(timestamp)));
        }
        if self.decoder.holds_copy(&packet.payload) {
            self.delay.copied(timestamp - duration, arrived);
        }
        if timestamp < self.needed_from() {
            self.counts.late += u64::from(is_new);
            return;
        }
        let packet = Packet { sequence: packet.sequence, payload: packet.payload, duration };
        self.packets.entry(timestamp).or_insert(packet);
        if self.packets.len() > MOST_PACKETS {
            self.packets.pop_first();
        }
    }

    /// What lies before is not needed any more.
    fn needed_from(&self) -> i64 {
        match self.state {
            State::Idle { not_before, .. } => not_before,
            State::Playing { next, .. } => next,
        }
    }

    /// Gives the next 10 ms. `now` never runs backwards.
    pub fn pull(&mut self, now: Instant, piece: &mut [f32; PIECE]) {
        let now = self.samples_at(now);
        self.adapt(now);
        while self.pcm.len() < PIECE {
            self.refill(now);
        }
        piece.copy_from_slice(&self.pcm[..PIECE]);
        self.pcm.drain(..PIECE);
        if self.history.len() == SECOND {
            self.history.pop_front();
        }
        let made_up = std::mem::take(&mut self.made_up);
        self.history.push_back(Played { made_up, energy: mixer::energy(piece) });
    }

    /// When the sender captured what comes next: Unix time by its clock, microseconds. `None` in silence.
    pub fn captured_unix_us(&self) -> Option<u64> {
        let State::Playing { next, made_up, .. } = self.state else { return None };
        let position = next + made_up - self.pcm.len() as i64;
        self.captured_from?.saturating_add(micros(position)).try_into().ok()
    }

    /// Sound was decoded.
    pub fn has_sounded(&self) -> bool {
        self.counts.packets > 0
    }

    /// How it does; rates over the last second.
    pub fn stats(&self) -> AudioRecvStats {
        let pieces = self.history.len().max(1) as f32;
        let made_up: usize = self.history.iter().map(|played| played.made_up).sum();
        let energy = self.history.iter().map(|played| played.energy).sum::<f32>() / pieces;
        let lag = self.lags.iter().sum::<i64>() as f32 / self.lags.len().max(1) as f32;
        AudioRecvStats {
            jitter_buffer_ms: lag / 48.0,
            concealed: (made_up as f32 / (pieces * PIECE as f32)).min(1.0),
            packets: self.counts.packets,
            fec: self.counts.fec,
            late: self.counts.late,
            level_dbfs: mixer::dbfs(energy),
        }
    }

    /// Samples since the first arrival.
    fn samples_at(&mut self, time: Instant) -> i64 {
        let origin = *self.origin.get_or_insert(time);
        let samples = |duration: std::time::Duration| (duration.as_micros() * 48 / 1_000) as i64;
        match time.checked_duration_since(origin) {
            Some(after) => samples(after),
            None => -samples(origin - time),
        }
    }

    /// Brings the lag nearer to what is wanted.
    fn adapt(&mut self, now: i64) {
        let State::Playing { next, made_up: 0, .. } = self.state else { return };
        let lag = now - self.delay.base() - (next - self.pcm.len() as i64);
        if self.lags.len() == LAG_WINDOW {
            self.lags.pop_front();
        }
        self.lags.push_back(lag);
        self.pulls_since_stretch += 1;
        let least = self.lags.iter().copied().min().unwrap_or(lag);
        // The packet that a pull ends in must have come before the pull begins.
        let wanted = self.delay.wanted() + (self.pcm.len() % PIECE) as i64;
        if least > wanted + MOST_EXCESS {
            self.jump(now - self.delay.base() - wanted);
            return;
        }
        let too_much = least > wanted + SLACK;
        let too_little = least < wanted - SHORTFALL && self.lags.len() == LAG_WINDOW;
        if !too_much && !too_little {
            self.waiting = 0;
            return;
        }
        while too_much && self.pcm.len() < stretch::ENOUGH && self.decode_next(now) {}
        self.waiting += 1;
        if !self.is_quiet() {
            let bearable = -BEARABLE_SHORTFALL..=BEARABLE_EXCESS;
            let can_wait = bearable.contains(&(least - wanted)) && self.waiting < PATIENCE;
            if can_wait || self.pulls_since_stretch < REST {
                return;
            }
        }
        // Whole pitch periods are cut unheard; the longer there was none, the less alike the two sides of a cut need be.
        let alike = 0.9 - 0.01 * self.waiting as f32;
        let changed = if too_much {
            // Whole pieces, because the rest of a piece comes back as what the next pull ends in.
            stretch::shorten(&mut self.pcm, (least - wanted) as usize / PIECE * PIECE, alike)
        } else {
            stretch::lengthen(&mut self.pcm, alike)
        };
        if let Some(samples) = changed {
            for lag in &mut self.lags {
                *lag += samples;
            }
            self.pulls_since_stretch = 0;
            self.waiting = 0;
        }
    }

    /// Nobody speaks in what comes next.
    fn is_quiet(&self) -> bool {
        self.pcm.len() >= QUIET_FOR && mixer::energy(&self.pcm) < QUIET
    }

    /// Throws away what should have been played before `timestamp`.
    fn jump(&mut self, timestamp: i64) {
        self.packets = self.packets.split_off(&timestamp);
        self.pcm.clear();
        self.lags.clear();
        self.idle(timestamp, true);
    }

    /// Appends some sound.
    fn refill(&mut self, now: i64) {
        match self.state {
            State::Idle { not_before, paused } => self.refill_idle(now, not_before, paused),
            State::Playing { next, made_up, sequence } => self.refill_playing(now, next, made_up, sequence),
        }
    }

    fn refill_idle(&mut self, now: i64, not_before: i64, paused: bool) {
        let due = now - self.delay.base() - self.delay.wanted() - self.pcm.len() as i64;
        match self.packets.first_key_value() {
            Some((timestamp, packet)) if *timestamp <= due => {
                if self.decoder.is_pause(&packet.payload) {
                    let not_before = not_before.max(timestamp + packet.duration);
                    self.packets.pop_first();
                    self.state = State::Idle { not_before, paused: true };
                    return;
                }
                let sequence = packet.sequence.wrapping_sub(1);
                self.state = State::Playing { next: *timestamp, made_up: 0, sequence };
                self.seam = true;
                self.lags.clear();
                self.decode_next(now);
            }
            _ => {
                let missing = PIECE - self.pcm.len();
                self.append(&[0.0; PIECE][..missing], if paused { 0 } else { missing });
            }
        }
    }

    fn refill_playing(&mut self, now: i64, next: i64, made_up: i64, sequence: u16) {
        let Some((&timestamp, packet)) = self.packets.first_key_value() else {
            // Late or lost, nobody knows yet.
            self.make_up(PIECE as i64);
            return;
        };
        if timestamp <= next {
            if !self.decode_next(now) {
                self.make_up(PIECE as i64);
            }
            return;
        }
        let missing = timestamp - next - made_up;
        if packet.sequence == sequence.wrapping_add(1) {
            // Nothing is lost: the sender was silent.
            self.pause(next);
        } else if missing <= 0 {
            self.state = State::Playing { next: timestamp, made_up: -missing, sequence };
        } else if missing > packet.duration || !self.recover(timestamp, missing) {
            self.make_up(missing.min(PIECE as i64));
        }
    }

    /// Rebuilds the `missing` samples before the packet at `timestamp` from the copy in it.
    fn recover(&mut self, timestamp: i64, missing: i64) -> bool {
        let State::Playing { made_up, sequence, .. } = self.state else { return false };
        let Some(packet) = self.packets.get(&timestamp) else { return false };
        let mut sound = std::mem::take(&mut self.sound);
        sound.clear();
        let recovered = self.decoder.recover(&packet.payload, packet.duration as usize, &mut sound);
        if recovered {
            self.state = State::Playing { next: timestamp, made_up: 0, sequence };
            self.seam = made_up > 0;
            let from = sound.len().saturating_sub(missing as usize);
            self.append(&sound[from..], 0);
            self.counts.fec += 1;
        }
        self.sound = sound;
        recovered
    }

    /// Decodes the packet that is next in time; false when it is not there.
    fn decode_next(&mut self, now: i64) -> bool {
        let State::Playing { next, made_up, sequence } = self.state else { return false };
        let Some(entry) = self.packets.first_entry().filter(|entry| *entry.key() <= next) else { return false };
        let (timestamp, packet) = entry.remove_entry();
        let next = timestamp + packet.duration;
        if self.decoder.is_pause(&packet.payload) {
            self.pause(next);
            return true;
        }
        let mut sound = std::mem::take(&mut self.sound);
        sound.clear();
        let is_late = made_up > 0 && packet.sequence == sequence.wrapping_add(1);
        let decoded = if is_late {
            self.decoder.decode_late(&packet.payload, &mut sound)
        } else {
            self.decoder.decode(&packet.payload, &mut sound)
        };
        if decoded {
            self.counts.packets += 1;
        } else {
            self.decoder.conceal(packet.duration as usize, &mut sound);
        }
        // What was made up was heard in its place, and of the packet only as much is heard as the lag may grow: time that
        // is shifted, and shifted back later, is heard more than 10 ms that were made up. When a queue grows on the way,
        // what follows will be as late: then the lag grows, unless others overtook this packet. Either way it is decoded
        // whole, so that what follows is.
        let lag = now + self.pcm.len() as i64 - self.delay.base() - timestamp;
        let is_overtaken = self.packets.first_key_value().is_some_and(|(following, _)| *following <= next);
        let excess =
            if is_overtaken || !self.delay.is_queueing() { (lag - self.delay.wanted()).min(made_up) } else { 0 };
        let skipped = excess.clamp(0, sound.len() as i64);
        let made_up = if skipped == sound.len() as i64 { made_up - skipped } else { 0 };
        self.state = State::Playing { next, made_up, sequence: packet.sequence };
        self.seam |= skipped > 0;
        let heard = &sound[skipped as usize..];
        self.append(heard, if decoded { 0 } else { heard.len() });
        self.sound = sound;
        true
    }

    /// The sender stopped speaking: what was heard last fades.
    fn pause(&mut self, not_before: i64) {
        let mut sound = std::mem::take(&mut self.sound);
        sound.clear();
        self.decoder.conceal(PIECE, &mut sound);
        for (i, sample) in sound.iter_mut().enumerate() {
            *sample *= 1.0 - i as f32 / PIECE as f32;
        }
        self.append(&sound, 0);
        self.sound = sound;
        self.idle(not_before, true);
    }

    fn idle(&mut self, not_before: i64, paused: bool) {
        self.state = State::Idle { not_before, paused };
        self.seam = true;
    }

    /// Makes up `samples` in place of what is missing, or gives up.
    fn make_up(&mut self, samples: i64) {
        let State::Playing { next, made_up, sequence } = self.state else { return };
        let mut sound = std::mem::take(&mut self.sound);
        sound.clear();
        self.decoder.conceal(samples as usize, &mut sound);
        self.append(&sound, samples as usize);
        self.sound = sound;
        let made_up = made_up + samples;
        if made_up < MOST_MADE_UP {
            self.state = State::Playing { next, made_up, sequence };
        } else {
            self.idle(next, false);
        }
    }

    /// Appends sound, `made_up` samples of it not the sender's, without a step in the waveform.
    fn append(&mut self, sound: &[f32], made_up: usize) {
        let at = self.pcm.len();
        self.pcm.extend(sound.iter().map(|sample| if sample.is_finite() { sample.clamp(-2.0, 2.0) } else { 0.0 }));
        let added = &mut self.pcm[at..];
        if let Some(first) = added.first()
            && std::mem::take(&mut self.seam)
        {
            let step = self.last_sample - first;
            for (i, sample) in added.iter_mut().take(SEAM).enumerate() {
                *sample += step * (1.0 - i as f32 / SEAM as f32);
            }
        }
        self.last_sample = self.pcm.last().copied().unwrap_or(0.0);
        self.made_up += made_up;
    }
}
