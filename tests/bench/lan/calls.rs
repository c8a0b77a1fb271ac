//! How soon calls stand, how clean they end, and what many of them leave behind.

use std::{thread, time::Duration};

use parlor_tests::{Event, Impairment, Lan, Peer, SOON, unix_ms, usage::Usage};
use serde_json::json;

use crate::{
    options::Options,
    table::{Goal, Row},
};

/// Two people with the clip for a camera, who see each other.
fn two_people(lan: &Lan, options: &Options) -> [Peer; 2] {
    let clip = format!("file:{}", options.clip.display());
    let mut people = [("Ann", 0), ("Bob", 1)].map(|(name, host)| Peer::named(name).camera(&clip).start(&lan[host]));
    for person in &mut people {
        person.expect("peer_online", SOON);
    }
    people
}

/// What one call took, milliseconds.
struct Times {
    to_ringing: f64,
    to_pictures: f64,
    to_dark: Vec<f64>,
}

/// Calls, accepts at once, waits for the pictures, and hangs up.
fn one_call([caller, callee]: &mut [Peer; 2]) -> Option<Times> {
    let clicked = unix_ms() as f64;
    caller.call(callee);
    let rings = callee.next_where("ringing", SOON, |event| event["incoming"] == true)?;
    let same = |event: &Event| event["call"] == rings["call"];
    let accepted = unix_ms() as f64;
    callee.tell(&json!({ "do": "accept" }));
    let mut pictures: f64 = 0.0;
    for side in [&mut *caller, &mut *callee] {
        pictures = pictures.max(side.next_where("first_video_frame", SOON, same)?["t_ms"].as_f64()?);
    }
    caller.tell(&json!({ "do": "hangup" }));
    let mut to_dark = Vec::new();
    for side in [&mut *caller, &mut *callee] {
        side.next_where("ended", SOON, same)?;
        to_dark.push(side.next_where("devices_closed", SOON, same)?["after_ms"].as_f64()?);
    }
    Some(Times { to_ringing: rings["t_ms"].as_f64()? - clicked, to_pictures: pictures - accepted, to_dark })
}

/// Click to ringing, and acceptance to the first picture on both sides.
pub(crate) fn measure_setup(options: &Options) -> Vec<Row> {
    let lan = Lan::new(2);
    let mut people = two_people(&lan, options);
    let times: Vec<Times> = (0..options.calls).filter_map(|_| one_call(&mut people)).collect();
    let _wire = lan[0].impair(Impairment { delay_ms: 25, loss_percent: 5.0, ..Impairment::default() });
    let on_bad_link = (0..options.calls).filter_map(|_| one_call(&mut people)).count();
    let column = |of: fn(&Times) -> f64| times.iter().map(of).collect::<Vec<f64>>();
    let to_pictures = column(|times| times.to_pictures);
    let to_dark: Vec<f64> = times.iter().flat_map(|times| times.to_dark.clone()).collect();
    vec![
        Row::median("click -> ringing there", &column(|times| times.to_ringing), "ms", Goal::AtMost(100.0)),
        Row::median("accept -> first picture on both sides", &to_pictures, "ms", Goal::AtMost(150.0)),
        Row::median("the same, next to the browser", &to_pictures, "ms", Goal::OfBrowser(0.5, "set-up ms")),
        Row::new("calls that connect", times.len() as f64, "", Goal::AtLeast(options.calls as f64))
            .note(format!("of {}", options.calls)),
        Row::new("calls that connect at 5 % loss, 25 ms", on_bad_link as f64, "", Goal::AtLeast(options.calls as f64))
            .note(format!("of {}", options.calls)),
        Row::median("hang up -> devices closed (clip for a camera)", &to_dark, "ms", Goal::AtMost(500.0)),
    ]
}

/// Files, threads and memory after many calls, next to those after the fifth.
pub(crate) fn measure_repeated(options: &Options) -> Vec<Row> {
    const FIRST: usize = 5;
    let lan = Lan::new(2);
    let mut people = two_people(&lan, options);
    let mut connected = 0;
    let mut call_until = |people: &mut [Peer; 2], count: usize| {
        while connected < count && one_call(people).is_some() {
            connected += 1;
        }
        // Buffers and ports of the last call go a little after it.
        thread::sleep(Duration::from_secs(3));
        (connected, people.each_ref().map(Peer::usage))
    };
    let (_, first) = call_until(&mut people, FIRST);
    let (count, last) = call_until(&mut people, options.repeats);

    let mut rows = vec![
        Row::new("calls one after another", count as f64, "", Goal::AtLeast(options.repeats as f64))
            .note(format!("of {}", options.repeats)),
    ];
    type Column = (&'static str, fn(&Usage) -> f64);
    let columns: [Column; 3] =
        [("fds", |usage| usage.fds as f64), ("threads", |usage| usage.threads as f64), ("RSS", |usage| usage.rss_mib)];
    for (name, of) in columns {
        let change = |side: usize| (of(&last[side]) / of(&first[side]) - 1.0) * 100.0;
        let worst = change(0).max(change(1));
        let note = format!(
            "caller {:.0} -> {:.0}, called {:.0} -> {:.0}",
            of(&first[0]),
            of(&last[0]),
            of(&first[1]),
            of(&last[1])
        );
        let what = format!("{name} after call {count}, next to call {FIRST}");
        rows.push(Row::new(what, worst, "% more", Goal::AtMost(5.0)).note(note));
    }
    rows
}
