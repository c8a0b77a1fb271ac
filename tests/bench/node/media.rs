//! Calls through a TURN relay: one end is relayed, the other sends to the relayed address, both at 2 Mbit/s.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use parlor_tests::{
    directory::Client,
    now,
    turn::{Line, TurnClient, channel_data},
    usage::Usage,
};
use serde_json::json;
use tokio::{net::UdpSocket, task::JoinSet};

use crate::{
    process::Node,
    table::{Goal, Row},
};

/// 2 Mbit/s are a packet of this size every this often.
const PAYLOAD_BYTES: usize = 1200;
const EVERY: Duration = Duration::from_micros(4800);

const CHANNEL: u16 = 0x4000;

/// What relays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relay {
    Ours,
    Coturn,
}

/// A running coturn. Killed when dropped.
struct Coturn(Child);

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The relay's process, and whatever keeps it alive.
enum Running {
    Ours { node: Node, _clients: Vec<Client>, _data: tempfile::TempDir },
    Coturn { child: Coturn, _data: tempfile::TempDir },
}

impl Running {
    fn usage(&self) -> Usage {
        match self {
            Self::Ours { node, .. } => node.usage(),
            Self::Coturn { child, .. } => Usage::of(child.0.id()),
        }
    }
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    received: AtomicU64,
    late: AtomicU64,
}

pub(crate) async fn measure(relay: Relay, calls: usize, seconds: u64) -> Result<Vec<Row>> {
    let (running, clients) = match relay {
        Relay::Ours => ours(calls).await?,
        Relay::Coturn => coturn(calls).await?,
    };
    let counts = Arc::new(Counts::default());
    let mut receivers = JoinSet::new();
    let mut lines = Vec::new();
    for mut client in clients {
        let peer = UdpSocket::bind("127.0.0.1:0").await?;
        let relayed = client.allocate().await?;
        client.bind(CHANNEL, peer.local_addr()?).await?;
        let Line::Udp(socket) = client.into_line() else { bail!("over UDP") };
        let (socket, peer) = (Arc::new(socket), Arc::new(peer));
        for end in [socket.clone(), peer.clone()] {
            receivers.spawn(receive(end, counts.clone()));
        }
        lines.push((socket, peer, relayed));
    }
    let before = running.usage();
    let sender = std::thread::Builder::new().name("sender".into()).spawn({
        let counts = counts.clone();
        move || send(&lines, &counts, seconds)
    })?;
    let began = now();
    while !sender.is_finished() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let lasted_s = began.elapsed().as_secs_f64();
    sender.join().ok().context("the sender has panicked")?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let after = running.usage();
    let (sent, received) = (counts.sent.load(Ordering::Relaxed), counts.received.load(Ordering::Relaxed));
    let mbits = received as f64 * PAYLOAD_BYTES as f64 * 8.0 / 1e6;
    let cpu_s = after.cpu_s - before.cpu_s;
    let name = match relay {
        Relay::Ours => "TURN",
        Relay::Coturn => "coturn",
    };
    let lost = 100.0 * (sent as f64 - received as f64) / sent as f64;
    let late = 100.0 * counts.late.load(Ordering::Relaxed) as f64 / received.max(1) as f64;
    let goal = if relay == Relay::Ours { Goal::AtMost(0.0) } else { Goal::None };
    Ok(vec![
        Row::new(format!("{name}: lost, {calls} calls"), lost, "%", goal).note(format!(
            "{sent} packets, {:.0} Mbit/s; {late:.2} % later than 10 ms; {:.0} MiB",
            mbits / lasted_s,
            after.rss_mib
        )),
        Row::new(format!("{name}: CPU for 100 Mbit/s"), 100.0 * cpu_s / mbits * 100.0, "% of a core", Goal::None).note(
            format!("{:.2} CPU-ms a Mbit, {:.1} us a packet", 1000.0 * cpu_s / mbits, 1e6 * cpu_s / received as f64),
        ),
    ])
}

async fn ours(calls: usize) -> Result<(Running, Vec<TurnClient>)> {
    let data = tempfile::tempdir()?;
    let node = Node::start(data.path(), "/ip4/127.0.0.1/tcp/0")?;
    let (mut people, mut clients) = (Vec::new(), Vec::new());
    for n in 0..calls {
        let mut person = Client::sign_on(&format!("Caller {n}"), &node.address).await?;
        person.send(&json!({ "do": "turn" })).await?;
        let access = person.expect("turn").await?;
        let text = |value: &serde_json::Value| value.as_str().map(str::to_owned).context("access");
        let at: SocketAddr = text(&access["udp"][0])?.parse()?;
        let server = SocketAddr::from(([127, 0, 0, 1], at.port()));
        clients.push(TurnClient::udp(server, &text(&access["username"])?, &text(&access["password"])?).await?);
        people.push(person);
    }
    Ok((Running::Ours { node, _clients: people, _data: data }, clients))
}

async fn coturn(calls: usize) -> Result<(Running, Vec<TurnClient>)> {
    const PORT: u16 = 34_780;
    let data = tempfile::tempdir()?;
    let mut command = Command::new("turnserver");
    command.args(["-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--lt-cred-mech", "--user", "u:p"]);
    command.args(["--realm", "bench", "--allow-loopback-peers", "--no-tls", "--no-dtls", "--no-cli", "--no-tcp"]);
    command.args(["--listening-port", &PORT.to_string(), "--log-file", "stdout", "--pidfile"]);
    command.arg(data.path().join("pid")).arg("--userdb").arg(data.path().join("users"));
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let child = Coturn(child.context("coturn is not installed")?);
    let server = SocketAddr::from(([127, 0, 0, 1], PORT));
    // Until it listens.
    let mut clients = Vec::new();
    tokio::time::sleep(Duration::from_secs(2)).await;
    for _ in 0..calls {
        clients.push(TurnClient::udp(server, "u", "p").await?);
    }
    Ok((Running::Coturn { child, _data: data }, clients))
}

/// One packet of each end of each call, every so often.
fn send(lines: &[(Arc<UdpSocket>, Arc<UdpSocket>, SocketAddr)], counts: &Counts, seconds: u64) {
    let began = now();
    let mut payload = vec![0; PAYLOAD_BYTES];
    let rounds = (Duration::from_secs(seconds).as_micros() / EVERY.as_micros()) as u32;
    for round in 0..rounds {
        let due = began + EVERY * round;
        std::thread::sleep(due.saturating_duration_since(now()));
        for (socket, peer, relayed) in lines {
            payload[..8].copy_from_slice(&micros().to_be_bytes());
            let mut sent = 0;
            sent += u64::from(socket.try_send(&channel_data(CHANNEL, &payload)).is_ok());
            sent += u64::from(peer.try_send_to(&payload, *relayed).is_ok());
            counts.sent.fetch_add(sent, Ordering::Relaxed);
        }
    }
}

async fn receive(socket: Arc<UdpSocket>, counts: Arc<Counts>) {
    let mut buffer = [0; 2048];
    while let Ok(n) = socket.recv(&mut buffer).await {
        // Channel data has four bytes before.
        let Some(start) = n.checked_sub(PAYLOAD_BYTES) else { continue };
        let Some(stamp) = buffer.get(start..).and_then(|rest| rest.first_chunk()) else { continue };
        let late = micros().saturating_sub(u64::from_be_bytes(*stamp)) > 10_000;
        counts.received.fetch_add(1, Ordering::Relaxed);
        counts.late.fetch_add(u64::from(late), Ordering::Relaxed);
    }
}

/// Microseconds since some moment of this process.
fn micros() -> u64 {
    use std::{sync::LazyLock, time::Instant};
    static START: LazyLock<Instant> = LazyLock::new(now);
    START.elapsed().as_micros() as u64
}
