//! A screen without hardware, for the window.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::{SOON, now};

/// An X server that draws into memory. Gone when dropped. Needs Debian's `xvfb` and `xdotool`.
#[derive(Debug)]
pub struct Screen {
    process: Child,
    display: String,
}

impl Screen {
    /// Switches one on. (In the lab: it would disturb the screens of other process namespaces elsewhere.)
    ///
    /// # Panics
    /// When Xvfb does not start.
    #[must_use]
    pub fn switch_on(width: u32, height: u32) -> Self {
        // Without `-noreset` it starts anew when its last client leaves, be it an xdotool that found no window yet, and
        // whoever comes meanwhile is turned away.
        let mut process = Command::new("Xvfb")
            .args([
                "-displayfd",
                "1",
                "-noreset",
                "-nolock",
                "-nolisten",
                "tcp",
                "-screen",
                "0",
                &format!("{width}x{height}x24"),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb starts");
        let mut number = String::new();
        let stdout = process.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut number).expect("Xvfb says which display it is");
        assert!(!number.trim().is_empty(), "Xvfb did not start");
        Self { process, display: format!(":{}", number.trim()) }
    }

    /// Its name, for what uses it.
    #[must_use]
    pub fn display(&self) -> &str {
        &self.display
    }

    /// Makes a command use the screen, with software rendering.
    pub fn show(&self, command: &mut Command) {
        command.env("DISPLAY", &self.display).env_remove("WAYLAND_DISPLAY").env("LIBGL_ALWAYS_SOFTWARE", "1");
    }

    /// Waits for the window with this text in its title, and gives its id.
    ///
    /// # Panics
    /// When none appears within [`SOON`].
    #[must_use]
    pub fn window(&self, title: &str) -> String {
        let deadline = now() + SOON;
        loop {
            let found = self.xdotool(&["search", "--onlyvisible", "--name", title]);
            if let Some(id) = found.lines().next() {
                return id.to_owned();
            }
            assert!(now() < deadline, "no window titled {title:?} appeared");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses a key, by its X name.
    pub fn press(&self, window: &str, key: &str) {
        self.xdotool(&["windowfocus", "--sync", window]);
        self.xdotool(&["key", key]);
    }

    /// Makes the window this large.
    pub fn resize(&self, window: &str, width: u32, height: u32) {
        self.xdotool(&["windowsize", "--sync", window, &width.to_string(), &height.to_string()]);
    }

    /// Asks `xdotool`, and gives what it printed.
    pub fn xdotool(&self, arguments: &[&str]) -> String {
        let output = Command::new("xdotool").args(arguments).env("DISPLAY", &self.display).output();
        String::from_utf8_lossy(&output.expect("xdotool runs").stdout).into_owned()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
