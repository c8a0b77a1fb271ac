//! A bad wire: carries Ethernet frames between two TAP devices, which it makes, with delay, loss and a bottleneck.
//!
//! `wire NEAR FAR [FILE]` prints `ready` when the devices exist, and keeps every frame from NEAR in FILE, each after its
//! length (two bytes, big-endian). Each line on stdin is a new setting: delay in ms, loss in
//! percent, rate in kbit/s (0: unlimited). Ends with stdin. (The kernel's own netem is not everywhere, and needs a
//! module where it is.)

use std::{
    env,
    fs::File,
    io::{self, BufRead, Read, Write},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use parlor_tests::{Impairment, now};

/// The drop-tail queue of the bottleneck, as time at its rate.
const QUEUE: Duration = Duration::from_millis(200);

/// Frames in the air, per direction: 250 ms at 100 Mbit/s of small packets. Further ones are dropped.
const MAX_IN_FLIGHT: usize = 8192;

type Shared = Arc<Mutex<Impairment>>;

fn main() -> anyhow::Result<()> {
    let names: Vec<String> = env::args().skip(1).collect();
    let ([near, far] | [near, far, _]) = names.as_slice() else { bail!("usage: wire NEAR FAR [FILE]") };
    let (near, far) = (tap(near)?, tap(far)?);
    let record = names.get(2).map(File::create).transpose().context("the record")?;
    let settings = Shared::default();
    carry(near.try_clone()?, far.try_clone()?, Arc::clone(&settings), record, 1);
    carry(far, near, Arc::clone(&settings), None, 2);
    let mut stdout = io::stdout();
    writeln!(stdout, "ready")?;
    for line in io::stdin().lock().lines() {
        let new = parse(&line?)?;
        *settings.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }
    Ok(())
}

fn parse(line: &str) -> anyhow::Result<Impairment> {
    let [delay, loss, rate] = line.split_whitespace().collect::<Vec<_>>()[..] else { bail!("three numbers: {line:?}") };
    Ok(Impairment { delay_ms: delay.parse()?, loss_percent: loss.parse()?, rate_kbps: rate.parse()? })
}

/// One direction: a thread that records frames, and decides when and whether each frame arrives, and one that delivers it then. Both end
/// with the process.
fn carry(mut from: File, mut to: File, settings: Shared, mut record: Option<File>, seed: u64) {
    let (departures, arrivals) = mpsc::sync_channel::<(Instant, Vec<u8>)>(MAX_IN_FLIGHT);
    thread::spawn(move || {
        let mut link = Link { random: Random(seed), sent_until: now() };
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
    thread::spawn(move || {
        for (due, frame) in arrivals {
            thread::sleep(due.saturating_duration_since(now()));
            let _dropped_when_down = to.write(&frame);
        }
    });
}

struct Link {
    random: Random,
    /// When the bottleneck has sent what it was given so far.
    sent_until: Instant,
}

impl Link {
    /// When `frame`, sent `now`, arrives; `None` when it is lost.
    fn arrival(&mut self, now: Instant, frame: &[u8], setting: Impairment) -> Option<Instant> {
        const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
        if frame.get(12..14) == Some(&ETHERTYPE_ARP) {
            return Some(now);
        }
        let mut sent = now;
        if setting.rate_kbps > 0 {
            let start = self.sent_until.max(now);
            if start - now > QUEUE {
                return None;
            }
            let bits = frame.len() as u64 * 8;
            sent = start + Duration::from_micros(bits * 1000 / u64::from(setting.rate_kbps));
            self.sent_until = sent;
        }
        let lost = self.random.next_unit() * 100.0 < f64::from(setting.loss_percent);
        (!lost).then(|| sent + Duration::from_millis(setting.delay_ms.into()))
    }
}

/// `SplitMix64`: the same losses in every run.
struct Random(u64);

impl Random {
    /// Evenly spread over 0..1.
    fn next_unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
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

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: [u8; 1250] = [0; 1250];

    fn link() -> (Link, Instant) {
        let start = now();
        (Link { random: Random(1), sent_until: start }, start)
    }

    #[test]
    fn frames_arrive_after_the_delay() {
        let (mut link, start) = link();
        let setting = Impairment { delay_ms: 25, ..Impairment::default() };
        assert_eq!(link.arrival(start, &FRAME, setting), Some(start + Duration::from_millis(25)));
    }

    #[test]
    fn as_many_frames_are_lost_as_asked_for_but_no_arp() {
        let (mut link, start) = link();
        let setting = Impairment { loss_percent: 5.0, ..Impairment::default() };
        let lost = (0..10_000).filter(|_| link.arrival(start, &FRAME, setting).is_none()).count();
        assert!((400..600).contains(&lost), "{lost}");
        let mut arp = FRAME;
        arp[12..14].copy_from_slice(&[0x08, 0x06]);
        let all_lost = Impairment { loss_percent: 100.0, ..Impairment::default() };
        assert_eq!(link.arrival(start, &arp, all_lost), Some(start));
    }

    #[test]
    fn a_bottleneck_queues_200_ms_and_drops_the_rest() {
        let (mut link, start) = link();
        let setting = Impairment { rate_kbps: 1000, ..Impairment::default() }; // 10 ms a frame
        let arrivals: Vec<_> = (0..100).filter_map(|_| link.arrival(start, &FRAME, setting)).collect();
        assert_eq!(arrivals.first(), Some(&(start + Duration::from_millis(10))));
        assert_eq!(arrivals.last(), Some(&(start + Duration::from_millis(210))));
        assert_eq!(arrivals.len(), 21);
    }
}
