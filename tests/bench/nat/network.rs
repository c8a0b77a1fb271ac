//! A change of network in a running call.

use std::{thread, time::Duration};

use parlor_tests::{Event, Nat, clip, unix_ms};
use tempfile::TempDir;

use crate::{
    Options,
    frames::FrameLog,
    people::World,
    table::{Goal, Row},
};

/// From one change to the next: the last one is over by then, or never will be.
const PAUSE: Duration = Duration::from_secs(6);

/// More than this between two new frames is a gap.
const GAP_MS: f64 = 200.0;

/// Sound of this length, in packets of 20 ms, in one second: it is back.
const AUDIBLE: u64 = 25;

/// The address of one end, then of the other, is replaced again and again.
pub(crate) fn measure(options: &Options) -> Vec<Row> {
    let files = TempDir::new().expect("a temporary directory");
    let file = |name: &str| files.path().join(name);
    clip::write(&file("clip.y4m"), 640, 360, 240).expect("room for a clip");
    let world = World::new([Nat::Cone; 2], [12, 13]);
    let person = |name: &str| {
        let log = file(name);
        world
            .person(name)
            .camera(format!("file:{}", file("clip.y4m").display()))
            .args(["--stats-every", "1", "--frame-log"])
            .args([log])
    };
    let mut pair = world.pair(person("Ann"), person("Bob"));
    pair.call().expect("the call connects");
    thread::sleep(PAUSE);
    let mut changes = Vec::new();
    for run in 0..options.calls {
        changes.push(unix_ms() as f64);
        world.home(run % 2).replace_address();
        thread::sleep(PAUSE);
    }
    let alive = pair.both().into_iter().all(|side| side.so_far("ended").is_empty());
    let heard: Vec<Vec<Event>> = pair.both().into_iter().map(|side| side.so_far("stats")).collect();
    for side in pair.both() {
        side.terminate();
    }
    let shown = ["Ann", "Bob"].map(|name| FrameLog::read(&file(name)).shown);

    let picture = |change: &f64| worst(shown.iter().map(|shown| picture_back(shown, *change)));
    let sound = |change: &f64| worst(heard.iter().map(|stats| sound_back(stats, *change)));
    let (pictures, sounds): (Vec<f64>, Vec<f64>) = changes
        .iter()
        .map(|change| (picture(change), sound(change)))
        .filter(|(a, b)| a.is_finite() && b.is_finite())
        .unzip();
    let in_time =
        pictures.iter().zip(&sounds).filter(|(picture, sound)| **picture <= 3000.0 && **sound <= 4000.0).count();
    let note = format!("of {}{}", options.calls, if alive { "" } else { "; the call ended" });
    vec![
        Row::new(
            "address replaced: picture and sound back on both sides",
            in_time as f64,
            "",
            Goal::AtLeast(options.calls as f64),
        )
        .note(note),
        Row::median("address replaced -> picture back on both sides", &pictures, "ms", Goal::AtMost(3000.0)),
        Row::worst("the same, worst", &pictures, "ms", Goal::AtMost(3000.0)),
        Row::worst(
            "address replaced -> a second with sound told on both sides, worst (up to 1 s late)",
            &sounds,
            "ms",
            Goal::AtMost(4000.0),
        ),
    ]
}

fn worst(values: impl Iterator<Item = f64>) -> f64 {
    // Not `f64::max`, which passes over what is not a number.
    values.fold(0.0, |worst, value| if value.is_nan() || value > worst { value } else { worst })
}

/// When the longest gap after the change ended; 0 without a gap, not a number when nothing more came.
fn picture_back(shown: &[(u32, u64)], change: f64) -> f64 {
    let until = change + PAUSE.as_secs_f64() * 1e3;
    let times = shown.iter().map(|(_, us)| *us as f64 / 1e3);
    let near: Vec<f64> = times.filter(|time| (change - 2.0 * GAP_MS..until).contains(time)).collect();
    if near.last().is_none_or(|last| *last < until - 1000.0) {
        return f64::NAN;
    }
    let gaps = near.windows(2).filter(|pair| pair[1] - pair[0] > GAP_MS && pair[1] > change);
    gaps.map(|pair| pair[1] - change).fold(0.0, f64::max)
}

/// When a second with sound in it was told after the last one without.
fn sound_back(stats: &[Event], change: f64) -> f64 {
    let told: Vec<(f64, u64)> = stats
        .iter()
        .filter_map(|event| Some((event["t_ms"].as_f64()? - change, event["audio_recv"]["packets"].as_u64()?)))
        .filter(|(after, _)| (-1500.0..PAUSE.as_secs_f64() * 1e3).contains(after))
        .collect();
    let back = |pair: &[(f64, u64)]| (pair[1].0, pair[1].1.saturating_sub(pair[0].1) >= AUDIBLE);
    let seconds: Vec<(f64, bool)> = told.windows(2).map(back).filter(|(after, _)| *after > 0.0).collect();
    let after_silence = seconds.iter().rposition(|(_, audible)| !audible).map_or(0, |silent| silent + 1);
    seconds.get(after_silence).map_or(f64::NAN, |(after, _)| *after)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_picture_is_back_when_its_gap_ends() {
        let ms = |times: &[u64]| times.iter().map(|time| (0, time * 1000)).collect::<Vec<_>>();
        let steady = |from: u64, to: u64| (from..to).step_by(33).collect::<Vec<_>>();
        let until = PAUSE.as_millis() as u64 + 10_000;
        assert!(picture_back(&ms(&steady(9_000, until)), 10_000.0) < 1.0);
        let gap = [steady(9_000, 10_050), steady(11_500, until)].concat();
        assert!((picture_back(&ms(&gap), 10_000.0) - 1500.0).abs() < 1.0);
        assert!(picture_back(&ms(&steady(9_000, 10_050)), 10_000.0).is_nan());
    }

    #[test]
    fn sound_is_back_in_the_second_after_the_last_silent_one() {
        let stats = |packets: &[u64]| {
            let event = |(n, packets): (u64, &u64)| json!({ "t_ms": n * 1000, "audio_recv": { "packets": packets } });
            (0..).zip(packets).map(event).collect::<Vec<_>>()
        };
        assert_eq!(sound_back(&stats(&[0, 50, 100, 150, 200]), 1500.0), 500.0);
        assert_eq!(sound_back(&stats(&[0, 50, 60, 60, 105, 155]), 1500.0), 2500.0);
        assert!(sound_back(&stats(&[0, 50, 60, 60, 60]), 1500.0).is_nan());
    }
}
