//! What a relay adds to a call, and a call that outlives its access to the relay.

use std::{thread, time::Duration};

use parlor_tests::{Nat, clip};
use tempfile::TempDir;

use crate::{
    Options,
    frames::{FrameLog, latencies},
    people::World,
    table::{Goal, Row, quantile},
};

/// The first seconds of a call are left out.
const SETTLING: Duration = Duration::from_secs(5);

/// Access to the relay in the call that outlives it, seconds.
const ACCESS_S: u64 = 30;

/// Longer than the TURN client waits before it renews permissions, which it does with access that has run out.
const LONG_CALL: Duration = Duration::from_secs(150);

/// What one call showed.
struct Call {
    /// Round trips, as RTCP measures them, milliseconds.
    rtts: Vec<f64>,
    /// Capture to shown, both directions.
    latencies: Vec<f64>,
    longest_gap_ms: f64,
    path: String,
}

/// Or why there is nothing to tell of it.
fn call(world: &World, relay: &[&str], length: Duration) -> Result<Call, &'static str> {
    let files = TempDir::new().expect("a temporary directory");
    let file = |name: &str| files.path().join(name);
    clip::write(&file("clip.y4m"), 640, 360, 240).expect("room for a clip");
    let person = |name: &str| {
        let log = file(name);
        world
            .person(name)
            .camera(format!("file:{}", file("clip.y4m").display()))
            .args(["--stats-every", "1", "--frame-log"])
            .args([log])
    };
    let mut pair = world.pair(person("Ann").args(relay.iter().copied()), person("Bob"));
    let path = pair.call().ok_or("it did not connect")?.path;
    thread::sleep(SETTLING + length);
    let settled = SETTLING.as_secs() as usize;
    let told = pair.both().into_iter().flat_map(|side| side.so_far("stats").into_iter().skip(settled));
    let rtts = told.filter_map(|stats| stats["rtt_ms"].as_f64()).collect();
    if !pair.both().into_iter().all(|side| side.so_far("ended").is_empty()) {
        return Err("it ended too early");
    }
    for side in pair.both() {
        side.terminate();
    }
    let logs = ["Ann", "Bob"].map(|name| FrameLog::read(&file(name)));
    let (mut all, mut longest_gap_ms) = (Vec::new(), 0.0_f64);
    for (sender, receiver) in [(&logs[0], &logs[1]), (&logs[1], &logs[0])] {
        let from = receiver.shown.first().ok_or("nothing was shown")?.1 + SETTLING.as_micros() as u64;
        let mut shown: Vec<(u32, u64)> = receiver.shown.iter().copied().filter(|(_, time)| *time >= from).collect();
        shown.dedup_by_key(|(mark, _)| *mark);
        let gaps = shown.windows(2).map(|pair| (pair[1].1 - pair[0].1) as f64 / 1e3);
        longest_gap_ms = gaps.fold(longest_gap_ms, f64::max);
        all.extend(latencies(&sender.captured, &shown));
    }
    Ok(Call { rtts, latencies: all, longest_gap_ms, path })
}

/// A direct call and a relayed one over the same links: the node is on the way of both.
pub(crate) fn measure_delay(options: &Options) -> Vec<Row> {
    let world = World::new([Nat::Cone; 2], [25, 25]);
    let length = Duration::from_secs(options.seconds);
    let (direct, relayed) = (call(&world, &[], length), call(&world, &["--relay", "only"], length));
    let (direct, relayed) = match (direct, relayed) {
        (Ok(direct), Ok(relayed)) => (direct, relayed),
        (direct, relayed) => {
            let why = |call: Result<Call, &str>| call.err().unwrap_or("fine").to_owned();
            let note = format!("the direct call: {}; the relayed one: {}", why(direct), why(relayed));
            return vec![Row::new("delay added by the relay, one way", f64::NAN, "ms", Goal::AtMost(10.0)).note(note)];
        }
    };
    let median = |values: &[f64]| quantile(values, 0.5);
    let rtts =
        format!("RTT {:.1} {}, {:.1} {}", median(&direct.rtts), direct.path, median(&relayed.rtts), relayed.path);
    let shown = format!("capture -> shown {:.1}, {:.1} ms", median(&direct.latencies), median(&relayed.latencies));
    let one_way = (median(&relayed.rtts) - median(&direct.rtts)) / 2.0;
    let glass = median(&relayed.latencies) - median(&direct.latencies);
    vec![
        Row::new(
            "25 + 25 ms: delay added by the relay, one way (half of RTCP's round trip)",
            one_way,
            "ms",
            Goal::AtMost(10.0),
        )
        .note(rtts),
        Row::new("25 + 25 ms: delay added by the relay, capture -> shown", glass, "ms", Goal::AtMost(10.0)).note(shown),
    ]
}

/// A relayed call whose access to the relay runs out, and is renewed, several times.
pub(crate) fn measure_access(_: &Options) -> Vec<Row> {
    let world = World::with([Nat::Symmetric; 2], [12, 13], &["--turn-access-s", &ACCESS_S.to_string()]);
    let (gap, note) = match call(&world, &[], LONG_CALL) {
        Ok(call) => (call.longest_gap_ms, call.path),
        Err(why) => (f64::NAN, why.to_owned()),
    };
    let what =
        format!("relayed call of {} s, access for {ACCESS_S} s: longest time without a picture", LONG_CALL.as_secs());
    vec![Row::new(what, gap, "ms", Goal::AtMost(3000.0)).note(note)]
}
