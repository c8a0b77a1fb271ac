//! How soon people see each other come and go.

use std::{thread, time::Duration};

use parlor_tests::{Event, Lan, Peer, SOON, unix_ms};

use crate::{
    options::Options,
    table::{Goal, Row, quantile},
};

/// How long somebody stays: long enough that every connection to them has carried its first heartbeat.
const STAY: Duration = Duration::from_secs(2);

/// A third person joins two others and leaves in one of three ways, again and again.
pub(crate) fn measure(options: &Options) -> Vec<Row> {
    let lan = Lan::new(3);
    let mut others = [0, 1].map(|host| Peer::named(format!("Other {host}")).without_media().start(&lan[host]));
    let mut seen = Vec::new();
    let mut gone = [const { Vec::new() }; 3];
    for run in 0..options.runs {
        let mut joiner = Peer::named("Joiner").without_media().launch(&lan[2]);
        joiner.wait_until_ready();
        let id = joiner.id().to_owned();
        seen.push(last_to_say(&mut others, "peer_online", &id).map_or(f64::NAN, |t| t - joiner.started_ms() as f64));

        thread::sleep(STAY);
        let left = unix_ms() as f64;
        match run % 3 {
            0 => drop(joiner.terminate()),
            1 => joiner.crash(),
            _ => lan[2].cut(),
        }
        gone[run % 3].push(last_to_say(&mut others, "peer_offline", &id).map_or(f64::NAN, |t| t - left));
        lan[2].mend();
    }
    let seen_p95 = quantile(&seen, 0.95);
    let [goodbye, kill, cable] = gone;
    vec![
        Row::median("start -> seen by both others, p50", &seen, "ms", Goal::AtMost(300.0)),
        Row::new("start -> seen by both others, p95", seen_p95, "ms", Goal::AtMost(1000.0)),
        Row::worst("goodbye -> gone from both lists, worst", &goodbye, "ms", Goal::AtMost(300.0)),
        Row::worst("kill -9 -> gone from both lists, worst", &kill, "ms", Goal::AtMost(2000.0)),
        Row::worst("cable pulled -> gone from both lists, worst", &cable, "ms", Goal::AtMost(3000.0)),
    ]
}

/// When the last of them said so.
fn last_to_say(others: &mut [Peer], event: &str, about: &str) -> Option<f64> {
    let about_them = |event: &Event| event["peer"] == about;
    let times = others.iter_mut().map(|other| {
        let event = other.next_where(event, SOON + Duration::from_secs(30), about_them)?;
        event["t_ms"].as_f64()
    });
    times.collect::<Option<Vec<f64>>>().map(|times| quantile(&times, 1.0))
}
