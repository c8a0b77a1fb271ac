//! The window, on a screen without hardware.

#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "helpers of tests, outside of #[test]")]

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use parlor_tests::{Host, Internet, Lan, Nat, Peer, Rendezvous, SOON, Screen, in_lab, now, parlor};
use rustix::process::{Pid, Signal, kill_process};

/// A Parlor with a window. Killed when dropped.
struct Window {
    process: Child,
    lines: Receiver<String>,
    log: Vec<String>,
    _home: tempfile::TempDir,
}

impl Window {
    fn open(host: &Host, screen: &Screen, name: &str) -> Self {
        Self::with(host, screen, name, &[])
    }

    fn with(host: &Host, screen: &Screen, name: &str, arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("settings.toml"), format!("name = \"{name}\"\n")).unwrap();
        let mut command = host.command(parlor());
        command.args(["--camera", "test-card", "--mic", "none", "--speaker", "none", "--data-dir"]).arg(home.path());
        screen.show(command.args(arguments));
        let mut process = command.env("NO_COLOR", "1").stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(process.stderr.take().unwrap()).lines();
        let (tell, lines) = channel();
        thread::spawn(move || stderr.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { process, lines, log: Vec::new(), _home: home }
    }

    /// Waits until it has logged a line with all of these in it.
    fn logs(&mut self, wanted: &[&str]) {
        let deadline = now() + SOON;
        let is_it = |line: &String| wanted.iter().all(|part| line.contains(part));
        while !self.log.iter().any(is_it) {
            let line = self.lines.recv_timeout(deadline.saturating_duration_since(now()));
            self.log.push(line.unwrap_or_else(|_| panic!("the window has not logged {wanted:?}")));
        }
    }

    fn has_logged(&mut self, wanted: &str) -> bool {
        self.log.extend(self.lines.try_iter());
        self.log.iter().any(|line| line.contains(wanted))
    }

    fn terminate(&self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
    }

    fn exit_code(&mut self) -> Option<i32> {
        let deadline = now() + SOON;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status.code();
            }
            assert!(now() < deadline, "the window is still open");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
        if thread::panicking() {
            let log: Vec<String> = self.log.drain(..).chain(self.lines.try_iter()).collect();
            println!("--- the window logged:\n{}", log.join("\n"));
        }
    }
}

#[test]
fn the_window_opens_stays_and_closes_at_a_signal() {
    in_lab(|| {
        let lan = Lan::new(2);
        let screen = Screen::switch_on(1280, 800);
        let mut ann = Peer::named("Ann").without_media().start(&lan[0]);
        let mut window = Window::open(&lan[1], &screen, "Wendy");
        let _shown = screen.window("Parlor");
        let online = ann.expect("peer_online", SOON);
        assert_eq!(online["name"], "Wendy");
        window.terminate();
        assert_eq!(ann.expect("peer_offline", SOON)["reason"], "left");
        assert_eq!(window.exit_code(), Some(0));
    });
}

#[test]
fn a_call_is_accepted_with_the_keyboard_and_quitting_hangs_up() {
    in_lab(|| {
        let lan = Lan::new(2);
        let screen = Screen::switch_on(1280, 800);
        let mut ann = Peer::named("Ann").start(&lan[0]);
        let mut window = Window::open(&lan[1], &screen, "Wendy");
        let shown = screen.window("Parlor");
        let online = ann.expect("peer_online", SOON);
        ann.tell(&serde_json::json!({ "do": "call", "peer": online["peer"] }));
        let call = ann.expect("ringing", SOON);
        // The window takes no key for a moment, lest something be accepted that was not seen yet.
        while ann.next_where("accepted", Duration::from_millis(300), |_| true).is_none() {
            screen.press(&shown, "Return");
        }
        ann.expect_of(&call, "connected", SOON);
        ann.expect_of(&call, "first_video_frame", SOON);
        window.terminate();
        assert_eq!(ann.expect_of(&call, "ended", SOON)["reason"], "remote_hung_up");
        assert_eq!(window.exit_code(), Some(0));
    });
}

/// Where the first person of the list is, in a window of this size.
const SIZE: (u32, u32) = (900, 680);
const FIRST_PERSON: (&str, &str) = ("160", "188");

/// Two people at two homes, each at a window: one clicks on the other, who accepts with the keyboard; the first hangs up.
fn call_between_windows(nat: Nat, path: &str) {
    let internet = Internet::new(&[nat, nat]);
    let node = Rendezvous::start(internet.public(), Internet::PUBLIC_ADDRESS);
    let screens = [0, 1].map(|_| Screen::switch_on(SIZE.0, SIZE.1));
    let open = |number: usize| {
        let host = &internet.homes()[number].host;
        Window::with(host, &screens[number], ["Ann", "Wendy"][number], &["--node", node.address()])
    };
    let mut windows = [open(0), open(1)];
    let shown = [0, 1].map(|number| {
        let shown = screens[number].window("Parlor");
        screens[number].xdotool(&["windowmove", &shown, "0", "0"]);
        screens[number].resize(&shown, SIZE.0, SIZE.1);
        shown
    });
    windows[0].logs(&["online", "name=\"Wendy\""]);
    windows[1].logs(&["online", "name=\"Ann\""]);
    // The list is drawn in the next frame; a click before that is of no use, and a second one is the same call.
    let deadline = now() + SOON;
    while !windows[1].has_logged("somebody calls") {
        assert!(now() < deadline, "the click did not call");
        screens[0].xdotool(&["mousemove", FIRST_PERSON.0, FIRST_PERSON.1, "click", "1"]);
        thread::sleep(Duration::from_millis(300));
    }
    // No key counts for a moment, lest something be accepted that was not seen yet.
    while !windows[1].has_logged("accepted here") {
        assert!(now() < deadline, "the key did not accept");
        screens[1].press(&shown[1], "Return");
        thread::sleep(Duration::from_millis(300));
    }
    windows.iter_mut().for_each(|window| window.logs(&["connected", "setup=", path]));
    screens[0].press(&shown[0], "ctrl+h");
    windows[0].logs(&["the call is over", "HungUp"]);
    windows[1].logs(&["the call is over", "RemoteHungUp"]);
}

#[test]
fn two_windows_at_two_homes_call_each_other_directly() {
    in_lab(|| call_between_windows(Nat::Cone, "path=Direct"));
}

#[test]
fn two_windows_behind_routers_that_map_anew_call_each_other_through_the_relay() {
    in_lab(|| call_between_windows(Nat::Symmetric, "path=Relayed"));
}
