//! Ten thousand people who watch ten others each.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use libp2p::{PeerId, identity::Keypair};
use parlor_tests::{SOON, directory::Client, now};
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, Semaphore, mpsc},
    task::JoinSet,
    time::timeout_at,
};

use crate::{
    process::Node,
    table::{Goal, Row},
};

/// How many others each watches, and how many watch the one whom all know.
const WATCHES: usize = 10;
const FANS: usize = 333;

/// How many sign on at a time.
const AT_A_TIME: usize = 50;

/// How many people are lost, one after another, and how often the famous one comes.
const LOSSES: usize = 50;
const ENTRANCES: usize = 10;

/// How long nothing happens but beats.
const QUIET: Duration = Duration::from_secs(12);

/// Somebody was told something.
struct Told {
    at: Instant,
    event: Value,
    whom: Value,
}

/// Somebody in the crowd.
struct Member {
    peer: PeerId,
    leave: Arc<Notify>,
}

pub(crate) async fn measure(users: usize) -> Result<Vec<Row>> {
    let data = tempfile::tempdir()?;
    let node = Node::start(data.path(), "/ip4/127.0.0.1/tcp/0")?;
    let empty = node.usage();
    let keys: Arc<[Keypair]> = (0..users).map(|_| Keypair::generate_ed25519()).collect();
    let peers: Arc<[PeerId]> = keys.iter().map(|key| key.public().to_peer_id()).collect();
    let star = Keypair::generate_ed25519();
    let (tell, mut told) = mpsc::unbounded_channel();
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut signing = JoinSet::new();
    let mut members = JoinSet::new();
    let started = now();
    for n in 0..users {
        let (keys, address, places) = (keys.clone(), node.address.clone(), places.clone());
        signing.spawn(async move {
            let _place = places.acquire().await?;
            let mut client = Client::connect(&keys[n], &address).await?;
            client.hello(&format!("Person {n}"), 1, 1).await?;
            client.expect("welcome").await?;
            anyhow::Ok((n, client))
        });
    }
    let mut crowd: Vec<Option<Client>> = (0..users).map(|_| None).collect();
    while let Some(signed) = signing.join_next().await {
        let (n, client) = signed??;
        crowd[n] = Some(client);
    }
    let signed_on = node.usage();
    let signing_s = started.elapsed().as_secs_f64();
    let mut all: Vec<Member> = Vec::new();
    for (n, client) in crowd.into_iter().enumerate() {
        let mut client = client.context("everybody has signed on")?;
        let mut watched: Vec<PeerId> = (1..=WATCHES).map(|k| peers[(n + k) % users]).collect();
        if n < FANS {
            watched.push(star.public().to_peer_id());
        }
        client.send(&json!({ "do": "watch", "peers": watched })).await?;
        client.expect("people").await?;
        let leave = Arc::new(Notify::new());
        all.push(Member { peer: peers[n], leave: leave.clone() });
        members.spawn(live(client, leave, tell.clone()));
    }
    let watching = node.usage();
    // What the kernel holds is not counted; what a burst has left behind is.
    tokio::time::sleep(QUIET).await;
    let settled = node.usage();
    let mut lost_ms = Vec::new();
    // Far enough from each other that all their watchers are still there.
    let losses = LOSSES.min(users / (2 * WATCHES));
    let lost: Vec<usize> = (0..losses).map(|n| WATCHES + n * ((users - WATCHES) / losses)).collect();
    for member in lost.iter().map(|&n| &all[n]) {
        let at = now();
        member.leave.notify_one();
        lost_ms.push(last(&mut told, "gone", &json!(member.peer), WATCHES, at).await?);
    }
    let mut came_ms = Vec::new();
    let mut left_ms = Vec::new();
    let fans = (0..FANS.min(users)).filter(|n| !lost.contains(n)).count();
    for n in 0..ENTRANCES {
        let mut client = Client::connect(&star, &node.address).await?;
        let at = now();
        client.hello("Star", 1, n as u64 + 1).await?;
        came_ms.push(last(&mut told, "people", &json!(star.public().to_peer_id()), fans, at).await?);
        let at = now();
        client.send(&json!({ "do": "bye" })).await?;
        left_ms.push(last(&mut told, "gone", &json!(star.public().to_peer_id()), fans, at).await?);
    }
    let end = node.usage();
    let per_user_kb = (settled.rss_mib - empty.rss_mib) * 1024.0 / users as f64;
    let note = format!("PSS {:.0} MiB, {per_user_kb:.1} KiB a user, empty {:.0} MiB", settled.pss_mib, empty.rss_mib);
    Ok(vec![
        Row::new(format!("memory, {users} x {WATCHES} watches"), settled.rss_mib, "MiB", Goal::AtMost(286.0))
            .note(note),
        Row::new("CPU a sign-on", 1000.0 * (signed_on.cpu_s - empty.cpu_s) / users as f64, "ms", Goal::AtMost(1.0))
            .note(format!("{:.0} sign-ons a second, {AT_A_TIME} at a time", users as f64 / signing_s)),
        Row::new(
            "CPU of the quiet crowd",
            (settled.cpu_s - watching.cpu_s) * 100.0 / QUIET.as_secs_f64(),
            "% of a core",
            Goal::None,
        )
        .note(format!(
            "beats every 5 s; before that {:.2} CPU-ms for each who asks to watch",
            1000.0 * (watching.cpu_s - signed_on.cpu_s) / users as f64
        )),
        Row::worst("lost -> last watcher", &lost_ms, "ms", Goal::AtMost(1000.0)),
        Row::worst(format!("online -> last of {fans} watchers"), &came_ms, "ms", Goal::AtMost(200.0)),
        Row::worst(format!("left -> last of {fans} watchers"), &left_ms, "ms", Goal::AtMost(200.0)),
        Row::new("memory at the end", end.rss_mib, "MiB", Goal::None),
    ])
}

/// Says that it is there, and what it is told, until it is to die.
async fn live(mut client: Client, leave: Arc<Notify>, tell: mpsc::UnboundedSender<Told>) {
    let mut beat = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            () = leave.notified() => return,
            _ = beat.tick() => {
                if client.send(&json!({ "do": "beat" })).await.is_err() {
                    return;
                }
            }
            push = client.next() => {
                let Ok(push) = push else { return };
                let whom = if push["event"] == "gone" { push["peer"].clone() } else { push["people"][0]["peer"].clone() };
                if push["event"] == "beat" {
                    continue;
                }
                let told = Told { at: now(), event: push["event"].clone(), whom };
                if tell.send(told).is_err() {
                    return;
                }
            }
        }
    }
}

/// When the last of so many was told this of somebody, milliseconds after `since`.
async fn last(
    told: &mut mpsc::UnboundedReceiver<Told>,
    event: &str,
    whom: &Value,
    many: usize,
    since: Instant,
) -> Result<f64> {
    let mut latest = since;
    let mut heard = 0;
    let deadline = tokio::time::Instant::from_std(since + SOON);
    while heard < many {
        let told = timeout_at(deadline, told.recv()).await.with_context(|| format!("{heard} of {many} were told"))?;
        let told = told.context("the crowd is gone")?;
        if told.event == event && told.whom == *whom {
            heard += 1;
            latest = latest.max(told.at);
        }
    }
    Ok((latest - since).as_secs_f64() * 1000.0)
}
