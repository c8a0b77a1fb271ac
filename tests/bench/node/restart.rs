//! A node that is killed, and comes back to a thousand people.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use libp2p::{Multiaddr, identity::Keypair};
use parlor_tests::{directory::Client, now};
use serde_json::json;
use tokio::{sync::mpsc, task::JoinSet};

use crate::{
    process::Node,
    table::{Goal, Row, quantile},
};

/// How long the node is away.
const AWAY: Duration = Duration::from_secs(3);

/// Between attempts: a random time up to this, which doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(1000);
const LONGEST_WAIT: Duration = Duration::from_millis(8000);

pub(crate) async fn measure(people: usize) -> Result<Vec<Row>> {
    let data = tempfile::tempdir()?;
    let node = Node::start(data.path(), "/ip4/127.0.0.1/tcp/0")?;
    let address = Arc::new(node.address.clone());
    let (online, mut back) = mpsc::unbounded_channel();
    let mut all = JoinSet::new();
    for n in 0..people {
        all.spawn(live(n as u64, address.clone(), online.clone()));
    }
    for _ in 0..people {
        back.recv().await;
    }
    let mut listen = node.address.clone();
    listen.pop();
    drop(node);
    tokio::time::sleep(AWAY).await;
    let node = Node::start(data.path(), &listen.to_string())?;
    let ready = now();
    let mut came_ms = Vec::new();
    for _ in 0..people {
        let Some(at) = back.recv().await else { break };
        came_ms.push((at - ready).as_secs_f64() * 1000.0);
    }
    let cpu_s = node.usage().cpu_s;
    let slot = |t: usize| came_ms.iter().filter(|ms| (0.0..100.0).contains(&(**ms - t as f64))).count();
    let busiest = (0..10_000).step_by(100).map(slot).max().unwrap_or(0);
    let quarter = quantile(&came_ms, 0.25);
    let note =
        format!("a quarter within {quarter:.0}; in the busiest 100 ms {busiest} came; {cpu_s:.2} CPU-s of the node",);
    Ok(vec![Row::worst(format!("node killed, all {people} back"), &came_ms, "ms", Goal::AtMost(10_000.0)).note(note)])
}

/// Somebody who wants to be online.
async fn live(n: u64, address: Arc<Multiaddr>, online: mpsc::UnboundedSender<Instant>) {
    let keypair = Keypair::generate_ed25519();
    let mut wait = FIRST_WAIT;
    // Spread, without a generator of random numbers: by the golden ratio.
    let mut part = (n as f64 * 0.618_034).fract();
    let mut seq = 0;
    loop {
        seq += 1;
        if let Ok(mut client) = Client::connect(&keypair, &address).await
            && client.hello("Somebody", 1, seq).await.is_ok()
            && client.expect("welcome").await.is_ok()
        {
            if online.send(now()).is_err() {
                return;
            }
            wait = FIRST_WAIT;
            let mut beat = tokio::time::interval(Duration::from_secs(5));
            loop {
                tokio::select! {
                    _ = beat.tick() => if client.send(&json!({ "do": "beat" })).await.is_err() { break },
                    push = client.next() => if push.is_err() { break },
                }
            }
        }
        part = (part + 0.618_034).fract();
        tokio::time::sleep(wait.mul_f64(part)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}
