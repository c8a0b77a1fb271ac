//! Which cameras there are.

use nokhwa::utils::CameraIndex;

use crate::Device;

/// The cameras of this machine. Blocks while devices are asked for their abilities.
pub fn cameras() -> Vec<Device> {
    list().into_iter().map(|camera| camera.device).collect()
}

/// A camera and how the library names it.
pub(super) struct Listed {
    pub(super) device: Device,
    pub(super) index: CameraIndex,
}

/// The cameras of this machine: of each device only the node that gives pictures, in the system's order.
///
/// The library's own list has output and metadata nodes too, and panics on nodes with odd names. An id is the bus that
/// the device is on, which survives restarts, and the position among its nodes.
#[cfg(target_os = "linux")]
pub(super) fn list() -> Vec<Listed> {
    use std::collections::HashMap;

    use v4l::capability::Flags;

    let nodes = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut numbers: Vec<usize> = nodes.filter_map(|node| video_number(&node.file_name().to_string_lossy())).collect();
    numbers.sort_unstable();
    let mut on_bus = HashMap::<String, usize>::new();
    let mut cameras = Vec::new();
    for number in numbers {
        let path = format!("/dev/video{number}");
        let (bus, name) = match v4l::Device::with_path(&path).and_then(|node| node.query_caps()) {
            Ok(caps) if !caps.capabilities.contains(Flags::VIDEO_CAPTURE | Flags::STREAMING) => continue,
            Ok(caps) => (caps.bus, caps.card),
            // It is there, and choosing it will tell why it can't be used.
            Err(error) => {
                tracing::debug!(%error, path, "a video node can't be asked what it is");
                (path.clone(), path)
            }
        };
        let position = on_bus.entry(bus.clone()).or_default();
        let id = if *position == 0 { bus } else { format!("{bus}#{position}") };
        *position += 1;
        cameras.push(Listed { device: Device { id, name }, index: CameraIndex::Index(number as u32) });
    }
    cameras
}

/// The cameras of this machine.
#[cfg(not(target_os = "linux"))]
pub(super) fn list() -> Vec<Listed> {
    let cameras = nokhwa::query(nokhwa::utils::ApiBackend::Auto).unwrap_or_default();
    cameras
        .into_iter()
        .map(|info| {
            let id = if info.misc().is_empty() { info.index().to_string() } else { info.misc() };
            Listed { device: Device { id, name: info.human_name() }, index: info.index().clone() }
        })
        .collect()
}

/// The library's name of the camera with this id, which may be a device node too, or of the first camera.
pub(super) fn find(id: Option<&str>) -> Option<CameraIndex> {
    let Some(id) = id else { return list().into_iter().next().map(|camera| camera.index) };
    if let Some(number) = id.strip_prefix("/dev/").and_then(video_number) {
        let there = std::path::Path::new(id).exists();
        return there.then_some(CameraIndex::Index(number as u32));
    }
    list().into_iter().find(|camera| camera.device.id == id).map(|camera| camera.index)
}

/// The number of a node named `videoN`.
fn video_number(name: &str) -> Option<usize> {
    name.strip_prefix("video")?.parse().ok()
}
