//! Shows who is on the LAN, and in the lobby of nodes: one JSON object a line for everything that happens.
//!
//! ```text
//! cargo run -p parlor-net --example who -- NAME [SECONDS] [ADDRESS...]
//! ```
//!
//! Addresses that end with `/p2p/<id>` are those of nodes, the others are listened on.
//!
//! Says goodbye after SECONDS, or stays. `RUST_LOG` works.

use std::{
    io::Write,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use parlor_net::{Circle, Config, Event, Keypair, Multiaddr, NodeLink, NodeState, Profile, Status};
use serde_json::json;
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_writer(std::io::stderr).init();
    let mut args = std::env::args().skip(1);
    let name = args.next().ok_or("usage: who NAME [SECONDS] [ADDRESS...]")?;
    let seconds = args.next().map(|s| s.parse::<f64>()).transpose()?;
    let addresses = args.map(|a| a.parse()).collect::<Result<Vec<Multiaddr>, _>>()?;
    let (nodes, listen) = addresses.into_iter().partition(|address| address.to_string().contains("/p2p/"));
    let circle = Circle { nodes, lobby: true, ..Circle::default() };
    let keypair = Keypair::generate_ed25519();
    say(json!({ "event": "start", "name": name, "peer": keypair.public().to_peer_id().to_string() }));

    let profile = Profile { name, status: Status::Free };
    let (net, mut events) = parlor_net::spawn(Config { keypair, profile, lan: true, listen, circle })?;
    let end = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs_f64(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(event) => say(describe(event)),
                None => return Ok(()),
            },
            () = &mut end => break,
        }
    }
    say(json!({ "event": "leaving" }));
    net.shutdown().await;
    say(json!({ "event": "left" }));
    Ok(())
}

fn describe(event: Event) -> serde_json::Value {
    match event {
        Event::Listening { address } => json!({ "event": "listening", "address": address }),
        Event::PeerOnline(p) => json!({ "event": "online", "peer": p.peer.to_string(), "name": p.profile.name }),
        Event::PeerChanged(p) => json!({ "event": "changed", "peer": p.peer.to_string(), "name": p.profile.name }),
        Event::PeerOffline { peer, reason } => {
            json!({ "event": "offline", "peer": peer.to_string(), "reason": reason })
        }
        Event::Signal { peer, call, body } => {
            json!({ "event": "signal", "peer": peer.to_string(), "call": call, "body": body })
        }
        Event::SignalFailed { peer, call, error } => {
            json!({ "event": "signal_failed", "peer": peer.to_string(), "call": call, "error": error })
        }
        Event::Node(NodeState { node, link }) => {
            let (link, rtt_ms) = match link {
                NodeLink::Connecting => ("connecting", None),
                NodeLink::Online { rtt, .. } => ("online", Some(rtt.as_millis() as u64)),
                NodeLink::Failed { .. } => ("failed", None),
                NodeLink::Idle => ("idle", None),
            };
            json!({ "event": "node", "node": node.to_string(), "link": link, "rtt_ms": rtt_ms })
        }
        Event::LearnedNodes(nodes) => json!({ "event": "learned_nodes", "count": nodes.len() }),
        Event::IceServers(servers) => json!({ "event": "ice_servers", "count": servers.len() }),
        Event::NetworkChanged => json!({ "event": "network_changed" }),
    }
}

#[expect(clippy::disallowed_methods, reason = "a measuring program stamps its lines")]
fn say(mut line: serde_json::Value) {
    let t = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_millis() as u64);
    line["t_ms"] = t.into();
    // Whoever reads the lines may have gone.
    let _ = writeln!(std::io::stdout(), "{line}");
}
