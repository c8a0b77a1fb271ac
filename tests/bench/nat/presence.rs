//! How soon people see each other come and go, through a node.

use std::{thread, time::Duration};

use parlor_tests::{Event, Nat, SOON, unix_ms};

use crate::{
    Options,
    people::World,
    table::{Goal, Row},
};

/// Each home's link, one way.
const LINK_MS: u32 = 25;

/// From one home to the other, by way of the node.
const ONE_WAY_MS: f64 = 2.0 * LINK_MS as f64;

/// Somebody comes online, stays a while, and leaves: with a goodbye, or without.
pub(crate) fn measure(options: &Options) -> Vec<Row> {
    let world = World::new([Nat::Cone; 2], [LINK_MS; 2]);
    let mut watcher = world.person("Ann").without_media().start(&world.home(0).host);
    watcher.expect_where("node", SOON, |event| event["state"] == "online");
    let [mut online, mut listed, mut left, mut killed] = [const { Vec::new() }; 4];
    for run in 0..options.calls {
        let mut joiner = world.person("Bob").without_media().launch(&world.home(1).host);
        let time = |event: Option<Event>| event.and_then(|event| event["t_ms"].as_f64()).unwrap_or(f64::NAN);
        let signed_on = time(joiner.next_where("node", SOON, |event| event["state"] == "online"));
        joiner.wait_until_ready();
        let id = joiner.id().to_owned();
        let about = |event: &Event| event["peer"] == id;
        online.push(signed_on - joiner.started_ms() as f64);
        listed.push(time(watcher.next_where("peer_online", SOON, about)) - signed_on);
        thread::sleep(Duration::from_secs(1));
        let end = unix_ms() as f64;
        let ends = if run % 2 == 0 {
            joiner.terminate();
            &mut left
        } else {
            joiner.crash();
            &mut killed
        };
        ends.push(time(watcher.next_where("peer_offline", SOON, about)) - end);
    }
    vec![
        Row::median("start -> online through a node, 25 ms one way", &online, "ms", Goal::AtMost(500.0)),
        Row::worst("online -> the other's list, worst", &listed, "ms", Goal::AtMost(200.0 + ONE_WAY_MS)),
        Row::worst("clean offline -> the other's list, worst", &left, "ms", Goal::AtMost(200.0 + ONE_WAY_MS)),
        Row::worst("killed -> the other's list, worst", &killed, "ms", Goal::AtMost(2000.0 + ONE_WAY_MS)),
    ]
}
