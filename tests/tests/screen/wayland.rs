//! On a Wayland desktop without hardware: PipeWire and the portal are real, the desktop behind the portal is `desktop.py`, and
//! its screen is GStreamer's. (sway has a portal of its own, but that one wants a graphics card.)

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use parlor_tests::{Lan, Peer, SOON, Starting, in_lab, now};
use serde_json::json;
use tempfile::TempDir;

use super::{BLUE, ORANGE, PATIENT, Recording, captures, gone};

/// Where Debian keeps the portal.
const PORTAL: &str = "/usr/libexec/xdg-desktop-portal";
/// Which desktop the portal is told to ask.
const BACKEND: &str = "[portal]
DBusName=org.freedesktop.impl.portal.desktop.parlor
Interfaces=org.freedesktop.impl.portal.ScreenCast
UseIn=parlor
";

/// A desktop for somebody who has just logged in. Gone when dropped.
struct Desktop {
    dir: TempDir,
    processes: Vec<Child>,
    /// What the person is told to do, and what is done.
    person: ChildStdin,
    done: BufReader<ChildStdout>,
}

impl Desktop {
    fn log_in() -> Self {
        let dir = tempfile::Builder::new().prefix("parlor-desktop-").tempdir().unwrap();
        // WirePlumber gives up where it can't watch who is logged in. `/run` is the sandbox's own.
        for what in ["seats", "sessions", "users", "machines"] {
            fs::create_dir_all(Path::new("/run/systemd").join(what)).unwrap();
        }
        fs::write(dir.path().join("parlor.portal"), BACKEND).unwrap();
        let mut processes = Vec::new();
        let bus = format!("--address=unix:path={}", dir.path().join("bus").display());
        processes.push(
            command(dir.path(), "dbus-daemon").args(["--session", "--nofork", "--nopidfile", &bus]).spawn().unwrap(),
        );
        wait_until(dir.path(), "bus", || dir.path().join("bus").exists());
        processes.push(command(dir.path(), "pipewire").spawn().unwrap());
        wait_until(dir.path(), "PipeWire", || dir.path().join("pipewire-0").exists());
        processes.push(command(dir.path(), "wireplumber").spawn().unwrap());
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/screen/desktop.py");
        // Debian's own Python has Debian's packages for it.
        let mut desktop = command(dir.path(), "/usr/bin/python3");
        desktop.arg(script).arg("screen").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut desktop = desktop.spawn().unwrap();
        let (person, done) = (desktop.stdin.take().unwrap(), BufReader::new(desktop.stdout.take().unwrap()));
        processes.push(desktop);
        let mut this = Self { dir, processes, person, done };
        this.hears("ready");
        this.processes.push(command(this.dir.path(), PORTAL).spawn().unwrap());
        this
    }

    /// Shows one colour, until what is given back is killed.
    fn show(&mut self, colour: u32, format: &str, width: u32, height: u32) -> Child {
        let mut show = command(self.dir.path(), "gst-launch-1.0");
        let colour = format!("foreground-color={}", 0xFF00_0000 | colour);
        let size = format!("video/x-raw,format={format},width={width},height={height},framerate=30/1");
        let about = "stream-properties=p,media.class=Video/Source,node.name=screen";
        show.args(["videotestsrc", "is-live=true", "pattern=solid-color", &colour, "!", &size]);
        let child = show.args(["!", "pipewiresink", "mode=provide", about]).spawn().unwrap();
        wait_until(self.dir.path(), "screen", || {
            let nodes = command(self.dir.path(), "pw-dump").stdout(Stdio::piped()).output().unwrap();
            String::from_utf8_lossy(&nodes.stdout).contains(r#""node.name": "screen""#)
        });
        child
    }

    /// The person does this.
    fn person(&mut self, word: &str) {
        writeln!(self.person, "{word}").unwrap();
    }

    /// Waits until the desktop says this.
    fn hears(&mut self, word: &str) {
        let mut line = String::new();
        while line.trim() != word {
            line.clear();
            assert!(self.done.read_line(&mut line).unwrap() > 0, "no {word}\n{}", logs(self.dir.path()));
        }
    }

    fn peer(&self, name: &str) -> Starting {
        environment(self.dir.path()).into_iter().fold(Peer::named(name), |peer, (key, value)| peer.env(key, value))
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        self.processes.iter_mut().rev().for_each(end);
    }
}

fn end(process: &mut Child) {
    let _gone = process.kill();
    let _reaped = process.wait();
}

/// What a program that the person starts finds around it.
fn environment(dir: &Path) -> [(&'static str, PathBuf); 7] {
    let mut bus = std::ffi::OsString::from("unix:path=");
    bus.push(dir.join("bus"));
    [
        ("XDG_RUNTIME_DIR", dir.to_owned()),
        ("XDG_DESKTOP_PORTAL_DIR", dir.to_owned()),
        ("XDG_CURRENT_DESKTOP", "parlor".into()),
        ("XDG_SESSION_TYPE", "wayland".into()),
        ("WAYLAND_DISPLAY", "wayland-0".into()),
        ("DBUS_SESSION_BUS_ADDRESS", bus.into()),
        ("DISPLAY", PathBuf::new()),
    ]
}

fn command(dir: &Path, program: &str) -> Command {
    let mut command = Command::new(program);
    let log = File::create(dir.join(program.rsplit('/').next().unwrap()).with_extension("log")).unwrap();
    command.envs(environment(dir)).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command
}

fn wait_until(dir: &Path, what: &str, is_there: impl Fn() -> bool) {
    let deadline = now() + SOON;
    while !is_there() {
        assert!(now() < deadline, "no {what}\n{}", logs(dir));
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

fn logs(dir: &Path) -> String {
    let files = fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.map(|path| format!("{}:\n{}\n", path.display(), fs::read_to_string(&path).unwrap_or_default())).collect()
}

#[test]
fn what_the_desktop_had_the_person_choose_is_seen_until_it_is_stopped_there_or_closed() {
    in_lab(|| {
        let lan = Lan::new(2);
        let mut desktop = Desktop::log_in();
        let recorded = tempfile::tempdir().unwrap();
        let record = |name: &str| format!("file:{}", recorded.path().join(name).display());
        let mut ann = desktop.peer("Ann").args(["--stats-every", "1"]).start(&lan[0]);
        let out = record("screen.y4m");
        let mut bob = Peer::named("Bob").accepting().args(["--stats-every", "1", "--screen-out", &out]).start(&lan[1]);
        ann.expect("peer_online", SOON);
        ann.call(&bob);
        let call = ann.expect("connected", SOON);

        ann.tell(&json!({ "do": "list_screens" }));
        let list = ann.expect("screens", SOON);
        assert_eq!(list["screens"].as_array().unwrap().len(), 1, "{list}");
        let choose = json!({ "do": "share", "source": list["screens"][0]["source"] });

        // The person thinks better of it.
        let mut screen = desktop.show(ORANGE.0, "BGRx", 1_284, 802);
        ann.tell(&choose);
        desktop.hears("asked");
        assert!(captures(&ann), "the test would notice a capture");
        desktop.person("cancel");
        let over = ann.expect_of(&call, "sharing_over", SOON);
        assert_eq!(over.get("problem"), None, "{over}");
        assert!(gone(|| captures(&ann)), "nothing was chosen");

        // The person stops it in the desktop's own way.
        desktop.person("allow");
        ann.tell(&choose);
        desktop.hears("asked");
        ann.expect_of(&call, "sharing", SOON);
        bob.expect_of(&call, "first_screen_frame", PATIENT);
        bob.expect_where("stats", PATIENT, |stats| stats["screen_recv"]["shown"].as_u64() > Some(8));
        desktop.person("stop");
        let over = ann.expect_of(&call, "sharing_over", SOON);
        assert_eq!(over["problem"], "gone", "the call goes on: {over}");
        bob.expect_where("their_screen", SOON, |event| event["on"] == false);
        assert!(gone(|| captures(&ann)), "nothing is captured any more");
        end(&mut screen);

        // What is shown is gone.
        let mut screen = desktop.show(BLUE.0, "RGBx", 642, 402);
        ann.tell(&choose);
        desktop.hears("asked");
        ann.expect_of(&call, "sharing", SOON);
        let other = |stats: &serde_json::Value| stats["screen_recv"]["width"].as_u64() == Some(642);
        bob.expect_where("stats", PATIENT, other);
        end(&mut screen);
        assert_eq!(ann.expect_of(&call, "sharing_over", SOON)["problem"], "gone");

        // In Parlor.
        let mut screen = desktop.show(ORANGE.0, "BGRA", 642, 402);
        ann.tell(&choose);
        desktop.hears("asked");
        ann.expect_of(&call, "sharing", SOON);
        ann.tell(&json!({ "do": "hangup" }));
        ann.expect_of(&call, "devices_closed", SOON);
        assert!(gone(|| captures(&ann)), "nothing is captured after the call");
        desktop.hears("closed");
        end(&mut screen);
        bob.terminate();

        let recording = Recording::read(&recorded.path().join("screen.y4m"));
        assert_eq!((recording.width, recording.height), (1_284, 802));
        assert!(recording.with((640, 400), ORANGE.1) > 8, "the colour of the screen");
    });
}

#[test]
fn a_desktop_without_a_portal_is_said_to_be_one() {
    in_lab(|| {
        let lan = Lan::new(2);
        let ann = Peer::named("Ann").env("WAYLAND_DISPLAY", "wayland-9").args(["--share", "screen"]);
        let mut ann = ann.env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere/bus").start(&lan[0]);
        let bob = Peer::named("Bob").accepting().start(&lan[1]);
        ann.expect("peer_online", SOON);
        ann.call(&bob);
        let call = ann.expect("connected", SOON);
        assert_eq!(ann.expect_of(&call, "sharing_over", SOON)["problem"], "no_portal");
    });
}
