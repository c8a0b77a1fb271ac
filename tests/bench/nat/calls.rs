//! Which homes reach each other, by which path, and how soon.

use parlor_tests::Nat;

use crate::{
    Options,
    people::{Times, World},
    table::{Goal, Row, quantile},
};

/// 25 ms one way from home to home, by way of the node as well.
const BETWEEN_HOMES: [u32; 2] = [12, 13];

/// 25 ms one way on each home's link: 50 between them.
const EACH_LINK: [u32; 2] = [25, 25];

/// Calls of a pair of processes before it is replaced by a new one.
const CALLS_OF_A_PAIR: usize = 5;

/// Click to ringing, and acceptance to the first picture on both sides.
pub(crate) fn measure_setup(options: &Options) -> Vec<Row> {
    let mut rows = Vec::new();
    for (how, nats) in [("direct", [Nat::Cone; 2]), ("relayed", [Nat::Symmetric; 2])] {
        for (delay, delays_ms) in [("25 ms between the homes", BETWEEN_HOMES), ("25 ms on each link", EACH_LINK)] {
            let times = calls(nats, delays_ms, options.calls);
            let column = |of: fn(&Times) -> f64| times.iter().map(of).collect::<Vec<f64>>();
            let what = |figure: &str| format!("{how}, {delay}: {figure}");
            let (ringing, pictures) = (column(|times| times.to_ringing), column(|times| times.to_pictures));
            rows.push(Row::median(what("click -> ringing"), &ringing, "ms", Goal::AtMost(250.0)));
            rows.push(Row::median(what("accept -> first picture on both sides"), &pictures, "ms", Goal::AtMost(600.0)));
        }
    }
    rows
}

/// Every pairing of NATs.
pub(crate) fn measure_pairings(options: &Options) -> Vec<Row> {
    let pairings = [
        ("cone - cone", [Nat::Cone, Nat::Cone], "direct"),
        ("cone - symmetric", [Nat::Cone, Nat::Symmetric], "relayed"),
        ("symmetric - symmetric", [Nat::Symmetric, Nat::Symmetric], "relayed"),
        ("UDP blocked on one side", [Nat::NoUdp, Nat::Cone], "relayed"),
        ("UDP blocked on both", [Nat::NoUdp, Nat::NoUdp], "relayed"),
    ];
    let row = |(pairing, nats, expected): (&str, [Nat; 2], &str)| {
        let times = calls(nats, BETWEEN_HOMES, options.calls);
        let as_expected = times.iter().filter(|times| times.path == expected).count();
        let pictures: Vec<f64> = times.iter().map(|times| times.to_pictures).collect();
        let note = format!(
            "of {}, {as_expected} {expected}; accept -> pictures p50 {:.0}, max {:.0} ms",
            options.calls,
            quantile(&pictures, 0.5),
            quantile(&pictures, 1.0)
        );
        let connected = times.len() as f64;
        Row::new(format!("{pairing}: calls that connect"), connected, "", Goal::AtLeast(options.calls as f64))
            .note(note)
    };
    pairings.map(row).into()
}

/// Those of so many calls that connect.
fn calls(nats: [Nat; 2], delays_ms: [u32; 2], count: usize) -> Vec<Times> {
    let world = World::new(nats, delays_ms);
    let mut times = Vec::new();
    for first in (0..count).step_by(CALLS_OF_A_PAIR) {
        let mut pair = world.ann_and_bob();
        for _ in first..count.min(first + CALLS_OF_A_PAIR) {
            let Some(call) = pair.call() else { break };
            times.push(call);
            if pair.hang_up().is_none() {
                break;
            }
        }
    }
    times
}
