//! Sharing a screen, on one without hardware: what is on it is what the other side gets to see.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

#[cfg(feature = "wayland-screens")]
#[path = "screen/wayland.rs"]
mod wayland;

use std::{fs, path::Path, time::Duration};

use parlor_tests::{Lan, Peer, SOON, Screen, in_lab, now};
use serde_json::{Value, json};
use x11rb::{
    connection::Connection as _,
    protocol::xproto::{
        AtomEnum, ChangeGCAux, ConnectionExt as _, CreateGCAux, CreateWindowAux, EventMask, PropMode, Rectangle,
        Window, WindowClass,
    },
    rust_connection::RustConnection,
    wrapper::ConnectionExt as _,
};

/// On a machine that is starved the rate falls to its floor, where a screen waits for better times.
const PATIENT: Duration = Duration::from_secs(60);
const SIZE: (u32, u32) = (1280, 800);
/// Red, green and blue; and what they are in BT.709, limited range.
const ORANGE: (u32, [u8; 3]) = (0xE0_80_20, [134, 71, 169]);
const BLUE: (u32, [u8; 3]) = (0x20_40_C0, [66, 181, 108]);

/// A program with one window of one colour.
struct Slides {
    connection: RustConnection,
    window: Window,
    title: &'static str,
}

impl Slides {
    fn show(screen: &Screen, title: &'static str, colour: u32, (x, y, width, height): (i16, i16, u16, u16)) -> Self {
        let (connection, number) = RustConnection::connect(Some(screen.display())).unwrap();
        let root = &connection.setup().roots[number];
        let (root, visual) = (root.root, root.root_visual);
        let window = connection.generate_id().unwrap();
        let looks = CreateWindowAux::new().background_pixel(colour).event_mask(EventMask::EXPOSURE);
        let class = WindowClass::INPUT_OUTPUT;
        connection.create_window(0, window, root, x, y, width, height, 0, class, visual, &looks).unwrap();
        let name = AtomEnum::WM_NAME;
        connection.change_property8(PropMode::REPLACE, window, name, AtomEnum::STRING, title.as_bytes()).unwrap();
        connection.map_window(window).unwrap();
        connection.sync().unwrap();
        Self { connection, window, title }
    }

    /// Another page: the left half has another colour.
    fn turn(&self, colour: u32) {
        let paint = self.connection.generate_id().unwrap();
        self.connection.create_gc(paint, self.window, &CreateGCAux::new()).unwrap();
        self.connection.change_gc(paint, &ChangeGCAux::new().foreground(colour)).unwrap();
        let half = Rectangle { x: 0, y: 0, width: 320, height: 2_000 };
        self.connection.poly_fill_rectangle(self.window, paint, &[half]).unwrap();
        self.connection.sync().unwrap();
    }

    fn close(self) {
        self.connection.destroy_window(self.window).unwrap();
        self.connection.sync().unwrap();
    }
}

/// What was recorded of a screen.
struct Recording {
    width: usize,
    height: usize,
    frames: Vec<Vec<u8>>,
}

impl Recording {
    fn read(path: &Path) -> Self {
        let file = fs::read(path).unwrap();
        let end = file.iter().position(|&byte| byte == b'\n').unwrap();
        let header = std::str::from_utf8(&file[..end]).unwrap();
        let number = |letter: char| -> usize {
            let word = header.split(' ').find(|word| word.starts_with(letter)).unwrap();
            word[1..].parse().unwrap()
        };
        let (width, height) = (number('W'), number('H'));
        let length = width * height + 2 * width.div_ceil(2) * height.div_ceil(2);
        let frames = file[end + 1..].chunks_exact(6 + length).map(|frame| frame[6..].to_vec()).collect();
        Self { width, height, frames }
    }

    fn colour(&self, frame: &[u8], x: usize, y: usize) -> [u8; 3] {
        let (luma, chroma) = (self.width * self.height, self.width.div_ceil(2) * self.height.div_ceil(2));
        let at = y / 2 * self.width.div_ceil(2) + x / 2;
        [frame[y * self.width + x], frame[luma + at], frame[luma + chroma + at]]
    }

    /// Frames that have this colour there.
    fn with(&self, (x, y): (usize, usize), colour: [u8; 3]) -> usize {
        let near = |frame: &&Vec<u8>| {
            self.colour(frame, x, y).iter().zip(colour).all(|(seen, wanted)| seen.abs_diff(wanted) < 14)
        };
        self.frames.iter().filter(near).count()
    }

    /// How much the brightness varies in a square, in the last frame.
    fn contrast(&self, (x, y): (usize, usize), half: usize) -> u8 {
        let frame = self.frames.last().unwrap();
        let square = (y - half..y + half).flat_map(|y| (x - half..x + half).map(move |x| frame[y * self.width + x]));
        let (least, most) = square.fold((255, 0), |(least, most), luma| (luma.min(least), luma.max(most)));
        most - least
    }
}

/// The threads that take pictures of screens. Others that begin alike send and receive them.
const CAPTURES: [&str; 2] = ["screen", "screen-portal"];

/// Whether a process takes pictures of a screen: its thread, or the memory that it shares with the server.
fn captures(peer: &Peer) -> bool {
    let process = format!("/proc/{}", peer.pid());
    let has = |what: &str, is_it: &dyn Fn(&Path) -> bool| {
        fs::read_dir(format!("{process}/{what}")).unwrap().flatten().any(|entry| is_it(&entry.path()))
    };
    let thread =
        has("task", &|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| CAPTURES.contains(&name.trim())));
    let memory = has("fd", &|fd| fs::read_link(fd).is_ok_and(|to| to.to_string_lossy().contains("parlor-screen")));
    thread || memory
}

fn gone(what: impl Fn() -> bool) -> bool {
    let deadline = now() + Duration::from_secs(3);
    while what() && now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    !what()
}

fn listed(peer: &mut Peer) -> Vec<Value> {
    peer.tell(&json!({ "do": "list_screens" }));
    peer.expect("screens", SOON)["screens"].as_array().unwrap().clone()
}

#[test]
fn a_window_is_seen_with_the_pointer_until_it_closes_and_a_screen_until_the_call_ends() {
    in_lab(|| {
        let lan = Lan::new(2);
        let screen = Screen::switch_on(SIZE.0, SIZE.1);
        let slides = Slides::show(&screen, "Slides", ORANGE.0, (100, 50, 640, 480));
        // What lies above a window is not what was chosen.
        let _above = Slides::show(&screen, "Private", BLUE.0, (300, 200, 200, 200));
        screen.xdotool(&["mousemove", "200", "150"]);
        let recorded = tempfile::tempdir().unwrap();
        let record = |name: &str| format!("file:{}", recorded.path().join(name).display());
        let ann = Peer::named("Ann").env("DISPLAY", screen.display()).env("WAYLAND_DISPLAY", "");
        let mut ann = ann.args(["--stats-every", "1"]).start(&lan[0]);
        let bob = Peer::named("Bob").accepting().args(["--stats-every", "1", "--screen-out", &record("first.y4m")]);
        let mut bob = bob.start(&lan[1]);
        ann.expect("peer_online", SOON);
        ann.call(&bob);
        let call = ann.expect("connected", SOON);
        bob.expect_of(&call, "first_video_frame", SOON);

        let list = listed(&mut ann);
        assert!(!captures(&ann), "a list captures nothing for longer than it takes");
        let of = |name: &str| list.iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("{list:?}"));
        assert_eq!((&of(slides.title)["width"], &of(slides.title)["height"]), (&json!(640), &json!(480)));
        let whole = list.iter().find(|entry| entry["source"].as_str().unwrap().starts_with("screen:")).unwrap();
        assert_eq!((&whole["width"], &whole["height"]), (&json!(SIZE.0), &json!(SIZE.1)));

        ann.tell(&json!({ "do": "share", "source": of(slides.title)["source"] }));
        assert_eq!(ann.expect_of(&call, "sharing", SOON)["name"], slides.title);
        assert_eq!(bob.expect_of(&call, "their_screen", SOON)["on"], true);
        bob.expect_of(&call, "first_screen_frame", PATIENT);
        bob.expect_where("stats", PATIENT, |stats| stats["screen_recv"]["shown"].as_u64() > Some(8));
        slides.turn(BLUE.0);
        let shown = bob.expect("stats", PATIENT)["screen_recv"]["shown"].as_u64();
        bob.expect_where("stats", PATIENT, |stats| {
            stats["screen_recv"]["shown"].as_u64() > shown.map(|shown| shown + 4)
        });
        let both = bob.expect_where("stats", PATIENT, |stats| stats["video_recv"]["fps"].as_f64() > Some(5.0));
        assert_eq!(both["screen_recv"]["width"], 640, "next to the camera, in full size: {both}");

        slides.close();
        let over = ann.expect_of(&call, "sharing_over", SOON);
        assert_eq!(over["problem"], "gone", "the call goes on: {over}");
        assert_eq!(bob.expect_where("their_screen", SOON, |event| event["on"] == false)["call"], call["call"]);
        assert!(gone(|| captures(&ann)), "a closed window leaves no capture behind");

        ann.tell(&json!({ "do": "share", "source": "screen" }));
        ann.expect_of(&call, "sharing", SOON);
        bob.expect_where("their_screen", SOON, |event| event["on"] == true);
        assert!(captures(&ann), "the test would notice a capture");
        let wide = |stats: &Value| stats["screen_recv"]["width"].as_u64() == Some(SIZE.0.into());
        bob.expect_where("stats", PATIENT, wide);
        ann.tell(&json!({ "do": "hangup" }));
        ann.expect_of(&call, "devices_closed", SOON);
        assert!(!captures(&ann), "nothing is captured after the call");
        bob.expect_of(&call, "devices_closed", SOON);
        bob.terminate();

        let recording = Recording::read(&recorded.path().join("first.y4m"));
        assert_eq!((recording.width, recording.height), (640, 480));
        assert!(recording.with((500, 100), ORANGE.1) > 8, "the window's colour");
        assert!(recording.with((60, 300), ORANGE.1) > 3 && recording.with((60, 300), BLUE.1) > 2, "both pages");
        // Where the other window lies above.
        assert_eq!(recording.with((400, 300), BLUE.1), 0, "nothing but what was chosen");
    });
}

#[test]
fn the_pointer_is_drawn_in_where_it_is() {
    in_lab(|| {
        let lan = Lan::new(2);
        let screen = Screen::switch_on(SIZE.0, SIZE.1);
        let _slides = Slides::show(&screen, "Slides", ORANGE.0, (100, 50, 640, 480));
        screen.xdotool(&["mousemove", "300", "250"]);
        let recorded = tempfile::tempdir().unwrap();
        let file = recorded.path().join("screen.y4m");
        let ann = Peer::named("Ann").env("DISPLAY", screen.display()).env("WAYLAND_DISPLAY", "");
        let mut ann = ann.args(["--share", "screen"]).start(&lan[0]);
        let out = format!("file:{}", file.display());
        let mut bob = Peer::named("Bob").accepting().args(["--stats-every", "1", "--screen-out", &out]).start(&lan[1]);
        ann.expect("peer_online", SOON);
        ann.call(&bob);
        bob.expect("first_screen_frame", PATIENT);
        bob.expect_where("stats", PATIENT, |stats| stats["screen_recv"]["shown"].as_u64() > Some(8));
        // When the other leaves, nothing is captured any more.
        bob.terminate();
        ann.expect("devices_closed", SOON);
        assert!(!captures(&ann));
        let recording = Recording::read(&file);
        assert_eq!((recording.width, recording.height), (SIZE.0 as usize, SIZE.1 as usize));
        let (pointer, elsewhere) = (recording.contrast((300, 250), 12), recording.contrast((500, 400), 12));
        assert!(pointer > 60 && elsewhere < 10, "{pointer}, {elsewhere}");
    });
}
