use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// Payloads of these tests: the first byte says whether they begin a key frame, the rest is the frame's number.
const KEY: u8 = 1;
const DELTA: u8 = 0;

fn starts_key_frame(packet: &IncomingPacket) -> bool {
    packet.payload[0] == KEY
}

/// A sender, an assembly, and the time.
struct Bench {
    assembly: VideoAssembly,
    now: Instant,
    sequence: u16,
    frames_sent: u32,
}

impl Bench {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "any instant will do")]
        let now = Instant::now();
        Self { assembly: VideoAssembly::new(starts_key_frame), now, sequence: 65_500, frames_sent: 0 }
    }

    /// The packets of the next frame.
    fn frame(&mut self, kind: u8, packets: u16) -> Vec<IncomingPacket> {
        let number = self.frames_sent;
        self.frames_sent += 1;
        let first = self.sequence;
        self.sequence = first.wrapping_add(packets);
        let packet = |index: u16| {
            let kind = if index == 0 { kind } else { DELTA };
            let payload = [&[kind], &number.to_be_bytes()[..]].concat();
            IncomingPacket {
                sequence: first.wrapping_add(index),
                timestamp: number.wrapping_mul(3_000).wrapping_add(u32::MAX - 7_000),
                marker: index + 1 == packets,
                payload: Bytes::from(payload),
                codec: None,
                arrived: self.now,
                captured_unix_us: None,
            }
        };
        (0..packets).map(packet).collect()
    }

    fn receive(&mut self, packets: impl IntoIterator<Item = IncomingPacket>) {
        packets.into_iter().for_each(|packet| self.assembly.handle_packet(self.now, packet));
    }

    /// The numbers of frames that come out now, and whether a key frame is asked for.
    fn poll(&mut self) -> (Vec<u32>, bool) {
        let (mut frames, mut asked) = (Vec::new(), false);
        while let Some(output) = self.assembly.poll(self.now) {
            match output {
                Output::Frame(packets) => {
                    let numbers =
                        packets.iter().map(|packet| u32::from_be_bytes(packet.payload[1..].try_into().unwrap()));
                    let mut numbers: Vec<_> = numbers.collect();
                    numbers.dedup();
                    assert_eq!(numbers.len(), 1, "a frame is made of one frame's packets");
                    assert!(packets.is_sorted_by_key(|packet| packet.sequence.wrapping_sub(65_500)));
                    assert_eq!(packets.iter().filter(|packet| packet.marker).count(), 1);
                    frames.extend(numbers);
                    self.assembly.recycle(packets);
                }
                Output::KeyFrameNeeded => asked = true,
            }
        }
        (frames, asked)
    }

    fn wait(&mut self, ms: u64) -> (Vec<u32>, bool) {
        self.now += Duration::from_millis(ms);
        self.poll()
    }
}

#[test]
fn frames_in_order_go_out_at_once() {
    let mut bench = Bench::new();
    for number in 0..100 {
        let frame = bench.frame(if number == 0 { KEY } else { DELTA }, 3);
        bench.receive(frame);
        assert_eq!(bench.poll(), (vec![number], false));
        assert_eq!(bench.assembly.poll_timeout(), None);
    }
    assert_eq!(bench.assembly.dropped_frames(), 0);
}

#[test]
fn a_missing_packet_holds_frames_back_until_it_comes() {
    let mut bench = Bench::new();
    let key = bench.frame(KEY, 2);
    bench.receive(key);
    assert_eq!(bench.poll().0, [0]);
    let mut broken = bench.frame(DELTA, 3);
    let late = broken.remove(1);
    bench.receive(broken);
    let next = bench.frame(DELTA, 1);
    bench.receive(next);
    assert_eq!(bench.poll(), (vec![], false));
    assert_eq!(bench.wait(90), (vec![], false));
    bench.receive([late]);
    assert_eq!(bench.poll(), (vec![1, 2], false));
}

#[test]
fn a_packet_that_never_comes_costs_a_key_frame_which_is_jumped_to() {
    let mut bench = Bench::new();
    bench.assembly.set_rtt(Duration::from_millis(20));
    let key = bench.frame(KEY, 1);
    bench.receive(key);
    bench.poll();
    let lost = bench.frame(DELTA, 2);
    bench.receive(lost.into_iter().take(1));
    assert_eq!(bench.poll(), (vec![], false));
    assert_eq!(bench.wait(121), (vec![], true));
    let waiting = bench.frame(DELTA, 1);
    bench.receive(waiting);
    assert_eq!(bench.wait(100), (vec![], false), "asked a moment ago");
    assert_eq!(bench.wait(200), (vec![], true), "the request may be lost as well");
    let mut key = bench.frame(KEY, 3);
    let last = key.pop();
    bench.receive(key);
    assert_eq!(bench.poll().0, [0; 0]);
    bench.receive(last);
    assert_eq!(bench.poll(), (vec![3], false));
    assert_eq!(bench.assembly.dropped_frames(), 2);
}

#[test]
fn a_repair_that_comes_before_the_key_frame_is_still_of_use() {
    let mut bench = Bench::new();
    let key = bench.frame(KEY, 1);
    bench.receive(key);
    bench.poll();
    let mut lost = bench.frame(DELTA, 2);
    let late = lost.pop();
    bench.receive(lost);
    bench.poll();
    assert!(bench.wait(500).1);
    bench.receive(late);
    assert_eq!(bench.poll(), (vec![1], false));
}

#[test]
fn patience_follows_the_round_trip_time_within_bounds() {
    assert_eq!(patience(Duration::ZERO, 0.0), Duration::from_millis(100));
    assert_eq!(patience(Duration::from_millis(100), 0.0), Duration::from_millis(280));
    assert_eq!(patience(Duration::from_secs(9), 0.0), Duration::from_millis(600));
}

#[test]
fn the_beginning_may_come_out_of_order() {
    let mut bench = Bench::new();
    let mut packets = bench.frame(KEY, 4);
    packets.reverse();
    bench.receive(packets);
    assert_eq!(bench.poll().0, [0]);
}

#[test]
fn a_stream_joined_in_the_middle_asks_for_a_key_frame_and_shows_nothing_before() {
    let mut bench = Bench::new();
    let delta = bench.frame(DELTA, 2);
    bench.receive(delta);
    assert_eq!(bench.poll(), (vec![], false), "the key frame may be on its way");
    assert_eq!(bench.wait(200), (vec![], true));
    let key = bench.frame(KEY, 2);
    bench.receive(key);
    assert_eq!(bench.poll().0, [1]);
}

#[test]
fn after_a_decoder_error_only_a_key_frame_goes_out() {
    let mut bench = Bench::new();
    let key = bench.frame(KEY, 1);
    bench.receive(key);
    bench.poll();
    bench.assembly.break_chain(bench.now);
    assert_eq!(bench.poll(), (vec![], true));
    let delta = bench.frame(DELTA, 1);
    bench.receive(delta);
    assert_eq!(bench.poll(), (vec![], false));
    let key = bench.frame(KEY, 1);
    bench.receive(key);
    assert_eq!(bench.poll(), (vec![2], false));
}

#[test]
fn padding_between_frames_is_no_frame_and_no_hole() {
    let mut bench = Bench::new();
    let key = bench.frame(KEY, 1);
    bench.receive(key);
    bench.poll();
    let mut padding = bench.frame(DELTA, 1);
    (padding[0].payload, padding[0].marker) = (Bytes::new(), false);
    bench.receive(padding);
    let next = bench.frame(DELTA, 1);
    bench.receive(next);
    assert_eq!(bench.poll().0, [2]);
}

#[test]
fn a_sender_without_markers_ends_frames_with_the_next_timestamp() {
    let mut bench = Bench::new();
    let mut packets = bench.frame(KEY, 2);
    packets[1].marker = false;
    bench.receive(packets);
    assert!(bench.poll().0.is_empty());
    let next = bench.frame(DELTA, 1);
    bench.receive(next);
    assert!(matches!(bench.assembly.poll(bench.now), Some(Output::Frame(packets)) if packets.len() == 2));
}

#[test]
fn a_sender_that_jumps_in_sequence_is_followed_in_both_directions() {
    for jump in [10_000, 40_000_u16] {
        let mut bench = Bench::new();
        let key = bench.frame(KEY, 1);
        bench.receive(key);
        bench.poll();
        bench.sequence = bench.sequence.wrapping_add(jump);
        let delta = bench.frame(DELTA, 1);
        bench.receive(delta);
        assert_eq!(bench.poll(), (vec![], true), "{jump}");
        let key = bench.frame(KEY, 1);
        bench.receive(key);
        assert!(bench.poll().0 == [2], "{jump}");
    }
}

#[test]
fn what_never_completes_is_bounded() {
    let mut bench = Bench::new();
    let key = bench.frame(KEY, 1);
    bench.receive(key);
    bench.poll();
    bench.frame(DELTA, 1);
    for _ in 0..5_000 {
        let packet = bench.frame(DELTA, 1);
        bench.receive(packet);
        bench.wait(1);
        assert!(bench.assembly.window.len() <= MAX_PACKETS);
    }
    let huge = IncomingPacket { payload: vec![0; 60_000].into(), ..bench.frame(DELTA, 1).remove(0) };
    for index in 0..500_u16 {
        bench.receive([IncomingPacket { sequence: huge.sequence.wrapping_add(index), marker: false, ..huge.clone() }]);
        assert!(bench.assembly.bytes <= MAX_BYTES);
    }
}

/// What the network does to a packet: comes after so many others, twice, or never at first and late as a repair.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Delayed(usize),
    Doubled(usize),
    Repaired(usize),
    Lost,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        8 => (0..4_usize).prop_map(Fate::Delayed),
        1 => (0..30_usize).prop_map(Fate::Doubled),
        2 => (5..40_usize).prop_map(Fate::Repaired),
        1 => Just(Fate::Lost),
    ]
}

proptest! {
    /// Whatever the network does, frames come out in order and once, what a delta frame refers to came out before it,
    /// and a stream that goes on is shown again after a key frame.
    #[test]
    fn any_network_leaves_order_and_references_intact(fates in prop::collection::vec(fate(), 300)) {
        let mut bench = Bench::new();
        // (time slot, packet): three packets a frame, a slot each.
        let mut wire = Vec::new();
        let mut key_frames = vec![];
        let mut fates = fates.into_iter().enumerate();
        for number in 0..100_u32 {
            let kind = if number % 25 == 0 { KEY } else { DELTA };
            if kind == KEY {
                key_frames.push(number);
            }
            for packet in bench.frame(kind, 3) {
                let (slot, fate) = fates.next().unwrap();
                match fate {
                    Fate::Delayed(by) | Fate::Repaired(by) => wire.push((slot + by, packet)),
                    Fate::Doubled(by) => wire.extend([(slot, packet.clone()), (slot + by, packet)]),
                    Fate::Lost => {}
                }
            }
        }
        wire.sort_by_key(|(slot, _)| *slot);
        let mut shown: Vec<u32> = Vec::new();
        let mut asked = false;
        let mut slots = 0;
        for (slot, packet) in wire {
            let passed = slot - std::mem::replace(&mut slots, slot);
            bench.now += Duration::from_millis(11) * passed as u32;
            bench.receive([packet]);
            let (frames, ask) = bench.poll();
            shown.extend(frames);
            asked |= ask;
        }
        for pair in shown.windows(2) {
            prop_assert!(pair[0] < pair[1], "in order and once: {shown:?}");
            prop_assert!(pair[1] == pair[0] + 1 || key_frames.contains(&pair[1]), "gaps end with key frames: {shown:?}");
        }
        prop_assert!(shown.first().is_none_or(|first| key_frames.contains(first)));
        if shown.len() < 100 && shown.last() != Some(&99) {
            bench.now += Duration::from_secs(1);
            prop_assert!(asked | bench.poll().1 || bench.assembly.window.is_empty());
        }
        // The request is answered: the next key frame, whole, goes out.
        bench.now += Duration::from_secs(1);
        let rest = bench.poll().0;
        let key = bench.frame(KEY, 3);
        bench.receive(key);
        let last = bench.poll().0;
        prop_assert!(rest.iter().chain(&last).last() == Some(&100), "{shown:?} {rest:?} {last:?}");
    }
}
