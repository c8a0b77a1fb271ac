//! A running `parlor headless` to talk to: commands in, events out, every wait with a deadline.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Host, SOON, binary, now, unix_ms, usage::Usage};

/// One line of what the headless app prints.
pub type Event = Value;

/// A headless Parlor before it runs.
#[derive(Debug)]
pub struct Starting {
    name: String,
    camera: String,
    microphone: String,
    speaker: String,
    data_dir: Option<PathBuf>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

/// A headless Parlor. Killed when dropped; in a failing test its events and its log are printed.
#[derive(Debug)]
pub struct Peer {
    name: String,
    id: Option<String>,
    started_ms: u64,
    process: Child,
    stdin: Option<ChildStdin>,
    incoming: Receiver<Event>,
    /// What came and was not asked for yet.
    waiting: Vec<Event>,
    /// Everything that came, for the report.
    history: Vec<Event>,
    data_dir: PathBuf,
    log: PathBuf,
    _temporary: TempDir,
}

impl Starting {
    /// A picture source, instead of the test card.
    #[must_use]
    pub fn camera(mut self, source: impl Into<String>) -> Self {
        self.camera = source.into();
        self
    }

    /// A sound source, instead of a tone.
    #[must_use]
    pub fn microphone(mut self, source: impl Into<String>) -> Self {
        self.microphone = source.into();
        self
    }

    /// A sound sink, instead of none.
    #[must_use]
    pub fn speaker(mut self, sink: impl Into<String>) -> Self {
        self.speaker = sink.into();
        self
    }

    /// Neither picture nor sound: for tests of presence and of what comes before a call.
    #[must_use]
    pub fn without_media(self) -> Self {
        self.camera("none").microphone("none")
    }

    /// Accepts every call by itself.
    #[must_use]
    pub fn accepting(self) -> Self {
        self.args(["--accept", "all"])
    }

    /// Further arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// A directory that outlives the process, instead of a temporary one.
    #[must_use]
    pub fn data_dir(mut self, dir: &Path) -> Self {
        self.data_dir = Some(dir.to_owned());
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.environment.push((key.into(), value.into()));
        self
    }

    /// Runs it on a host of the lab, and waits until its network is ready.
    #[must_use]
    pub fn start(self, host: &Host) -> Peer {
        let mut peer = self.launch(host);
        peer.wait_until_ready();
        peer
    }

    /// Runs it on a host of the lab.
    #[must_use]
    pub fn launch(self, host: &Host) -> Peer {
        self.spawn(host.command(binary::parlor()))
    }

    /// Runs it on this machine, away from its networks.
    #[must_use]
    pub fn launch_alone(self) -> Peer {
        self.args(["--no-lan"]).spawn(Command::new(binary::parlor()))
    }

    fn spawn(self, mut command: Command) -> Peer {
        let temporary = tempfile::Builder::new().prefix("parlor-").tempdir().expect("a temporary directory");
        let data_dir = self.data_dir.unwrap_or_else(|| temporary.path().join("data"));
        let log = temporary.path().join("stderr");
        command
            .args(["headless", "--name", &self.name, "--camera", &self.camera, "--mic", &self.microphone])
            .args(["--speaker", &self.speaker, "--data-dir"])
            .arg(&data_dir)
            .args(self.arguments)
            .env("HOME", temporary.path())
            .env("PULSE_SERVER", "unix:/nonexistent")
            .env("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
            .env("NO_COLOR", "1")
            .envs(self.environment)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("a log file"));
        let started_ms = unix_ms();
        let mut process = command.spawn().expect("parlor starts");
        let stdout = process.stdout.take().expect("stdout is piped");
        Peer {
            name: self.name,
            id: None,
            started_ms,
            stdin: process.stdin.take(),
            process,
            incoming: read_events(stdout),
            waiting: Vec::new(),
            history: Vec::new(),
            data_dir,
            log,
            _temporary: temporary,
        }
    }
}

/// Ends with the stream, which hangs up the channel.
fn read_events(stdout: impl std::io::Read + Send + 'static) -> Receiver<Event> {
    let (events, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let event = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "event": "not-json", "line": line }));
            if events.send(event).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Peer {
    /// A headless Parlor of this name, with a test card and a tone for devices.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Starting {
        Starting {
            name: name.into(),
            camera: "test-card".into(),
            microphone: "tone".into(),
            speaker: "none".into(),
            data_dir: None,
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Waits until its network is ready.
    pub fn wait_until_ready(&mut self) {
        let ready = self.expect("ready", SOON);
        self.id = Some(ready["peer"].as_str().expect("`ready` has the peer's id").to_owned());
    }

    /// The id that others know it by.
    ///
    /// # Panics
    /// Before it is ready.
    #[must_use]
    pub fn id(&self) -> &str {
        self.id.as_deref().expect("it is ready")
    }

    /// The name that it was started with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// When it was started, Unix time.
    #[must_use]
    pub fn started_ms(&self) -> u64 {
        self.started_ms
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// What it uses of the machine.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid())
    }

    /// Gives it a command.
    pub fn tell(&mut self, command: &Value) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{command}").expect("parlor reads its stdin");
    }

    /// Has it call somebody, with a picture.
    pub fn call(&mut self, other: &Peer) {
        self.tell(&json!({ "do": "call", "peer": other.id(), "kind": "video" }));
    }

    /// The next event of this name that was not taken yet. Others wait for their turn.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn expect(&mut self, event: &str, within: Duration) -> Event {
        self.expect_where(event, within, |_| true)
    }

    /// As [`Self::expect`], about a call.
    pub fn expect_of(&mut self, call: &Event, event: &str, within: Duration) -> Event {
        self.expect_where(event, within, |candidate| candidate["call"] == call["call"])
    }

    /// The next event of this name that matches.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn expect_where(&mut self, event: &str, within: Duration, matches: impl Fn(&Event) -> bool) -> Event {
        match self.next_where(event, within, matches) {
            Some(found) => found,
            None => panic!("{}: no such `{event}` within {within:?}", self.name),
        }
    }

    /// As [`Self::expect_where`], for those who can live without.
    pub fn next_where(&mut self, event: &str, within: Duration, matches: impl Fn(&Event) -> bool) -> Option<Event> {
        let deadline = now() + within;
        loop {
            let found = self.waiting.iter().position(|candidate| candidate["event"] == event && matches(candidate));
            if let Some(index) = found {
                return Some(self.waiting.remove(index));
            }
            let event = self.incoming.recv_timeout(deadline.saturating_duration_since(now())).ok()?;
            self.history.push(event.clone());
            self.waiting.push(event);
        }
    }

    /// Everything of this name that came so far, taken or not.
    pub fn so_far(&mut self, event: &str) -> Vec<Event> {
        while let Ok(event) = self.incoming.try_recv() {
            self.history.push(event.clone());
            self.waiting.push(event);
        }
        self.history.iter().filter(|candidate| candidate["event"] == event).cloned().collect()
    }

    /// Dies without a word.
    pub fn crash(&mut self) {
        self.process.kill().expect("it still runs");
        self.process.wait().expect("it can be reaped");
    }

    /// Is asked to stop, as by a session manager or Ctrl-C, and does.
    ///
    /// # Panics
    /// When it does not within [`SOON`].
    pub fn terminate(&mut self) -> ExitStatus {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::TERM).expect("it still runs");
        self.exit_status(SOON)
    }

    /// Waits until the process has ended by itself.
    ///
    /// # Panics
    /// When it does not in time.
    pub fn exit_status(&mut self, within: Duration) -> ExitStatus {
        let deadline = now() + within;
        loop {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(now())) {
                Ok(event) => {
                    self.history.push(event.clone());
                    self.waiting.push(event);
                }
                Err(RecvTimeoutError::Disconnected) => return self.process.wait().expect("it can be reaped"),
                Err(RecvTimeoutError::Timeout) => panic!("{} still runs after {within:?}", self.name),
            }
        }
    }

    /// What it wrote on stderr so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    #[expect(clippy::print_stdout, reason = "libtest shows it with the failure")]
    fn report(&mut self) {
        let _collect_the_rest = self.so_far("");
        println!("--- {} printed:", self.name);
        for event in &self.history {
            println!("{event}");
        }
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        println!("--- {} logged, at the end:", self.name);
        for line in &lines[lines.len().saturating_sub(40)..] {
            println!("{line}");
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
        if thread::panicking() {
            self.report();
        }
    }
}
