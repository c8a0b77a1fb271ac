//! A sound card without hardware: a PulseAudio server of its own with a microphone that a test can speak into and a
//! loudspeaker that it can listen to.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::{SOON, now};

const RATE: u32 = 48_000;

/// The card. Unplugged when dropped. Needs Debian's `pulseaudio` and `pulseaudio-utils`.
#[derive(Debug)]
pub struct SoundCard {
    dir: TempDir,
    processes: Vec<Child>,
}

/// What came out of the loudspeaker: mono, 48 kHz.
#[derive(Debug)]
pub struct Heard(Vec<f32>);

/// What is plugged in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// What a test listens to.
    Loudspeaker,
    /// What it speaks into.
    Microphone,
}

impl Part {
    const fn sink(self) -> &'static str {
        match self {
            Self::Loudspeaker => "speaker",
            Self::Microphone => "micfeed",
        }
    }

    const fn module(self) -> [&'static str; 5] {
        match self {
            Self::Loudspeaker => {
                ["module-null-sink", "sink_name=speaker", "rate=48000", "channels=2", "format=float32le"]
            }
            Self::Microphone => {
                ["module-null-sink", "sink_name=micfeed", "rate=48000", "channels=1", "format=float32le"]
            }
        }
    }

    const fn make_default(self) -> [&'static str; 2] {
        match self {
            Self::Loudspeaker => ["set-default-sink", "speaker"],
            Self::Microphone => ["set-default-source", "micfeed.monitor"],
        }
    }
}

impl SoundCard {
    /// Plugs one in.
    ///
    /// # Panics
    /// When PulseAudio does not start.
    #[must_use]
    pub fn plug_in() -> Self {
        let mut card =
            Self { dir: tempfile::tempdir().expect("a temporary directory"), processes: Vec::with_capacity(4) };
        let part = |part: Part| format!("load-module {}\n{}\n", part.module().join(" "), part.make_default().join(" "));
        let script = format!(
            "load-module module-native-protocol-unix socket={} auth-anonymous=1\n{}{}",
            card.path("native"),
            part(Part::Loudspeaker),
            part(Part::Microphone)
        );
        fs::write(card.path("default.pa"), script).expect("a script for pulseaudio");
        fs::create_dir(card.path("run")).expect("a runtime directory");
        let mut server = Command::new("pulseaudio");
        server
            .args(["-n", "-F", &card.path("default.pa"), "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"])
            .args(["--disallow-exit=1", "--realtime=no", "--high-priority=no"])
            .arg(format!("--log-target=file:{}", card.path("log")))
            .env("HOME", card.dir.path())
            .env("XDG_RUNTIME_DIR", card.path("run"))
            .env("PULSE_RUNTIME_PATH", card.path("run"))
            .env("PULSE_STATE_PATH", card.dir.path());
        card.start(server);
        card.wait_until_it_answers();
        for part in [Part::Loudspeaker, Part::Microphone] {
            card.keep_awake(part);
        }
        card
    }

    /// A null sink that nobody plays on runs in blocks of 2 s.
    fn keep_awake(&mut self, part: Part) {
        self.play(part.sink(), Path::new("/dev/zero"));
    }

    /// Pulls the plug of a part, while the sound server goes on.
    ///
    /// # Panics
    /// When it is not plugged in.
    pub fn unplug(&mut self, part: Part) {
        let modules = self.pactl(&["list", "short", "modules"]);
        let ours = modules.lines().find(|line| line.contains(&format!("sink_name={} ", part.sink())));
        let number = ours.and_then(|line| line.split_whitespace().next());
        self.pactl(&["unload-module", number.expect("it is plugged in")]);
    }

    /// Plugs a part in again, as the one that is used by default.
    pub fn plug_in_again(&mut self, part: Part) {
        self.pactl(&[&["load-module"], part.module().as_slice()].concat());
        self.keep_awake(part);
        self.pactl(&part.make_default());
    }

    /// Plugs a second microphone in, which hears what [`Self::hum_into`] says to it.
    pub fn plug_in_microphone(&mut self, name: &str) {
        self.pactl(&["load-module", "module-null-sink", &format!("sink_name={name}"), "rate=48000", "channels=1"]);
        self.play(name, Path::new("/dev/zero"));
    }

    /// Plugs a headset's microphone in, which hears what the first microphone hears, at a rate of its own.
    pub fn plug_in_headset(&mut self, name: &str, hertz: u32) {
        let (name, rate) = (format!("source_name={name}"), format!("rate={hertz}"));
        let [remap, master] = ["module-remap-source", "master=micfeed.monitor"];
        self.pactl(&["load-module", remap, &name, master, &rate, "channels=1", "remix=no"]);
    }

    /// Unplugs what [`Self::plug_in_microphone`] or [`Self::plug_in_headset`] plugged in.
    ///
    /// # Panics
    /// When it is not plugged in.
    pub fn unplug_by_name(&mut self, name: &str) {
        let modules = self.pactl(&["list", "short", "modules"]);
        let ours = modules.lines().find(|line| line.contains(&format!("_name={name} ")));
        let number = ours.and_then(|line| line.split_whitespace().next());
        self.pactl(&["unload-module", number.expect("it is plugged in")]);
    }

    /// Speaks a tone into a microphone from now on, for half a minute.
    pub fn hum_into(&mut self, name: &str, hertz: f32) {
        let file = self.tone(hertz);
        self.play(name, &file);
    }

    /// Listens to the loudspeaker for so long, and after a second of it does something.
    pub fn listen_while(&mut self, duration: Duration, doing: impl FnOnce(&mut Self)) -> Heard {
        let (mut process, mut sound) = self.record();
        let mut bytes = vec![0; RATE as usize * size_of::<f32>()];
        sound.read_exact(&mut bytes).expect("the loudspeaker's monitor");
        doing(self);
        let rest = bytes.len() + ((duration.as_secs_f32() - 1.0) * RATE as f32) as usize * size_of::<f32>();
        let heard = bytes.len();
        bytes.resize(rest, 0);
        sound.read_exact(&mut bytes[heard..]).expect("the loudspeaker's monitor");
        let _gone = process.kill();
        let _reaped = process.wait();
        Heard::of(&bytes)
    }

    fn pactl(&self, arguments: &[&str]) -> String {
        let mut pactl = Command::new("pactl");
        let output = pactl.args(arguments).env("PULSE_SERVER", self.server()).env("HOME", self.dir.path()).output();
        let output = output.expect("pactl runs");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The value of `PULSE_SERVER` for who uses the card.
    #[must_use]
    pub fn server(&self) -> String {
        format!("unix:{}", self.path("native"))
    }

    /// Speaks a tone into the microphone from now on, for half a minute.
    pub fn hum(&mut self, hertz: f32) {
        self.hum_into("micfeed", hertz);
    }

    fn tone(&self, hertz: f32) -> PathBuf {
        let samples = (0..30 * RATE).map(|n| (n as f32 * hertz / RATE as f32 * std::f32::consts::TAU).sin() * 0.3);
        let bytes: Vec<u8> = samples.flat_map(f32::to_le_bytes).collect();
        let file = self.dir.path().join(format!("hum-{hertz}"));
        fs::write(&file, bytes).expect("a sound file");
        file
    }

    /// Listens to the loudspeaker.
    #[must_use]
    pub fn listen(&self, duration: Duration) -> Heard {
        let mut bytes = vec![0; (duration.as_secs_f32() * RATE as f32) as usize * size_of::<f32>()];
        let (mut process, mut sound) = self.record();
        sound.read_exact(&mut bytes).expect("the loudspeaker's monitor");
        let _gone = process.kill();
        let _reaped = process.wait();
        Heard::of(&bytes)
    }

    fn record(&self) -> (Child, ChildStdout) {
        let mut recorder = self.client("parec");
        recorder.args(["-d", "speaker.monitor"]).stdout(Stdio::piped());
        let mut process = recorder.spawn().expect("parec starts");
        let sound = process.stdout.take().expect("stdout is piped");
        (process, sound)
    }

    fn play(&mut self, sink: &str, file: &Path) {
        let mut player = self.client("pacat");
        player.args(["--playback", "-d", sink]).stdin(fs::File::open(file).expect("a sound to play"));
        self.start(player);
    }

    fn client(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(["--raw", "--format=float32le", "--channels=1", "--rate=48000", "--latency-msec=10"]);
        command.env("PULSE_SERVER", self.server()).env("HOME", self.dir.path());
        command
    }

    fn start(&mut self, mut command: Command) {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.processes.push(child.unwrap_or_else(|error| panic!("{command:?}: {error}")));
    }

    fn wait_until_it_answers(&self) {
        let deadline = now() + SOON;
        loop {
            let mut info = Command::new("pactl");
            info.args(["info"]).env("PULSE_SERVER", self.server()).env("HOME", self.dir.path());
            if info.output().is_ok_and(|output| output.status.success()) {
                return;
            }
            let log = || fs::read_to_string(self.path("log")).unwrap_or_default();
            assert!(now() < deadline, "pulseaudio does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().expect("a temporary directory has a plain name").to_owned()
    }
}

impl Drop for SoundCard {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().rev() {
            let _gone = process.kill();
            let _reaped = process.wait();
        }
    }
}

impl Heard {
    fn of(bytes: &[u8]) -> Self {
        let sample = |bytes: &[u8]| f32::from_le_bytes(bytes.try_into().expect("chunks of four"));
        Self(bytes.chunks_exact(size_of::<f32>()).map(sample).collect())
    }

    /// For how long nothing was to be heard, at most.
    #[must_use]
    pub fn longest_silence(&self) -> Duration {
        let (mut longest, mut silent) = (0_u64, 0);
        for piece in self.0.chunks(RATE as usize / 100) {
            let is_silent = piece.iter().all(|sample| sample.abs() < 0.03);
            silent = if is_silent { silent + 1 } else { 0 };
            longest = longest.max(silent);
        }
        Duration::from_millis(10 * longest)
    }

    /// The level, root mean square; 1 is full scale.
    #[must_use]
    pub fn level(&self) -> f32 {
        (self.0.iter().map(|sample| sample * sample).sum::<f32>() / self.0.len().max(1) as f32).sqrt()
    }

    /// Which part of the power is at this frequency (within 10 Hz), by Goertzel's algorithm on pieces of 100 ms.
    #[must_use]
    pub fn share_of(&self, hertz: f32) -> f32 {
        let turn = hertz / RATE as f32 * std::f32::consts::TAU;
        let (mut at_frequency, mut total) = (0.0, f32::MIN_POSITIVE);
        for piece in self.0.chunks_exact(RATE as usize / 10) {
            let (mut last, mut before) = (0.0, 0.0);
            for sample in piece {
                (last, before) = (sample + 2.0 * turn.cos() * last - before, last);
            }
            let power = last * last + before * before - 2.0 * turn.cos() * last * before;
            at_frequency += 2.0 * power / piece.len() as f32;
            total += piece.iter().map(|sample| sample * sample).sum::<f32>();
        }
        at_frequency / total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_is_measured_and_a_tone_has_none() {
        let tone = |n| (n as f32 * 660.0 / RATE as f32 * std::f32::consts::TAU).sin() * 0.3;
        assert_eq!(Heard((0..RATE).map(tone).collect()).longest_silence(), Duration::ZERO);
        let gap = RATE / 10..RATE / 4;
        let interrupted = (0..RATE).map(|n| if gap.contains(&n) { 0.0 } else { tone(n) });
        assert_eq!(Heard(interrupted.collect()).longest_silence(), Duration::from_millis(150));
    }

    #[test]
    fn a_pure_tone_has_all_its_power_at_its_frequency() {
        let tone = Heard((0..RATE).map(|n| (n as f32 * 660.0 / RATE as f32 * std::f32::consts::TAU).sin()).collect());
        assert!((tone.level() - 0.707).abs() < 0.01, "{}", tone.level());
        assert!(tone.share_of(660.0) > 0.95, "{}", tone.share_of(660.0));
        assert!(tone.share_of(440.0) < 0.01, "{}", tone.share_of(440.0));
    }

    #[test]
    fn what_is_played_is_heard() {
        let mut card = SoundCard::plug_in();
        let file = card.dir.path().join("tone");
        let bytes: Vec<u8> = (0..5 * RATE).flat_map(|n| ((n as f32 * 0.05).sin() * 0.5).to_le_bytes()).collect();
        fs::write(&file, bytes).unwrap();
        card.play("speaker", &file);
        let heard = card.listen(Duration::from_secs(2));
        assert!(heard.level() > 0.1, "{}", heard.level());
    }
}
