//! Has everything looked at, at the same time, and tells what was found in the order in which people read it.

use std::{path::PathBuf, time::Duration};

use parlor_media::{Device, DeviceKind, audio, cameras};
use parlor_net::{
    Multiaddr,
    diagnose::{self, NodeProbe},
};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::timeout,
};

use super::{fact::Finding, judge};

/// How long the system may take to say which devices there are.
const DEVICES_WITHIN: Duration = Duration::from_secs(4);

/// How long two nodes may take to say whether they see us alike.
const COMPARE_WITHIN: Duration = Duration::from_millis(1500);

/// What is to be looked at.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    /// Addresses of nodes, each with `/p2p/<id>`.
    pub nodes: Vec<Multiaddr>,
    /// Where files are kept.
    pub directory: Option<PathBuf>,
    /// The settings, if they are there and can't be read.
    pub damaged_settings: Option<PathBuf>,
}

/// Looks at everything, and tells each part as soon as those before it are told.
pub async fn examine(subject: Subject, mut found: impl FnMut(Vec<Finding>)) {
    // Aborted, if whoever asked goes away.
    let mut near = JoinSet::from_iter([near()]);
    let mut nodes = JoinSet::from_iter([nodes(subject.nodes)]);
    let mut devices = JoinSet::from_iter([devices()]);
    for part in [&mut near, &mut nodes, &mut devices] {
        match part.join_next().await {
            Some(Ok(findings)) => found(findings),
            Some(Err(error)) => tracing::error!(%error, "a part of the examination failed"),
            None => {}
        }
    }
    found(storage(subject.directory, subject.damaged_settings));
}

/// Looks at one node.
pub(super) async fn examine_node(addresses: &[Multiaddr]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (node, addresses) in judge::by_node(addresses) {
        findings.extend(judge::node_status(&diagnose::node(node, &addresses).await));
    }
    findings
}

async fn near() -> Vec<Finding> {
    let interfaces = diagnose::interfaces();
    let probes = diagnose::lan(&interfaces).await;
    judge::near(&interfaces, &probes, &diagnose::ports())
}

async fn nodes(addresses: Vec<Multiaddr>) -> Vec<Finding> {
    let mut tasks = JoinSet::new();
    for (position, (node, addresses)) in judge::by_node(&addresses).into_iter().enumerate() {
        tasks.spawn(async move { (position, diagnose::node(node, &addresses).await) });
    }
    let mut probes = tasks.join_all().await;
    probes.sort_by_key(|(position, _)| *position);
    let probes: Vec<NodeProbe> = probes.into_iter().map(|(_, probe)| probe).collect();
    let servers: Vec<_> =
        probes.iter().filter_map(|probe| probe.udp).filter(|udp| udp.mapped.is_some()).map(|udp| udp.server).collect();
    let alike = timeout(COMPARE_WITHIN, diagnose::maps_alike(&servers)).await.unwrap_or(None);
    judge::nodes(&probes, alike)
}

async fn devices() -> Vec<Finding> {
    async fn listed(list: fn() -> Vec<Device>) -> Option<Vec<Device>> {
        timeout(DEVICES_WITHIN, spawn_blocking(list)).await.ok()?.ok()
    }
    let (cameras, microphones, speakers) =
        tokio::join!(listed(cameras), listed(audio::microphones), listed(audio::speakers));
    [(DeviceKind::Camera, cameras), (DeviceKind::Microphone, microphones), (DeviceKind::Speaker, speakers)]
        .map(|(kind, found)| judge::devices(kind, found))
        .into()
}

fn storage(directory: Option<PathBuf>, damaged_settings: Option<PathBuf>) -> Vec<Finding> {
    let damaged = damaged_settings.map(|file| judge::settings_damaged(file.display().to_string()));
    let directory = directory.map(|directory| {
        let (writable, free_mb) = space(&directory);
        judge::storage(directory.display().to_string(), writable, free_mb)
    });
    damaged.into_iter().chain(directory).collect()
}

/// Whether files can be written, and how much space there is. Of a directory that is not made yet, where it will be.
#[cfg(unix)]
fn space(directory: &std::path::Path) -> (Result<(), String>, Option<u64>) {
    use rustix::fs::{Access, access, statvfs};
    let existing = directory.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(directory);
    let writable = access(existing, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| error.to_string());
    let free_mb = statvfs(existing).ok().map(|space| space.f_bavail.saturating_mul(space.f_frsize) / (1 << 20));
    (writable, free_mb)
}

#[cfg(not(unix))]
fn space(directory: &std::path::Path) -> (Result<(), String>, Option<u64>) {
    let existing = directory.ancestors().find(|ancestor| ancestor.is_dir()).unwrap_or(directory);
    let read_only = std::fs::metadata(existing).map(|metadata| metadata.permissions().readonly());
    let writable = match read_only {
        Ok(false) => Ok(()),
        Ok(true) => Err("it is read-only".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    (writable, None)
}
