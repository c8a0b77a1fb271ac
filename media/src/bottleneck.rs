//! The voice of a call over a bottleneck, in virtual time: one side's voice and picture under the very rate control of a
//! call, and a link that becomes narrow. For benchmarks and tests: `voice_trace` makes sound of it.
//!
//! The picture is made of random sizes, both sides are taken to do the same, and nothing here reads a clock.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::SmallRng};

use crate::{
    codec::{
        opus::{Encoder, OpusError},
        red,
    },
    pipeline::voice::{
        VoiceBudget,
        plan::{PAIR_EVERY, Plan, Planner},
    },
    rate::{Allocation, Arrival, Bitrate, Class, Controller, Demand, HEADERS, History, Pacer, pace, packet_size},
    rtp::{IncomingPacket, PathReport},
};

/// What a call begins with, and the most that it asks for.
const START: Bitrate = Bitrate::from_bps(1_500_000);
const MOST: Bitrate = Bitrate::from_bps(2_700_000);
/// The link before it becomes narrow.
const OPEN_BPS: f64 = 100e6;
/// Ethernet.
const BELOW_IP: u32 = 14;
/// Frames are left out while so much waits.
const MAX_BACKLOG: Duration = Duration::from_millis(90);
/// Receiver reports come every so often.
const REPORT_MS: u64 = 1_000;

/// A link that becomes narrow.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// It carries so much, bits per second...
    pub bps: f64,
    /// ... from then on, milliseconds.
    pub from_ms: u64,
    /// Its queue, in time at that rate.
    pub queue_ms: f64,
    /// One way.
    pub delay_ms: f64,
    /// Part of packets that is lost besides.
    pub loss: f64,
    /// The camera is on.
    pub with_picture: bool,
    /// Of sizes and losses.
    pub seed: u64,
}

/// What came of a call.
#[derive(Debug, Default)]
pub struct Call {
    /// The voice's packets that arrived, in the order in which they did.
    pub voice: Vec<IncomingPacket>,
    /// Bytes of the voice's payloads.
    pub voice_bytes: usize,
    /// How many packets of the voice did not fit into the queue, or were lost.
    pub voice_lost: usize,
    /// Every 100 ms: the rate in bits per second, what the picture has of it, and the queue in milliseconds.
    pub log: Vec<(u32, u32, f64)>,
}

enum Packet {
    Voice { sequence: u16, timestamp: u32, payload: bytes::Bytes },
    Picture,
}

struct Sender {
    link: Link,
    start: Instant,
    random: SmallRng,
    controller: Controller,
    history: History,
    pacer: Pacer<(Packet, u32)>,
    allocation: Allocation,
    planner: Planner,
    /// When the link has sent all that is in its queue, milliseconds.
    free_at: f64,
    /// What arrived and was not reported.
    arrived: VecDeque<(u16, f64)>,
    next_expected: u16,
    /// Reports on their way back.
    reports: VecDeque<(f64, Vec<Arrival>)>,
    sent_voices: u32,
    lost_voices: u32,
    call: Call,
}

/// Sends `sound` through a link.
pub fn run(sound: &[f32], link: Link, start: Instant) -> Result<Call, OpusError> {
    let mut sender = Sender::new(link, start);
    let mut encoder = Encoder::new()?;
    let mut packer = red::Packer::default();
    let (mut from, mut pair_at, mut sequence, mut plan) = (0, 0, 0_u16, None);
    let (mut next_frame, mut was_on) = (0.0, false);
    let (mut report_at, mut rtcp_at) = (50, REPORT_MS);
    for ms in 0..(sound.len() / 48) as u64 {
        let now = sender.at(ms as f64);
        while sender.reports.front().is_some_and(|(at, _)| *at <= ms as f64) {
            if let Some((_, arrivals)) = sender.reports.pop_front() {
                sender.reported(now, &arrivals);
            }
        }
        let wanted = sender.planner.plan();
        if plan != Some(wanted) {
            plan = Some(wanted);
            encoder.configure(wanted.bitrate.as_bps(), wanted.fec_percent)?;
        }
        let Plan { samples, copies, pairs, .. } = wanted;
        if ms as usize * 48 >= from + samples {
            let is_pair = pairs && from >= pair_at;
            pair_at = if is_pair { from + PAIR_EVERY } else { pair_at };
            let packet = if is_pair { samples / 2 } else { samples };
            for from in (from..from + samples).step_by(packet) {
                let payload = encoder.encode(&sound[from..from + packet])?;
                let payload = packer.pack(from as u32, payload, 111, copies);
                sender.call.voice_bytes += payload.len();
                sender.voice(ms, Packet::Voice { sequence, timestamp: from as u32, payload });
                sequence = sequence.wrapping_add(1);
            }
            from += samples;
        }
        if link.with_picture && ms as f64 >= next_frame {
            next_frame += sender.frame(ms, &mut was_on);
        }
        sender.release(ms);
        if ms >= report_at {
            report_at = ms + sender.report(ms);
        }
        if ms >= rtcp_at {
            rtcp_at += REPORT_MS;
            sender.rtcp();
        }
        if ms % 100 == 0 {
            let picture = sender.allocation.picture.unwrap_or_default().as_bps();
            let queue = (sender.free_at - ms as f64).max(0.0);
            sender.call.log.push((sender.controller.target().as_bps(), picture, queue));
        }
    }
    sender.call.voice.sort_by_key(|packet| packet.arrived);
    Ok(sender.call)
}

impl Sender {
    fn new(link: Link, start: Instant) -> Self {
        let mut planner = Planner::new();
        let allocation = Allocation::full(START);
        planner.set_budget(VoiceBudget { bitrate: allocation.voice, packets: allocation.voice_packets, pairs: false });
        Self {
            link,
            start,
            random: SmallRng::seed_from_u64(link.seed),
            controller: Controller::new(
                start,
                START,
                if link.with_picture { MOST } else { Bitrate::from_bps(200_000) },
            ),
            history: History::new(0),
            pacer: Pacer::new(pace(START, false)),
            allocation,
            planner,
            free_at: 0.0,
            arrived: VecDeque::new(),
            next_expected: 0,
            reports: VecDeque::new(),
            sent_voices: 0,
            lost_voices: 0,
            call: Call::default(),
        }
    }

    fn at(&self, ms: f64) -> Instant {
        self.start + Duration::from_secs_f64(ms / 1e3)
    }

    /// When a packet of so many bytes arrives, if it does.
    fn transmit(&mut self, ms: u64, bytes: u32) -> Option<f64> {
        let now = ms as f64;
        let narrow = ms >= self.link.from_ms;
        if narrow && self.free_at - now > self.link.queue_ms {
            return None;
        }
        let bps = if narrow { self.link.bps } else { OPEN_BPS };
        self.free_at = self.free_at.max(now) + f64::from(bytes) * 8e3 / bps;
        (!self.random.random_bool(self.link.loss)).then_some(self.free_at + self.link.delay_ms)
    }

    fn leave(&mut self, ms: u64, packet: Packet, bytes: u32) {
        let number = self.history.send(self.at(ms as f64), bytes);
        let arrives = self.transmit(ms, bytes + BELOW_IP);
        if let Some(at) = arrives {
            self.arrived.push_back((number, at));
        }
        let Packet::Voice { sequence, timestamp, payload } = packet else { return };
        self.sent_voices += 1;
        let Some(at) = arrives else {
            self.lost_voices += 1;
            self.call.voice_lost += 1;
            return;
        };
        let arrived = self.at(at);
        let marker = sequence == 0;
        self.call.voice.push(IncomingPacket {
            sequence,
            timestamp,
            marker,
            payload,
            arrived,
            captured_unix_us: None,
            codec: None,
        });
    }

    fn voice(&mut self, ms: u64, packet: Packet) {
        let Packet::Voice { payload, .. } = &packet else { return };
        let bytes = payload.len() as u32 + HEADERS;
        let now = self.at(ms as f64);
        let Some((packet, bytes)) = self.pacer.push(now, Class::Voice, (packet, bytes), bytes) else { return };
        self.leave(ms, packet, bytes);
    }

    /// A frame of the camera. Returns the time until the next, milliseconds.
    fn frame(&mut self, ms: u64, was_on: &mut bool) -> f64 {
        let bps = self.allocation.picture.map_or(0, Bitrate::as_bps);
        let interval = 1e3
            / match bps {
                0..60_000 => 8.0,
                60_000..200_000 => 15.0,
                _ => 30.0,
            };
        if bps == 0 {
            *was_on = false;
            return interval;
        }
        if self.pacer.delay() > MAX_BACKLOG {
            return interval;
        }
        let key = if std::mem::replace(was_on, true) { 1.0 } else { 4.0 };
        let mut left = (f64::from(bps) / 8e3 * interval * self.random.random_range(0.6..1.4) * key) as u32;
        let most = packet_size(self.controller.target()) as u32;
        while left > 0 {
            let bytes = left.min(most);
            left -= bytes;
            let now = self.at(ms as f64);
            self.pacer.push(now, Class::Picture, (Packet::Picture, bytes + HEADERS), bytes + HEADERS);
        }
        interval
    }

    fn release(&mut self, ms: u64) {
        while let Some(((packet, bytes), _)) = self.pacer.pop(self.at(ms as f64)) {
            self.leave(ms, packet, bytes);
        }
    }

    /// What arrived is reported, and our report on the other direction, where the same happens, goes through our link.
    /// Returns the time until the next, milliseconds.
    fn report(&mut self, ms: u64) -> u64 {
        let mut arrived: Vec<(u16, f64)> = Vec::new();
        self.arrived.retain(|packet| {
            let is_there = packet.1 <= ms as f64;
            arrived.extend(is_there.then_some(*packet));
            !is_there
        });
        let ahead = |number: u16| number.wrapping_sub(self.next_expected).cast_signed();
        arrived.retain(|(number, _)| ahead(*number) >= 0);
        let Some(last) = arrived.iter().map(|(number, _)| ahead(*number)).max() else { return 50 };
        let arrivals = (0..=last)
            .map(|i| {
                let sequence = self.next_expected.wrapping_add(i.cast_unsigned());
                let at = arrived.iter().find(|(number, _)| *number == sequence);
                Arrival { sequence, at_us: at.map(|(_, at)| (at * 4.0) as i64 * 250) }
            })
            .collect();
        self.next_expected = self.next_expected.wrapping_add(last.cast_unsigned()).wrapping_add(1);
        let queue = (self.free_at - ms as f64).max(0.0);
        self.reports.push_back((ms as f64 + self.link.delay_ms + queue, arrivals));
        self.transmit(ms, 62 + arrived.len() as u32 * 4 / 3 + BELOW_IP);
        match arrived.len() {
            6.. => 50,
            3..6 => 100,
            _ => 150,
        }
    }

    fn reported(&mut self, now: Instant, arrivals: &[Arrival]) {
        let mut outcomes = Vec::new();
        self.history.report(0, arrivals, &mut outcomes);
        self.controller.handle_report(now, &outcomes);
        if self.controller.take_overflow() {
            self.pacer.clear();
        }
        let target = self.controller.target();
        self.pacer.set_rate(pace(target, self.controller.is_limited()));
        let loss = self.controller.loss();
        let demand = Demand { with_picture: self.link.with_picture, with_screen: false, loss, repair: loss };
        self.allocation = self.allocation.divide(target, demand);
        let Allocation { voice, voice_packets, .. } = self.allocation;
        let pairs = self.controller.wants_pairs();
        self.planner.set_budget(VoiceBudget { bitrate: voice, packets: voice_packets, pairs });
    }

    /// A receiver report: how much of the voice was lost.
    fn rtcp(&mut self) {
        let (sent, lost) = (std::mem::take(&mut self.sent_voices), std::mem::take(&mut self.lost_voices));
        let loss = lost as f32 / sent.max(1) as f32;
        self.planner.report(PathReport { loss, ..PathReport::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{audio::mixer::tests::voice, clock};

    #[test]
    fn a_link_that_drops_to_the_voice_alone_carries_it_without_a_queue_soon() {
        let link =
            Link { bps: 64e3, from_ms: 2_000, queue_ms: 300.0, delay_ms: 25.0, loss: 0.0, with_picture: true, seed: 1 };
        let start = clock::now();
        let sound = voice(16 * 48_000);
        let [call, again] = [(); 2].map(|()| run(&sound, link, start).unwrap());
        assert_eq!(call.voice, again.voice, "the same in every run");
        let transit =
            |packet: &IncomingPacket| (packet.arrived - start).as_secs_f64() * 1e3 - f64::from(packet.timestamp) / 48.0;
        let late = call.voice.iter().map(transit).fold(0.0, f64::max);
        assert!(late > 250.0, "the drop fills the queue: {late} ms");
        let steady = call.voice.iter().filter(|packet| packet.arrived > start + Duration::from_secs(8));
        let late = steady.map(transit).fold(0.0, f64::max);
        assert!((60.0..180.0).contains(&late), "{late} ms");
        assert!(call.voice_lost > 0 && call.voice_lost < 60, "{}", call.voice_lost);
    }
}
