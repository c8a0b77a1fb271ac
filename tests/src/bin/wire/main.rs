//! A bad wire: carries Ethernet frames between two TAP devices, which it makes, with delay, loss and a bottleneck.
//!
//! `wire NEAR FAR SEED [FILE]` prints `ready` when the devices exist, and keeps every frame from NEAR in FILE, each after its
//! length (two bytes, big-endian). Each line on stdin is a new setting, an [`Impairment`] in JSON. Ends with stdin. (The
//! kernel's own netem is not everywhere, and needs a module where it is.)

mod link;

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    env,
    fs::File,
    io::{self, BufRead, Read, Write},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Instant,
};

use anyhow::{Context, bail};
use parlor_tests::{Impairment, now};

use self::link::Link;

/// Frames in the air, per direction: 250 ms at 100 Mbit/s of small packets. Further ones are dropped.
const MAX_IN_FLIGHT: usize = 8192;

type Shared = Arc<Mutex<Impairment>>;

fn main() -> anyhow::Result<()> {
    let names: Vec<String> = env::args().skip(1).collect();
    let ([near, far, seed] | [near, far, seed, _]) = names.as_slice() else {
        bail!("usage: wire NEAR FAR SEED [FILE]")
    };
    let seed: u64 = seed.parse().context("SEED is a number")?;
    let (near, far) = (tap(near)?, tap(far)?);
    let record = names.get(3).map(File::create).transpose().context("the record")?;
    let settings = Shared::default();
    carry(near.try_clone()?, far.try_clone()?, Arc::clone(&settings), record, 2 * seed);
    carry(far, near, Arc::clone(&settings), None, 2 * seed + 1);
    let mut stdout = io::stdout();
    writeln!(stdout, "ready")?;
    for line in io::stdin().lock().lines() {
        let new = serde_json::from_str(&line?).context("a setting")?;
        *settings.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }
    Ok(())
}

/// One direction: a thread that records frames, and decides when and whether each arrives, and one that delivers it then.
/// Both end with the process.
fn carry(mut from: File, to: File, settings: Shared, mut record: Option<File>, seed: u64) {
    let (departures, arrivals) = mpsc::sync_channel::<(Instant, Vec<u8>)>(MAX_IN_FLIGHT);
    thread::spawn(move || {
        let mut link = Link::new(seed, now());
        let mut buffer = [0; 2048];
        while let Ok(length) = from.read(&mut buffer) {
            let frame = &buffer[..length];
            if let Some(record) = &mut record {
                let kept = [&(length as u16).to_be_bytes(), frame].concat();
                record.write_all(&kept).expect("room for the record");
            }
            let setting = *settings.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(due) = link.arrival(now(), frame, setting) {
                let _dropped_when_full = departures.try_send((due, frame.to_vec()));
            }
        }
    });
    thread::spawn(move || deliver(&arrivals, to));
}

/// Each frame when it is due; those that are due at once in the order in which they came.
fn deliver(arrivals: &Receiver<(Instant, Vec<u8>)>, mut to: File) {
    let mut air = BinaryHeap::new();
    for serial in 0_u64.. {
        let wait = air
            .peek()
            .map(|Reverse((due, ..)): &Reverse<(Instant, u64, Vec<u8>)>| due.saturating_duration_since(now()));
        let arrived = match wait {
            None => arrivals.recv().map_err(RecvTimeoutError::from),
            Some(wait) => arrivals.recv_timeout(wait),
        };
        match arrived {
            Ok((due, frame)) => air.push(Reverse((due, serial, frame))),
            Err(RecvTimeoutError::Timeout) => {
                let Some(Reverse((_, _, frame))) = air.pop() else { continue };
                let _dropped_when_down = to.write(&frame);
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Makes a TAP device, which lasts as long as the file is open.
fn tap(name: &str) -> anyhow::Result<File> {
    /// `struct ifreq` of netdevice(7), as `TUNSETIFF` reads it.
    #[repr(C)]
    struct InterfaceRequest {
        name: [u8; 16],
        flags: u16,
        padding: [u8; 22],
    }
    const TUNSETIFF: rustix::ioctl::Opcode = rustix::ioctl::opcode::write::<i32>(b'T', 202);
    const IFF_TAP: u16 = 0x0002;
    const IFF_NO_PI: u16 = 0x1000;

    let file = File::options().read(true).write(true).open("/dev/net/tun").context("/dev/net/tun")?;
    let mut request = InterfaceRequest { name: [0; 16], flags: IFF_TAP | IFF_NO_PI, padding: [0; 22] };
    request.name.get_mut(..name.len()).context("the name is too long")?.copy_from_slice(name.as_bytes());
    #[expect(unsafe_code, reason = "TUNSETIFF has no safe wrapper; it reads and writes one ifreq, which outlives it")]
    unsafe { rustix::ioctl::ioctl(&file, rustix::ioctl::Updater::<TUNSETIFF, _>::new(&mut request)) }
        .with_context(|| format!("TAP device {name}"))?;
    Ok(file)
}
