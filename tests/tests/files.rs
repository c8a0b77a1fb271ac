//! Files that are missing, damaged, no files at all, or can't be written: each is told of in a clear word, and the call
//! goes on.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use parlor_tests::{Event, Host, Lan, Peer, SOON, Starting, clip, in_lab, parlor};
use serde_json::json;

/// Ann, with these devices, calls Bob, until he has `first`: her devices' problems, in the order in which they were told.
fn call(ann: Starting, host: &Host, bob: &mut Peer, first: &[&str], problems: usize) -> Vec<Event> {
    let mut ann = ann.args(["--call", "Bob"]).start(host);
    let call = ann.expect("connected", SOON);
    let told = (0..problems).map(|_| ann.expect("device", SOON)).collect();
    for event in first {
        bob.expect_of(&call, event, SOON);
    }
    ann.tell(&json!({ "do": "hangup" }));
    assert_eq!(ann.expect_of(&call, "ended", SOON)["reason"], "hung_up");
    ann.expect_of(&call, "devices_closed", SOON);
    assert_eq!(ann.so_far("device").len(), problems, "told once each");
    assert!(ann.terminate().success());
    assert!(!ann.log().contains("panicked"));
    told
}

/// At least silence.
const SOUND: &[&str] = &["first_audio"];
const SOUND_AND_PICTURE: &[&str] = &["first_audio", "first_video_frame"];

/// A source or sink.
fn file(path: &Path) -> String {
    format!("file:{}", path.display())
}

/// Ann with files for her camera and microphone.
fn playing(camera: &Path, microphone: &Path) -> Starting {
    Peer::named("Ann").camera(file(camera)).microphone(file(microphone))
}

fn are_bad_files(told: &[Event], devices: &[&str]) {
    for event in told {
        assert_eq!(event["problem"], "bad_file", "{event}");
        assert!(devices.contains(&event["device"].as_str().unwrap()), "{event}");
        assert!(!event["detail"].as_str().unwrap().is_empty());
    }
}

fn fifo(path: PathBuf) -> PathBuf {
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

/// The first bytes of a file, as a new one.
fn cut(path: &Path, length: usize) -> PathBuf {
    let short = path.with_extension(format!("{length}"));
    fs::write(&short, &fs::read(path).unwrap()[..length]).unwrap();
    short
}

/// 16 bit of one channel at 44.1 kHz, a second long.
fn wav(path: PathBuf) -> PathBuf {
    let (rate, bytes) = (44_100_u32, 88_200_u32);
    let mut file = File::create(&path).unwrap();
    file.write_all(b"RIFF").unwrap();
    file.write_all(&(36 + bytes).to_le_bytes()).unwrap();
    file.write_all(b"WAVEfmt \x10\0\0\0\x01\0\x01\0").unwrap();
    file.write_all(&rate.to_le_bytes()).unwrap();
    file.write_all(&(2 * rate).to_le_bytes()).unwrap();
    file.write_all(b"\x02\0\x10\0data").unwrap();
    file.write_all(&bytes.to_le_bytes()).unwrap();
    file.write_all(&vec![7; bytes as usize]).unwrap();
    path
}

#[test]
fn what_can_not_be_played_is_told_of_and_the_call_goes_on() {
    in_lab(|| {
        let lan = Lan::new(2);
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let (picture, sound) = (path("clip.y4m"), wav(path("sound.wav")));
        clip::write(&picture, 320, 180, 3).unwrap();
        fs::write(path("empty"), "").unwrap();
        fs::write(path("nonsense"), "YUV4MPEG2 W0 H-1 F0:0\nRIFF").unwrap();
        fs::create_dir(path("directory")).unwrap();
        let pairs = [
            (path("missing.y4m"), path("missing.wav")),
            (path("directory"), path("directory")),
            ("/dev/zero".into(), "/dev/zero".into()),
            (fifo(path("fifo.y4m")), fifo(path("fifo.wav"))),
            (path("empty"), path("empty")),
            (path("nonsense"), path("nonsense")),
            (cut(&picture, 1000), cut(&sound, 30)),
            (sound.clone(), picture.clone()),
        ];
        let mut bob = Peer::named("Bob").accepting().start(&lan[1]);
        for (camera, microphone) in &pairs {
            let told = call(playing(camera, microphone), &lan[0], &mut bob, SOUND, 2);
            are_bad_files(&told, &["camera", "microphone"]);
        }
        // What is cut off further on is played as far as it goes.
        let short = playing(&cut(&picture, 200_000), &cut(&sound, 60_000));
        let told = call(short, &lan[0], &mut bob, SOUND_AND_PICTURE, 2);
        are_bad_files(&told, &["camera", "microphone"]);
        // A size of its own is none.
        clip::write(&picture, 321, 187, 3).unwrap();
        call(playing(&picture, &sound), &lan[0], &mut bob, SOUND_AND_PICTURE, 0);
    });
}

#[test]
fn what_can_not_be_recorded_is_told_of_and_the_call_goes_on() {
    in_lab(|| {
        let lan = Lan::new(2);
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let mut bob = Peer::named("Bob").accepting().start(&lan[1]);
        let impossible =
            [path("missing/file"), dir.path().to_owned(), fifo(path("fifo")), "/proc/file".into(), "/dev/full".into()];
        for path in &impossible {
            let ann = Peer::named("Ann").speaker(file(path)).args(["--video-out", &file(path)]);
            let told = call(ann, &lan[0], &mut bob, SOUND, 2);
            are_bad_files(&told, &["speaker", "video_out"]);
        }
    });
}

/// A file system of a few pages, in this lab only.
fn tiny_disk(at: &Path) {
    fs::create_dir(at).unwrap();
    mount(&["-t", "tmpfs", "-o", "size=64k", "tmpfs"], at);
}

fn mount(arguments: &[&str], at: &Path) {
    assert!(Command::new("mount").args(arguments).arg(at).status().unwrap().success());
}

fn fill(disk: &Path) {
    let mut file = File::create(disk.join("filler")).unwrap();
    while file.write_all(&[7; 1024]).is_ok() {}
}

#[test]
fn a_data_directory_that_is_full_or_read_only_is_explained() {
    in_lab(|| {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        tiny_disk(&disk);
        let start = |data: &Path| {
            let mut parlor = Command::new(parlor());
            parlor.args(["headless", "--name", "Ann", "--no-lan", "--duration", "0.5", "--data-dir"]).arg(data);
            let output = parlor.output().unwrap();
            (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
        };
        fill(&disk);
        for (obstacle, wanted) in [("full", "full"), ("read-only", "can only be read")] {
            if obstacle == "read-only" {
                fs::remove_file(disk.join("filler")).unwrap();
                mount(&["-o", "remount,ro"], &disk);
            }
            for data in [disk.clone(), disk.join("new")] {
                let (code, message) = start(&data);
                assert!(code.is_some_and(|code| code != 0 && code != 101), "{obstacle}: {code:?} {message}");
                assert!(message.contains(wanted) && message.contains(disk.to_str().unwrap()), "{obstacle}: {message}");
            }
        }
    });
}

#[test]
fn a_disk_that_fills_up_during_a_call_does_not_end_it() {
    in_lab(|| {
        let lan = Lan::new(2);
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        tiny_disk(&disk);
        let ann = Peer::named("Ann").data_dir(&disk).args(["--call", "Bob", "--stats-every", "0.5"]);
        let ann = ann.args(["--video-out", &file(&disk.join("out.y4m"))]);
        let mut bob = Peer::named("Bob").accepting().start(&lan[1]);
        let mut ann = ann.env("RUST_LOG", "parlor_net=trace").start(&lan[0]);
        let call = ann.expect("connected", SOON);
        fill(&disk);
        let told = ann.expect("device", SOON);
        assert_eq!((&told["device"], &told["problem"]), (&json!("video_out"), &json!("bad_file")), "{told}");
        let shown = |ann: &mut Peer| ann.expect("stats", SOON)["video_recv"]["shown"].as_u64().unwrap();
        let before = shown(&mut ann);
        while shown(&mut ann) < before + 30 {}
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(ann.so_far("device").len(), 1, "told once");
        ann.tell(&json!({ "do": "hangup" }));
        ann.expect_of(&call, "devices_closed", SOON);
        bob.expect_of(&call, "ended", SOON);
        assert!(ann.terminate().success());
        assert!(!ann.log().contains("panicked"));
    });
}
