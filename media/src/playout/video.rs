//! Frame assembly: packets in any order in, access units that a decoder can take out, in order.
//!
//! A frame goes out as soon as it is complete and everything before it went out: there is no other delay. Where a packet
//! is missing, the frames behind it wait, since retransmission is quicker and cheaper than a new key frame. When it
//! had time to come several times over, a key frame is asked for, and whichever arrives first, the packet or a key frame
//! (asked for or not), goes on from there. Whoever drives this asks for retransmissions; it only waits for them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::rtp::IncomingPacket;

/// Packets that are held at most: three seconds of 2.5 Mbit/s in packets of 1,200 bytes.
const MAX_PACKETS: usize = 1_024;
/// Bytes that are held at most.
const MAX_BYTES: usize = 4 << 20;
/// Before the first frame went out, packets this far before the first that came are still taken.
const EARLY_REORDERING: u64 = 64;

/// How long a packet may be overtaken by others. A key frame that comes later than that makes what is missing useless.
const REORDERING: Duration = Duration::from_millis(30);

/// How long to wait for a missing packet: two retransmissions, and the time for the loss to be noticed. Where much is
/// lost, retransmissions are too, and a key frame, which is many packets, would be worse off.
fn patience(rtt: Duration, loss: f32) -> Duration {
    let further = 10.0 * if loss.is_finite() { loss.clamp(0.0, 0.4) } else { 0.0 };
    (rtt * 2 + rtt.mul_f32(further) + Duration::from_millis(80))
        .clamp(Duration::from_millis(100), Duration::from_millis(600))
}

/// How long to wait for a key frame before asking again, for the so-and-so-manieth time: the way there and back, and its
/// encoding and sending. A path that carries no picture now is not asked for one all the time.
fn key_frame_patience(rtt: Duration, asked: u32) -> Duration {
    let once = (rtt * 2 + Duration::from_millis(150)).clamp(Duration::from_millis(250), Duration::from_secs(1));
    (once * (1 << asked.saturating_sub(1).min(3))).min(Duration::from_secs(2))
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// Decode these packets: one whole access unit, in order.
    Frame(Vec<IncomingPacket>),
    /// Ask the sender for a key frame.
    KeyFrameNeeded,
}

/// The packets between the network and the decoder.
pub(crate) struct VideoAssembly {
    /// Whether a packet begins a frame that a decoder can start with.
    starts_key_frame: fn(&IncomingPacket) -> bool,
    /// Packet `base + i` is at index `i`.
    window: VecDeque<Option<IncomingPacket>>,
    /// The first packet of the next frame, as an unwrapped sequence number. `None` before the first packet.
    base: Option<u64>,
    bytes: usize,
    chain: Chain,
    rtt: Duration,
    loss: f32,
    stuck: Option<Stuck>,
    dropped_frames: u64,
    /// Emptied buffers of frames, to be used again.
    spare: Vec<IncomingPacket>,
}

/// How the next frame relates to the last that went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chain {
    /// Nothing went out yet: the beginning of the stream is still open.
    NotBegun,
    /// The decoder has what the next frame refers to.
    Whole,
    /// Only a key frame is of use.
    Broken,
}

/// Packets are there and no frame can go out.
#[derive(Clone, Copy, Debug)]
struct Stuck {
    since: Instant,
    /// When to ask for a key frame, and how often that was done.
    ask_at: Instant,
    asked: u32,
    /// A key frame may be jumped to: waiting for the missing packet went on long enough.
    out_of_patience: bool,
}

impl VideoAssembly {
    pub(crate) fn new(starts_key_frame: fn(&IncomingPacket) -> bool) -> Self {
        Self {
            starts_key_frame,
            window: VecDeque::with_capacity(MAX_PACKETS),
            base: None,
            bytes: 0,
            chain: Chain::NotBegun,
            rtt: Duration::from_millis(50),
            loss: 0.0,
            stuck: None,
            dropped_frames: 0,
            spare: Vec::new(),
        }
    }

    /// The round-trip time, by which repairs are waited for.
    pub(crate) fn set_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// The part of packets that is lost before repair, 0.0 to 1.0.
    pub(crate) fn set_loss(&mut self, loss: f32) {
        self.loss = loss;
    }

    /// Frames that never went out because packets of theirs, or of frames before them, never came.
    pub(crate) fn dropped_frames(&self) -> u64 {
        self.dropped_frames
    }

    /// Takes a packet. Duplicates and packets that come too late are dropped.
    pub(crate) fn handle_packet(&mut self, now: Instant, packet: IncomingPacket) {
        let base = *self.base.get_or_insert(FIRST_CYCLE + u64::from(packet.sequence));
        let newest = base + (self.window.len() as u64).saturating_sub(1);
        let sequence = unwrap_sequence(newest, packet.sequence);
        if base.saturating_sub(sequence) > MAX_PACKETS as u64 {
            self.start_over(now, sequence);
        } else if sequence < base {
            let ahead = base - sequence;
            let is_room = self.window.len() as u64 + ahead <= MAX_PACKETS as u64;
            if self.chain != Chain::NotBegun || ahead > EARLY_REORDERING || !is_room {
                return;
            }
            (sequence..base).for_each(|_| self.window.push_front(None));
            self.base = Some(sequence);
        }
        let mut index = (sequence - self.base.unwrap_or(base)) as usize;
        if index >= MAX_PACKETS || self.bytes + packet.payload.len() > MAX_BYTES {
            // The sender jumped, or the hole at the front outlived all patience: begin anew with this packet.
            self.start_over(now, sequence);
            index = 0;
        }
        if index >= self.window.len() {
            self.window.resize(index + 1, None);
        }
        let slot = &mut self.window[index];
        if slot.is_none() {
            self.bytes += packet.payload.len();
            *slot = Some(packet);
        }
    }

    /// The decoder failed: what follows is of no use before the next key frame.
    pub(crate) fn break_chain(&mut self, now: Instant) {
        self.chain = Chain::Broken;
        self.stuck = Some(Stuck { since: now, ask_at: now, asked: 0, out_of_patience: true });
    }

    /// What to do now; called until it returns `None`.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Output> {
        if let Some(frame) = self.next_frame(now) {
            return Some(Output::Frame(frame));
        }
        if self.window.is_empty() && self.chain != Chain::Broken {
            self.stuck = None;
            return None;
        }
        let wait = patience(self.rtt, self.loss);
        let begun = Stuck { since: now, ask_at: now + wait, asked: 0, out_of_patience: false };
        let stuck = self.stuck.get_or_insert(begun);
        if now < stuck.ask_at {
            return None;
        }
        stuck.asked = stuck.asked.saturating_add(1);
        stuck.ask_at = now + key_frame_patience(self.rtt, stuck.asked);
        stuck.out_of_patience = true;
        Some(Output::KeyFrameNeeded)
    }

    /// When to poll again if no packet comes.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.stuck.map(|stuck| stuck.ask_at)
    }

    /// Gives a frame's buffer back after its packets were used.
    pub(crate) fn recycle(&mut self, mut frame: Vec<IncomingPacket>) {
        frame.clear();
        self.spare = frame;
    }

    fn next_frame(&mut self, now: Instant) -> Option<Vec<IncomingPacket>> {
        self.skip_padding();
        if self.chain == Chain::Whole
            && let Some(length) = self.complete_frame_at(0)
        {
            return Some(self.take_frame(length));
        }
        let jump = match self.chain {
            Chain::Whole => self.stuck.is_some_and(|stuck| stuck.out_of_patience || now >= stuck.since + REORDERING),
            Chain::NotBegun | Chain::Broken => true,
        };
        if !jump {
            return None;
        }
        let (start, length) = (0..self.window.len())
            .filter(|&index| self.window[index].as_ref().is_some_and(|packet| (self.starts_key_frame)(packet)))
            .find_map(|index| Some((index, self.complete_frame_at(index)?)))?;
        self.discard(start);
        Some(self.take_frame(length))
    }

    /// Packets without payload only keep sequence numbers contiguous; they lie between frames.
    fn skip_padding(&mut self) {
        while matches!(self.window.front(), Some(Some(packet)) if packet.payload.is_empty()) {
            self.discard(1);
        }
    }

    /// The number of packets of the frame that begins at this index, if all of them are there. A frame ends with the
    /// marker, or before the next timestamp where the sender set none.
    fn complete_frame_at(&self, start: usize) -> Option<usize> {
        let timestamp = self.window.get(start)?.as_ref()?.timestamp;
        for (index, packet) in self.window.range(start..).enumerate() {
            let packet = packet.as_ref()?;
            if packet.timestamp != timestamp {
                return Some(index);
            }
            if packet.marker {
                return Some(index + 1);
            }
        }
        None
    }

    fn take_frame(&mut self, length: usize) -> Vec<IncomingPacket> {
        self.chain = Chain::Whole;
        self.stuck = None;
        let mut frame = std::mem::take(&mut self.spare);
        frame.extend(self.window.drain(..length).flatten());
        self.bytes -= frame.iter().map(|packet| packet.payload.len()).sum::<usize>();
        self.base = self.base.map(|base| base + length as u64);
        frame
    }

    /// Drops the first packets, counting the frames that they belong to.
    fn discard(&mut self, count: usize) {
        let mut last = None;
        for packet in self.window.drain(..count).flatten() {
            self.bytes -= packet.payload.len();
            if !packet.payload.is_empty() && last.replace(packet.timestamp) != Some(packet.timestamp) {
                self.dropped_frames += 1;
            }
        }
        self.base = self.base.map(|base| base + count as u64);
    }

    fn start_over(&mut self, now: Instant, base: u64) {
        self.discard(self.window.len());
        self.base = Some(base);
        self.break_chain(now);
    }
}

/// Unwrapped sequence numbers begin here, so that there are some below the first.
const FIRST_CYCLE: u64 = 1 << 32;

/// The unwrapped sequence number that is nearest to `newest`.
fn unwrap_sequence(newest: u64, sequence: u16) -> u64 {
    let ahead = sequence.wrapping_sub(newest as u16).cast_signed();
    newest.saturating_add_signed(i64::from(ahead))
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
