//! What both systems leave of a call: what the wire did and carried, and samples of the pictures that arrived.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use parlor_tests::{Host, Lan, Wire, now, unix_ms, usage};
use rustix::fs::FallocateFlags;
use serde_json::json;

use crate::links::{Beside, Link, SETTLING_S};

/// How often the wire's counters are read.
const TICK: Duration = Duration::from_millis(100);

/// Of the pictures that arrive, the browser's page keeps one in so many, as Parlor does when asked for samples.
pub(crate) const KEEP_ONE_IN: usize = 15;

/// Two hosts with a wire between them that is to become bad, and two more behind the same wire if it is to be shared.
pub(crate) struct Line {
    pub(crate) lan: Lan,
    wire: Wire,
}

impl Line {
    pub(crate) fn new(run: u64, beside: Beside) -> Self {
        let lan = Lan::new(if beside == Beside::Nothing { 2 } else { 4 });
        let wire = lan[0].wire(run);
        if let Some(neighbour) = lan.hosts().get(2) {
            wire.share(neighbour);
        }
        Self { lan, wire }
    }

    /// For as long as the call is to last: makes the link what it is to be, and writes `link.json`: when what was measured
    /// began and ended, the bytes that reached each host by every tick, and what either end used of the machine.
    pub(crate) fn run(&mut self, link: &Link, folder: &Path) -> anyhow::Result<()> {
        let download = (link.beside == Beside::Download).then(|| Download::start(&self.lan)).transpose()?;
        let (start, start_ms) = (now(), unix_ms());
        let mut steps = link.steps.iter().peekable();
        let mut received = vec![Vec::new(); self.lan.hosts().len()];
        let ticks_a_second = 1000 / TICK.as_millis() as u64;
        let mut settled = [Usage::default(); 2];
        for tick in 0..link.seconds * ticks_a_second {
            while let Some((_, impairment)) = steps.next_if(|(at, _)| *at * ticks_a_second <= tick) {
                self.wire.set(*impairment);
            }
            for (host, bytes) in self.lan.hosts().iter().zip(&mut received) {
                bytes.push(host.received_bytes());
            }
            if tick == SETTLING_S * ticks_a_second {
                settled = ends(&self.lan).map(|(_, host)| Usage::on(host));
            }
            thread::sleep((start + TICK * (tick as u32 + 1)).saturating_duration_since(now()));
        }
        let to_ms = unix_ms();
        let used = ends(&self.lan).map(|(_, host)| Usage::on(host));
        drop(download);
        let minutes = (link.seconds - SETTLING_S) as f64 / 60.0;
        let cpu: Vec<f64> =
            used.iter().zip(settled).map(|(after, before)| (after.cpu_s - before.cpu_s) / minutes).collect();
        let steps: Vec<u64> = link.steps.iter().map(|(at, _)| start_ms + at * 1000).collect();
        let mut received = received.into_iter();
        let [ann, bob, ann_beside, bob_beside] = std::array::from_fn(|_| received.next());
        let about = json!({
            "from_ms": start_ms + SETTLING_S * 1000, "to_ms": to_ms, "steps_ms": steps, "video": link.video,
            "tick_ms": TICK.as_millis() as u64, "ann_received": ann, "bob_received": bob,
            "ann_beside": ann_beside, "bob_beside": bob_beside, "beside": link.beside.name(),
            "cpu_s_a_minute": cpu, "pss_mib": used.map(|usage| usage.pss_mib),
        });
        fs::write(folder.join("link.json"), format!("{about}\n"))?;
        Ok(())
    }
}

/// Bytes by TCP from the fourth host to the third, as many as the link takes, until this is dropped.
struct Download([Child; 2]);

/// Where the fourth host listens.
const DOWNLOAD: &str = "10.77.0.14:8080";

impl Download {
    fn start(lan: &Lan) -> io::Result<Self> {
        let end = |host: &Host, what: &str| {
            let mut command = host.command(std::env::current_exe()?);
            command.args([what, DOWNLOAD, "--out", ".", "--clip", "."]);
            io::Result::Ok(command)
        };
        let mut server = end(&lan[3], "--serve")?.stdout(Stdio::piped()).spawn()?;
        let mut ready = [0];
        server.stdout.take().map_or(Ok(()), |mut stdout| stdout.read_exact(&mut ready))?;
        let client = end(&lan[2], "--download")?.spawn()?;
        Ok(Self([server, client]))
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _gone = child.kill();
            let _reaped = child.wait();
        }
    }
}

/// Sends zeros to whoever connects first; says on stdout when one can.
pub(crate) fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    io::stdout().write_all(b"!")?;
    io::stdout().flush()?;
    let (mut connection, _) = listener.accept()?;
    io::copy(&mut io::repeat(0), &mut connection).map(|_| ())
}

/// Takes all that is sent.
pub(crate) fn download(address: SocketAddr) -> io::Result<()> {
    io::copy(&mut TcpStream::connect(address)?, &mut io::sink()).map(|_| ())
}

/// What all processes of a host use of the machine.
#[derive(Clone, Copy, Default)]
struct Usage {
    cpu_s: f64,
    pss_mib: f64,
}

impl Usage {
    fn on(host: &Host) -> Self {
        let listed = Command::new("ip").args(["netns", "pids", host.name()]).output();
        let listed = listed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        listed
            .lines()
            .filter_map(|pid| pid.trim().parse().ok())
            .map(usage::Usage::of)
            .fold(Self::default(), |all, one| Self { cpu_s: all.cpu_s + one.cpu_s, pss_mib: all.pss_mib + one.pss_mib })
    }
}

/// The name of a host, as the end of a call.
pub(crate) fn ends(lan: &Lan) -> [(&'static str, &Host); 2] {
    [("ann", &lan[0]), ("bob", &lan[1])]
}

/// Keeps the luma of the pictures of a YUV4MPEG2 file that is still being written, and frees the rest of it, which would
/// fill the disk. Ends when nothing was written for a second. The file that it makes holds, for each picture,
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
    loop {
        match file.read_exact(&mut frame) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
            result => result?,
        }
        read += frame.len() as u64;
        [width, height].iter().try_for_each(|side| out.write_all(&(*side as u32).to_le_bytes()))?;
        out.write_all(&frame[b"FRAME\n".len()..][..width * height])?;
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let _where_it_can_be = rustix::fs::fallocate(&file.file, punch, 0, read);
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
