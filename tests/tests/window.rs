//! The window, on a screen without hardware.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests, outside of #[test]")]

use std::{
    fs,
    io::Read,
    process::{Child, Stdio},
    time::Duration,
};

use parlor_tests::{Host, Lan, Peer, SOON, Screen, in_lab, now, parlor};
use rustix::process::{Pid, Signal, kill_process};

/// A Parlor with a window. Killed when dropped.
struct Window {
    process: Child,
    _home: tempfile::TempDir,
}

impl Window {
    fn open(host: &Host, screen: &Screen, name: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("settings.toml"), format!("name = \"{name}\"\n")).unwrap();
        let mut command = host.command(parlor());
        command.args(["--camera", "test-card", "--mic", "none", "--speaker", "none", "--data-dir"]).arg(home.path());
        screen.show(&mut command);
        let process = command.stderr(Stdio::piped()).spawn().unwrap();
        Self { process, _home: home }
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
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
        if std::thread::panicking() {
            let mut log = String::new();
            let _best_effort = self.process.stderr.take().map(|mut stderr| stderr.read_to_string(&mut log));
            println!("--- the window logged:\n{log}");
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
