//! A link in a box: a bottleneck with a drop-tail queue, delay, jitter and losses, and who shares it. Deterministic from
//! its seed; time is virtual.

mod tests;

use std::{
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use super::{Arrival, Bitrate, Class, Controller, HEADERS, History, Outcome, Pacer, pace, packet_size};

pub(super) const MS: i64 = 1_000;
pub(super) const SECOND: i64 = 1_000_000;

/// What the link is like. Times in microseconds.
#[derive(Clone)]
pub(super) struct Link {
    /// Bits per second from these times on.
    pub(super) capacity: Vec<(i64, f64)>,
    /// Of the bottleneck, as time at its rate.
    pub(super) queue: i64,
    /// One way.
    pub(super) delay: i64,
    /// It becomes longer by so much at that time.
    pub(super) detour: (i64, i64),
    /// Standard deviation of an extra delay with a memory of 50 ms; packets stay in order.
    pub(super) jitter: f64,
    /// Part of packets, independently.
    pub(super) loss: f64,
    /// Part of packets, and the mean number that are lost together (Gilbert).
    pub(super) bursts: Option<(f64, f64)>,
    pub(super) seed: u64,
    /// The second flow goes the other way, through a queue of its own, and with it the reports on the first.
    pub(super) two_way: bool,
}

impl Link {
    pub(super) fn of(bps: f64) -> Self {
        Self {
            capacity: vec![(0, bps)],
            queue: 300 * MS,
            delay: 25 * MS,
            detour: (0, 0),
            jitter: 0.0,
            loss: 0.0,
            bursts: None,
            seed: 1,
            two_way: false,
        }
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }
}

/// Who sends.
pub(super) enum Flow {
    Call(Box<Call>),
    Tcp(Tcp),
}

/// A call: voice and pictures under our control.
pub(super) struct Call {
    pub(super) starts: i64,
    controller: Controller,
    history: History,
    pacer: Pacer<(Class, u32)>,
    /// What the far end has not reported yet.
    arrived: Vec<(u16, i64)>,
    next_expected: u16,
    /// Bytes of the picture's packets, to be handed to the pacer.
    frames: i64,
    /// When a packet was last sent to measure the path.
    probed: i64,
    /// The picture needs no more than this, bits per second.
    pub(super) demand: f64,
}

/// A download: Reno's congestion avoidance with Cubic's back-off.
pub(super) struct Tcp {
    pub(super) starts: i64,
    window: f64,
    threshold: f64,
    in_flight: f64,
    recovering_until: i64,
    beta: f64,
}

impl Flow {
    pub(super) fn call(starts: i64) -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let epoch = Instant::now();
        Self::Call(Box::new(Call {
            starts,
            controller: Controller::new(epoch, Bitrate::from_bps(1_500_000), Bitrate::from_bps(2_700_000)),
            history: History::new(65_000),
            pacer: Pacer::new(pace(Bitrate::from_bps(1_500_000), false)),
            arrived: Vec::new(),
            next_expected: 65_000,
            frames: 0,
            probed: 0,
            demand: f64::INFINITY,
        }))
    }

    pub(super) fn tcp(starts: i64) -> Self {
        Self::Tcp(Tcp {
            starts,
            window: 14_600.0,
            threshold: f64::INFINITY,
            in_flight: 0.0,
            recovering_until: 0,
            beta: 0.7,
        })
    }
}

impl Call {
    fn is_blocked(&self, now: Instant) -> bool {
        self.controller.is_blocked(now, &self.history)
    }
}

enum Event {
    Check(usize),
    Frame(usize),
    Voice(usize),
    Release(usize),
    Report(usize),
    Reported(usize, Vec<Arrival>, i64),
    TcpSend(usize),
    TcpAck(usize, u32),
    TcpLost(usize, u32),
}

/// What happened in a second... of a flow, by the time of arrival.
pub(super) struct Log {
    /// When, how long in queue and jitter, bytes, of which flow and class.
    pub(super) arrivals: Vec<(i64, i64, u32, usize, Class)>,
    /// When, which flow, bits per second.
    pub(super) targets: Vec<(i64, usize, f64)>,
    /// When, which flow, bytes: what left.
    pub(super) sent: Vec<(i64, usize, u32)>,
    /// When a picture began anew, of which flow.
    pub(super) begun: Vec<(i64, usize)>,
    pub(super) lost: usize,
}

impl Log {
    /// Bits per second that arrived of a flow.
    pub(super) fn bps(&self, flow: usize, from: i64, to: i64) -> f64 {
        let within = self.arrivals.iter().filter(|(at, _, _, of, _)| *of == flow && (from..to).contains(at));
        within.map(|(_, _, bytes, _, _)| f64::from(*bytes) * 8.0).sum::<f64>() / ((to - from) as f64 / 1e6)
    }

    /// Bits per second that left.
    pub(super) fn sent_bps(&self, flow: usize, from: i64, to: i64) -> f64 {
        let within = self.sent.iter().filter(|(at, of, _)| *of == flow && (from..to).contains(at));
        within.map(|(_, _, bytes)| f64::from(*bytes) * 8.0).sum::<f64>() / ((to - from) as f64 / 1e6)
    }

    /// Of the time that packets waited in the bottleneck, milliseconds, the given part is shorter.
    pub(super) fn queue_ms(&self, from: i64, to: i64, part: f64) -> f64 {
        let mut waits: Vec<i64> =
            self.arrivals.iter().filter(|(at, ..)| (from..to).contains(at)).map(|(_, wait, ..)| *wait).collect();
        waits.sort_unstable();
        let index = ((waits.len() as f64 - 1.0) * part) as usize;
        waits.get(index).map_or(0.0, |wait| *wait as f64 / 1e3)
    }

    /// The longest time without a packet of the picture, milliseconds.
    pub(super) fn freeze_ms(&self, flow: usize, from: i64, to: i64) -> f64 {
        let mut last = from;
        let mut longest = 0;
        for (at, _, _, of, class) in &self.arrivals {
            if *of == flow && *class == Class::Picture && (from..to).contains(at) {
                longest = longest.max(at - last);
                last = *at;
            }
        }
        longest.max(to - last) as f64 / 1e3
    }

    pub(super) fn target(&self, flow: usize, at: i64) -> f64 {
        self.targets.iter().rev().find(|(time, of, _)| *of == flow && *time <= at).map_or(0.0, |(_, _, bps)| *bps)
    }
}

/// A picture that can't have so much pauses.
const PAUSE: f64 = 30_000.0;

/// How often it is looked whether reports fail to come.
const CHECK: i64 = 100 * MS;

/// Headers of a packet below RTP: SRTP's tag, UDP, IPv4, Ethernet.
fn voice_bytes(target: Bitrate) -> u32 {
    let payload = match target.as_bps() {
        ..62_000 => 40,
        62_000..80_000 => 60,
        _ => 80,
    };
    payload + 16 + 16 + 10 + 28 + 14
}

pub(super) struct Simulation {
    link: Link,
    flows: Vec<Flow>,
    random: Random,
    epoch: Instant,
    now: i64,
    /// By time, then in the order of scheduling.
    agenda: BinaryHeap<std::cmp::Reverse<(i64, u64)>>,
    events: std::collections::HashMap<u64, Event>,
    scheduled: u64,
    ways: [Way; 2],
    log: Log,
}

/// One way over the link.
#[derive(Clone, Copy, Default)]
struct Way {
    /// When the bottleneck has sent all that is in it.
    free_at: i64,
    jitter: (i64, f64),
    last_arrival: i64,
    in_burst: bool,
}

/// A report on some packets, with its headers.
const REPORT_BYTES: u32 = 110;

impl Simulation {
    pub(super) fn run(link: Link, flows: Vec<Flow>, seconds: i64) -> Log {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let epoch = Instant::now();
        let random = Random(link.seed);
        let mut this = Self {
            link,
            flows,
            random,
            epoch,
            now: 0,
            agenda: BinaryHeap::new(),
            events: std::collections::HashMap::new(),
            scheduled: 0,
            ways: [Way::default(); 2],
            log: Log { arrivals: Vec::new(), targets: Vec::new(), sent: Vec::new(), begun: Vec::new(), lost: 0 },
        };
        for index in 0..this.flows.len() {
            match &mut this.flows[index] {
                Flow::Call(call) => {
                    let starts = call.starts;
                    call.controller = Controller::new(
                        epoch + Duration::from_micros(starts as u64),
                        Bitrate::from_bps(1_500_000),
                        Bitrate::from_bps(2_700_000),
                    );
                    for event in [Event::Check(index), Event::Frame(index), Event::Voice(index), Event::Report(index)] {
                        this.at(starts, event);
                    }
                }
                Flow::Tcp(tcp) => {
                    let starts = tcp.starts;
                    this.at(starts, Event::TcpSend(index));
                }
            }
        }
        while let Some(std::cmp::Reverse((at, id))) = this.agenda.pop() {
            if at > seconds * SECOND {
                break;
            }
            this.now = at;
            if let Some(event) = this.events.remove(&id) {
                this.handle(event);
            }
        }
        this.log.arrivals.sort_by_key(|(at, ..)| *at);
        this.log
    }

    fn at(&mut self, at: i64, event: Event) {
        self.scheduled += 1;
        self.agenda.push(std::cmp::Reverse((at, self.scheduled)));
        self.events.insert(self.scheduled, event);
    }

    fn instant(&self) -> Instant {
        self.epoch + Duration::from_micros(self.now as u64)
    }

    fn capacity(&self) -> f64 {
        self.link.capacity.iter().rev().find(|(from, _)| *from <= self.now).map_or(1e9, |(_, bps)| *bps)
    }

    /// Which way a flow goes.
    fn way(&self, flow: usize) -> usize {
        usize::from(self.link.two_way) * flow
    }

    /// When a packet arrives and how long it waits in the bottleneck; `None`: never.
    fn transmit(&mut self, way: usize, bytes: u32) -> Option<(i64, i64)> {
        let capacity = self.capacity();
        let way = &mut self.ways[way];
        let wait = (way.free_at - self.now).max(0);
        if wait > self.link.queue {
            return None;
        }
        way.free_at = way.free_at.max(self.now) + (f64::from(bytes) * 8e6 / capacity) as i64;
        if self.random.uniform() < self.link.loss {
            return None;
        }
        if let Some((part, length)) = self.link.bursts {
            let (begin, end) = (part / (length * (1.0 - part)), 1.0 / length);
            way.in_burst = self.random.uniform() < if way.in_burst { 1.0 - end } else { begin };
            if way.in_burst {
                return None;
            }
        }
        let detour = if self.now >= self.link.detour.0 { self.link.detour.1 } else { 0 };
        let mut arrival = way.free_at + self.link.delay + detour;
        if self.link.jitter > 0.0 {
            let (last, value) = way.jitter;
            let memory = (-((self.now - last) as f64) / 50_000.0).exp();
            let value = value * memory + self.random.normal() * (1.0 - memory * memory).sqrt();
            way.jitter = (self.now, value);
            arrival += (value * self.link.jitter).max(-(self.link.delay as f64)) as i64;
            way.last_arrival = way.last_arrival.max(arrival);
            arrival = way.last_arrival;
        }
        Some((arrival, way.free_at - self.now))
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Check(flow) => {
                let now = self.instant();
                let Flow::Call(call) = &mut self.flows[flow] else { return };
                call.controller.handle_timeout(now, call.history.waiting_since(call.controller.last_report()));
                self.at(self.now + CHECK, Event::Check(flow));
            }
            Event::Frame(flow) => {
                let (size, random) = (self.now, self.random.uniform());
                let now = self.instant();
                let Flow::Call(call) = &mut self.flows[flow] else { return };
                let voice = f64::from(voice_bytes(call.controller.target())) * 8.0 * 50.0;
                let picture = (f64::from(call.controller.target().as_bps()) - voice).min(call.demand);
                call.frames += 1;
                // A picture that can't have 40 kbit/s pauses; a queue in the pacer leaves frames out.
                if picture > PAUSE && call.pacer.delay() < Duration::from_millis(60) && !call.is_blocked(now) {
                    let key = if call.frames == 1 { 4.0 } else { 1.0 };
                    let most = packet_size(call.controller.target()) as u32;
                    let picture = picture * f64::from(most) / f64::from(most + HEADERS);
                    let mut left = (picture / 8.0 / 30.0 * (0.7 + 0.6 * random) * key) as u32;
                    while left > 0 {
                        let bytes = left.min(most);
                        left -= bytes;
                        let bytes = bytes + HEADERS;
                        call.pacer.push(now, Class::Picture, (Class::Picture, bytes), bytes);
                    }
                }
                self.release(flow);
                self.at(size + SECOND / 30, Event::Frame(flow));
            }
            Event::Voice(flow) => {
                let now = self.instant();
                let Flow::Call(call) = &mut self.flows[flow] else { return };
                let bytes = voice_bytes(call.controller.target());
                if let Some((class, bytes)) = call.pacer.push(now, Class::Voice, (Class::Voice, bytes), bytes) {
                    let sequence = call.history.send(now, bytes);
                    let paused = f64::from(call.controller.target().as_bps()) - f64::from(bytes) * 400.0 <= PAUSE;
                    let probe = (paused && self.now > call.probed + SECOND / 2).then(|| {
                        call.probed = self.now;
                        call.history.send(now, 300)
                    });
                    self.send(flow, sequence, class, bytes);
                    if let Some(sequence) = probe {
                        self.send(flow, sequence, Class::Repair, 300);
                    }
                }
                self.at(self.now + 20 * MS, Event::Voice(flow));
            }
            Event::Release(flow) => self.release(flow),
            Event::Report(flow) => {
                let is_lost = self.link.loss > 0.0 && self.random.uniform() < self.link.loss;
                let Flow::Call(call) = &mut self.flows[flow] else { return };
                let due = call.arrived.iter().filter(|(_, at)| *at <= self.now).count();
                if due > 0 {
                    call.arrived.sort_by_key(|(_, at)| *at);
                    let arrived: Vec<_> = call.arrived.drain(..due).collect();
                    let ahead = |sequence: u16| sequence.wrapping_sub(call.next_expected).cast_signed();
                    let last = arrived.iter().map(|(sequence, _)| ahead(*sequence)).max().unwrap_or(0);
                    let arrivals = (0..=last.max(0))
                        .map(|i| {
                            let sequence = call.next_expected.wrapping_add(i as u16);
                            let at_us = arrived.iter().find(|(got, _)| *got == sequence).map(|(_, at)| at / 250 * 250);
                            Arrival { sequence, at_us }
                        })
                        .collect();
                    call.next_expected = call.next_expected.wrapping_add(last.max(-1).wrapping_add(1) as u16);
                    let back = if self.link.two_way {
                        self.transmit(1 - self.way(flow), REPORT_BYTES).map(|(arrival, _)| arrival)
                    } else {
                        (!is_lost).then_some(self.now + self.link.delay)
                    };
                    if let Some(back) = back {
                        self.at(back, Event::Reported(flow, arrivals, 0));
                    }
                }
                self.at(self.now + 50 * MS, Event::Report(flow));
            }
            Event::Reported(flow, arrivals, reference) => {
                let now = self.instant();
                let Flow::Call(call) = &mut self.flows[flow] else { return };
                let mut outcomes = Vec::new();
                call.history.report(reference, &arrivals, &mut outcomes);
                call.controller.handle_report(now, &outcomes);
                if call.controller.take_overflow() {
                    call.pacer.clear();
                    call.history.give_up();
                    self.log.begun.push((self.now, flow));
                }
                call.pacer.set_rate(pace(call.controller.target(), call.controller.is_limited()));
                let target = f64::from(call.controller.target().as_bps());
                self.log.targets.push((self.now, flow, target));
                self.release(flow);
            }
            Event::TcpSend(flow) => {
                let Flow::Tcp(tcp) = &mut self.flows[flow] else { return };
                let count = ((tcp.window - tcp.in_flight) / 1_514.0).floor().clamp(0.0, 10.0) as u32;
                tcp.in_flight += f64::from(count) * 1_514.0;
                for _ in 0..count {
                    match self.transmit(self.way(flow), 1_514) {
                        Some((arrival, wait)) => {
                            self.log.arrivals.push((arrival, wait, 1_514, flow, Class::Repair));
                            self.at(arrival + self.link.delay, Event::TcpAck(flow, 1_514));
                        }
                        None => {
                            let noticed = self.ways[self.way(flow)].free_at + 2 * self.link.delay;
                            self.at(noticed, Event::TcpLost(flow, 1_514));
                        }
                    }
                }
            }
            Event::TcpAck(flow, bytes) => {
                let Flow::Tcp(tcp) = &mut self.flows[flow] else { return };
                tcp.in_flight -= f64::from(bytes);
                let grow = if tcp.window < tcp.threshold { 1_514.0 } else { 1_514.0 * 1_514.0 / tcp.window };
                tcp.window += grow;
                let now = self.now;
                self.at(now, Event::TcpSend(flow));
            }
            Event::TcpLost(flow, bytes) => {
                let rtt = 2 * self.link.delay + self.link.queue;
                let now = self.now;
                let Flow::Tcp(tcp) = &mut self.flows[flow] else { return };
                tcp.in_flight -= f64::from(bytes);
                if now > tcp.recovering_until {
                    tcp.window = (tcp.window * tcp.beta).max(3_000.0);
                    tcp.threshold = tcp.window;
                    tcp.recovering_until = now + rtt;
                }
                self.at(now, Event::TcpSend(flow));
            }
        }
    }

    fn release(&mut self, flow: usize) {
        let now = self.instant();
        loop {
            let Flow::Call(call) = &mut self.flows[flow] else { return };
            if call.is_blocked(now) {
                // Until the next report.
                return;
            }
            let Some(((class, _), bytes)) = call.pacer.pop(now) else { break };
            let sequence = call.history.send(now, bytes);
            self.send(flow, sequence, class, bytes);
        }
        let Flow::Call(call) = &self.flows[flow] else { return };
        if let Some(deadline) = call.pacer.deadline() {
            let at = deadline.saturating_duration_since(self.epoch).as_micros() as i64;
            self.at(at.max(self.now + MS), Event::Release(flow));
        }
    }

    fn send(&mut self, flow: usize, sequence: u16, class: Class, bytes: u32) {
        self.log.sent.push((self.now, flow, bytes));
        match self.transmit(self.way(flow), bytes) {
            Some((arrival, wait)) => {
                self.log.arrivals.push((arrival, wait, bytes, flow, class));
                let Flow::Call(call) = &mut self.flows[flow] else { return };
                call.arrived.push((sequence, arrival));
            }
            None => self.log.lost += 1,
        }
    }
}
