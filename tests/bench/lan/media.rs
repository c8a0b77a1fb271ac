//! Pictures and voices of a running call: how many, how late, at what cost.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use parlor_tests::{Event, Impairment, Lan, Peer, SOON, Screen, Starting, parlor, usage::Usage};
use tempfile::TempDir;

use crate::{
    frames::{FrameLog, latencies},
    options::Options,
    table::{Goal, Row, quantile},
};

/// The first seconds of a call are left out, as in the browser's figures.
const SETTLING: Duration = Duration::from_secs(10);

/// More than this between two new frames is a freeze.
const FREEZE_US: u64 = 200_000;

fn person(name: &str, options: &Options, log: &Path) -> Starting {
    Peer::named(name)
        .camera(format!("file:{}", options.clip.display()))
        .args(["--stats-every", "1", "--frame-log"])
        .args([log])
}

/// 720p30 both ways on a clean link.
pub(crate) fn measure_clean(options: &Options) -> Vec<Row> {
    let lan = Lan::new(2);
    let call = Call::measure(&lan, options, || ());
    let mut rows = call.pictures("clean", 29.5);
    rows.push(Row::median("capture -> shown", &call.latencies, "ms", Goal::OfBrowser(0.6, "latency ms")));
    rows.push(Row::new("CPU of one end, a minute", call.cpu_s, "s", Goal::OfBrowser(0.4, "cpu s")));
    rows.push(Row::new("memory of one end, PSS", call.pss_mib, "MB", Goal::OfBrowser(0.3, "pss MB")));
    rows.extend(call.rates());
    rows
}

/// The same on a bad link.
pub(crate) fn measure_loss(options: &Options) -> Vec<Row> {
    let lan = Lan::new(2);
    let mut wire = lan[0].impair(Impairment::default());
    let call = Call::measure(&lan, options, || {
        wire.set(Impairment { delay_ms: 25, loss_percent: 5.0, ..Impairment::default() });
    });
    let concealed: Vec<f64> = call.stats("/audio_recv/concealed").iter().map(|part| part * 100.0).collect();
    let mean = concealed.iter().sum::<f64>() / concealed.len() as f64;
    let mut rows = call.pictures("5 % loss, 25 ms", 27.0);
    rows.push(Row::median("5 % loss, 25 ms: capture -> shown", &call.latencies, "ms", Goal::None));
    rows.push(
        Row::new("5 % loss, 25 ms: voice made up", mean, "%", Goal::AtMost(5.0))
            .note(format!("worst second {:.0} %", quantile(&concealed, 1.0))),
    );
    rows.extend(call.rates());
    rows
}

/// Voice alone.
pub(crate) fn measure_voice(options: &Options) -> Vec<Row> {
    let lan = Lan::new(2);
    let mut ann = Peer::named("Ann").args(["--call", "Bob", "--kind", "audio"]).start(&lan[0]);
    let mut bob = Peer::named("Bob").accepting().start(&lan[1]);
    ann.expect("first_audio", SOON);
    bob.expect("first_audio", SOON);
    let cost = Cost::of(&[ann.pid(), bob.pid()], Duration::from_secs(options.seconds.min(30)));
    vec![
        Row::new("voice alone: CPU of one end, a minute", cost.cpu_s, "s", Goal::AtMost(3.0)),
        Row::new("voice alone: memory of one end, PSS", cost.pss_mib, "MB", Goal::None),
    ]
}

/// A call between two headless ends, measured.
struct Call {
    /// New frames a second, worse direction.
    fps: f64,
    /// Frozen times, both directions.
    freezes: usize,
    longest_gap_ms: f64,
    latencies: Vec<f64>,
    cpu_s: f64,
    pss_mib: f64,
    /// What both ends said of themselves, second by second.
    said: Vec<Event>,
}

impl Call {
    /// `connected` is called when pictures have come both ways: the link gets bad from then on.
    fn measure(lan: &Lan, options: &Options, connected: impl FnOnce()) -> Self {
        let logs = TempDir::new().expect("a temporary directory");
        let (anns, bobs) = (logs.path().join("ann.csv"), logs.path().join("bob.csv"));
        let mut ann = person("Ann", options, &anns).args(["--call", "Bob"]).start(&lan[0]);
        let mut bob = person("Bob", options, &bobs).accepting().start(&lan[1]);
        for side in [&mut ann, &mut bob] {
            side.expect("first_video_frame", SOON);
        }
        connected();
        thread::sleep(SETTLING);
        let _settling = (ann.so_far("stats"), bob.so_far("stats"));
        let cost = Cost::of(&[ann.pid(), bob.pid()], Duration::from_secs(options.seconds));
        let said = [ann.so_far("stats"), bob.so_far("stats")]
            .into_iter()
            .flat_map(|all| all.into_iter().skip(SETTLING.as_secs() as usize))
            .collect();
        assert!(ann.so_far("ended").is_empty() && bob.so_far("ended").is_empty(), "the call ended by itself");
        ann.terminate();
        bob.terminate();

        let (anns, bobs) = (FrameLog::read(&anns), FrameLog::read(&bobs));
        let directions = [Direction::between(&anns, &bobs), Direction::between(&bobs, &anns)];
        Self {
            fps: directions.iter().map(|direction| direction.fps).fold(f64::INFINITY, f64::min),
            freezes: directions.iter().map(|direction| direction.freezes).sum(),
            longest_gap_ms: directions.iter().map(|direction| direction.longest_gap_ms).fold(0.0, f64::max),
            latencies: directions.into_iter().flat_map(|direction| direction.latencies).collect(),
            cpu_s: cost.cpu_s,
            pss_mib: cost.pss_mib,
            said,
        }
    }

    fn pictures(&self, link: &str, fps: f64) -> Vec<Row> {
        let longest = format!("longest time without a new frame {:.0} ms", self.longest_gap_ms);
        vec![
            Row::new(format!("{link}: new frames shown, worse direction"), self.fps, "fps", Goal::AtLeast(fps)),
            Row::new(format!("{link}: freezes over 200 ms"), self.freezes as f64, "", Goal::AtMost(0.0)).note(longest),
        ]
    }

    fn stats(&self, pointer: &str) -> Vec<f64> {
        self.said.iter().filter_map(|stats| stats.pointer(pointer)?.as_f64()).collect()
    }

    /// What the call sends, for judging the other figures.
    fn rates(&self) -> Vec<Row> {
        let kbps: Vec<f64> = self.stats("/send_bps").iter().map(|bps| bps / 1000.0).collect();
        vec![
            Row::median("sent by one end", &kbps, "kbit/s", Goal::None),
            Row::median("height sent", &self.stats("/video_send/height"), "px", Goal::None),
        ]
    }
}

/// What processes use in a while; the mean of them.
struct Cost {
    /// A minute.
    cpu_s: f64,
    pss_mib: f64,
}

impl Cost {
    fn of(pids: &[u32], duration: Duration) -> Self {
        let cpu = |pid: &u32| Usage::of(*pid).cpu_s;
        let before: f64 = pids.iter().map(cpu).sum();
        thread::sleep(duration);
        let used = pids.iter().map(cpu).sum::<f64>() - before;
        let count = pids.len() as f64;
        Self {
            cpu_s: used / count * 60.0 / duration.as_secs_f64(),
            pss_mib: pids.iter().map(|pid| Usage::of(*pid).pss_mib).sum::<f64>() / count,
        }
    }
}

/// What came of the frames in one direction, after settling.
#[derive(Debug, PartialEq)]
struct Direction {
    fps: f64,
    freezes: usize,
    longest_gap_ms: f64,
    latencies: Vec<f64>,
}

impl Direction {
    fn between(sender: &FrameLog, receiver: &FrameLog) -> Self {
        let Some(&(_, first)) = receiver.shown.first() else {
            return Self { fps: 0.0, freezes: 1, longest_gap_ms: f64::INFINITY, latencies: Vec::new() };
        };
        let from = first + SETTLING.as_micros() as u64;
        let mut shown: Vec<(u32, u64)> = receiver.shown.iter().copied().filter(|(_, time)| *time >= from).collect();
        shown.dedup_by_key(|(mark, _)| *mark);
        let gaps: Vec<u64> = shown.windows(2).map(|pair| pair[1].1 - pair[0].1).collect();
        let seconds = shown.last().map_or(0, |(_, last)| last - from) as f64 / 1e6;
        Self {
            fps: shown.len() as f64 / seconds,
            freezes: gaps.iter().filter(|gap| **gap > FREEZE_US).count(),
            longest_gap_ms: gaps.iter().copied().max().unwrap_or(0) as f64 / 1e3,
            latencies: latencies(&sender.captured, &shown),
        }
    }
}

/// The window of one end, on a screen that is drawn by software, with a picture about as large as the browser page's
/// (250 x 250 there; 360 x 202 in the smallest window here).
pub(crate) fn measure_window(options: &Options) -> Vec<Row> {
    let lan = Lan::new(2);
    let screen = Screen::switch_on(1280, 800);
    let home = TempDir::new().expect("a temporary directory");
    let log = home.path().join("frames.csv");
    fs::write(home.path().join("settings.toml"), "name = \"Wendy\"\n").expect("settings");
    let mut command = lan[0].command(parlor());
    command.arg("--camera").arg(format!("file:{}", options.clip.display()));
    command.args(["--mic", "tone", "--speaker", "none", "--data-dir"]).arg(home.path()).arg("--frame-log").arg(&log);
    screen.show(&mut command);
    let window = Killed::spawn(command);
    let shown = screen.window("Parlor");
    screen.resize(&shown, 360, 640);

    let mut bob = person("Bob", options, &home.path().join("bob.csv")).start(&lan[1]);
    let wendy = bob.expect("peer_online", SOON);
    bob.tell(&serde_json::json!({ "do": "call", "peer": wendy["peer"], "kind": "video" }));
    bob.expect("ringing", SOON);
    while bob.next_where("accepted", Duration::from_millis(300), |_| true).is_none() {
        screen.press(&shown, "Return");
    }
    bob.expect("first_video_frame", SOON);
    thread::sleep(SETTLING);
    let cost = Cost::of(&[window.0.id()], Duration::from_secs(options.seconds));
    assert!(bob.so_far("ended").is_empty(), "the call ended by itself");
    bob.terminate();
    drop(window);
    let direction = Direction::between(&FrameLog::read(&home.path().join("bob.csv")), &FrameLog::read(&log));
    vec![
        Row::new("window: CPU, drawn by software, a minute", cost.cpu_s, "s", Goal::OfBrowser(1.0, "cpu s")),
        Row::new("window: memory, PSS", cost.pss_mib, "MB", Goal::None),
        Row::new("window: new frames shown", direction.fps, "fps", Goal::None),
        Row::median("window: capture -> shown", &direction.latencies, "ms", Goal::None),
    ]
}

/// A process that goes with its owner.
struct Killed(Child);

impl Killed {
    fn spawn(mut command: Command) -> Self {
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("parlor starts"))
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_frames_are_counted_after_settling() {
        let settled = SETTLING.as_micros() as u64;
        let times = [settled, settled + 33_000, settled + 300_000, settled + 1_000_000 / 2];
        let shown = std::iter::once((9, 0)).chain((0..).zip(times)).collect();
        let receiver = FrameLog { captured: Vec::new(), shown };
        let direction = Direction::between(&FrameLog::default(), &receiver);
        assert_eq!((direction.freezes, direction.longest_gap_ms, direction.fps), (1, 267.0, 8.0));
    }
}
