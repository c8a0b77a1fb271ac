//! What both systems leave of a call: what the wire did and carried, and samples of the pictures that arrived.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    path::Path,
    thread,
    time::Duration,
};

use parlor_tests::{Host, Lan, Wire, now, unix_ms};
use rustix::fs::FallocateFlags;
use serde_json::json;

use crate::links::{Link, SETTLING_S};

/// How often the wire's counters are read.
const TICK: Duration = Duration::from_millis(100);

/// Of the pictures that arrive, one in so many is kept.
pub(crate) const KEEP_ONE_IN: usize = 15;

/// Two hosts with a wire between them that is to become bad.
pub(crate) struct TwoHosts {
    pub(crate) lan: Lan,
    wire: Wire,
}

impl TwoHosts {
    pub(crate) fn new(run: u64) -> Self {
        let lan = Lan::new(2);
        let wire = lan[0].wire(run);
        Self { lan, wire }
    }

    /// For as long as the call is to last: makes the link what it is to be, and writes `link.json`: when what was measured
    /// began and ended, and the bytes that reached either host by every tick.
    pub(crate) fn run(&mut self, link: &Link, folder: &Path) -> io::Result<()> {
        let (start, start_ms) = (now(), unix_ms());
        let mut steps = link.steps.iter().peekable();
        let mut received = [Vec::new(), Vec::new()];
        let ticks = link.seconds * 1000 / TICK.as_millis() as u64;
        for tick in 0..ticks {
            while let Some((_, impairment)) = steps.next_if(|(at, _)| *at * 1000 <= tick * TICK.as_millis() as u64) {
                self.wire.set(*impairment);
            }
            for (host, bytes) in self.lan.hosts().iter().zip(&mut received) {
                bytes.push(host.received_bytes());
            }
            thread::sleep((start + TICK * (tick as u32 + 1)).saturating_duration_since(now()));
        }
        let [ann, bob] = received;
        let steps: Vec<u64> = link.steps.iter().map(|(at, _)| start_ms + at * 1000).collect();
        let about = json!({
            "from_ms": start_ms + SETTLING_S * 1000, "to_ms": unix_ms(), "steps_ms": steps, "video": link.video,
            "tick_ms": TICK.as_millis() as u64, "ann_received": ann, "bob_received": bob,
        });
        fs::write(folder.join("link.json"), format!("{about}\n"))
    }
}

/// The name of a host, as the end of a call.
pub(crate) fn ends(lan: &Lan) -> [(&'static str, &Host); 2] {
    [("ann", &lan[0]), ("bob", &lan[1])]
}

/// Keeps the luma of every few pictures of a YUV4MPEG2 file that is still being written, and frees the rest of it, which
/// would fill the disk. Ends when nothing was written for a second. The file that it makes holds, for each picture,
/// width and height (four bytes each, little-endian) and the samples.
pub(crate) fn keep_some(growing: &Path, kept: &Path, is_over: &dyn Fn() -> bool) -> io::Result<()> {
    let mut file = Follower { file: open_when_there(growing, is_over)?, is_over };
    let mut header = Vec::new();
    while header.last() != Some(&b'\n') {
        let mut byte = [0];
        file.read_exact(&mut byte)?;
        header.extend(byte);
    }
    let size = |key: char| -> Option<usize> {
        let text = std::str::from_utf8(&header).ok()?;
        text.split_whitespace().find_map(|word| word.strip_prefix(key)?.parse().ok())
    };
    let (Some(width), Some(height)) = (size('W'), size('H')) else { return Err(io::ErrorKind::InvalidData.into()) };
    let mut frame = vec![0; b"FRAME\n".len() + width * height + 2 * width.div_ceil(2) * height.div_ceil(2)];
    let mut out = BufWriter::new(File::create(kept)?);
    let mut read = header.len() as u64;
    for number in 0.. {
        match file.read_exact(&mut frame) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            result => result?,
        }
        read += frame.len() as u64;
        if number % KEEP_ONE_IN == 0 {
            [width, height].iter().try_for_each(|side| out.write_all(&(*side as u32).to_le_bytes()))?;
            out.write_all(&frame[b"FRAME\n".len()..][..width * height])?;
            let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let _where_it_can_be = rustix::fs::fallocate(&file.file, punch, 0, read);
        }
    }
    out.flush()
}

fn open_when_there(path: &Path, is_over: &dyn Fn() -> bool) -> io::Result<File> {
    loop {
        match File::options().read(true).write(true).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_over() => thread::sleep(TICK),
            result => return result,
        }
    }
}

/// Waits at the end of a file for more of it, until the writer is done.
struct Follower<'a> {
    file: File,
    is_over: &'a dyn Fn() -> bool,
}

impl Read for Follower<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let over = (self.is_over)();
            match self.file.read(buffer)? {
                0 if !over => thread::sleep(Duration::from_millis(20)),
                read => return Ok(read),
            }
        }
    }
}
