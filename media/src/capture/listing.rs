//! Which cameras there are.

use nokhwa::utils::CameraIndex;

use crate::Device;

/// The cameras of this machine. Blocks while devices are asked for their abilities.
pub fn cameras() -> Vec<Device> {
    list().into_iter().map(|camera| camera.device).collect()
}

/// Something cheap that changes when cameras come and go; `None` where there is nothing cheaper than the list.
#[cfg(target_os = "linux")]
pub(crate) fn camera_nodes() -> Option<Vec<usize>> {
    let nodes = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut numbers: Vec<usize> = nodes.filter_map(|node| video_number(&node.file_name().to_string_lossy())).collect();
    numbers.sort_unstable();
    Some(numbers)
}

#[cfg(not(target_os = "linux"))]
pub(crate) const fn camera_nodes() -> Option<Vec<usize>> {
    None
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

    let mut on_bus = HashMap::<String, usize>::new();
    let mut cameras = Vec::new();
    for number in camera_nodes().unwrap_or_default() {
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

/// A camera to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) index: CameraIndex,
    pub(super) id: String,
    /// Another one, in the place of the one that is wanted.
    pub(super) stands_in: bool,
}

/// Which camera to open: the wanted one, or the first one where none is wanted; or another one in the place of the wanted
/// one, if that may be.
pub(super) fn choose(wanted: Option<&str>, another: bool) -> Option<Found> {
    if let Some(id) = wanted
        && let Some(number) = id.strip_prefix("/dev/").and_then(video_number)
        && std::path::Path::new(id).exists()
    {
        return Some(Found { index: CameraIndex::Index(number as u32), id: id.to_owned(), stands_in: false });
    }
    choose_from(list(), wanted, another)
}

fn choose_from(cameras: Vec<Listed>, wanted: Option<&str>, another: bool) -> Option<Found> {
    let found = |camera: Listed, stands_in| Found { index: camera.index, id: camera.device.id, stands_in };
    let is_wanted = |camera: &Listed| wanted.is_none_or(|id| camera.device.id == id);
    match cameras.iter().position(is_wanted) {
        Some(position) => cameras.into_iter().nth(position).map(|camera| found(camera, false)),
        None if another => cameras.into_iter().next().map(|camera| found(camera, true)),
        None => None,
    }
}

/// The number of a node named `videoN`.
fn video_number(name: &str) -> Option<usize> {
    name.strip_prefix("video")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cameras() -> Vec<Listed> {
        let camera = |index, id: &str| Listed {
            device: Device { id: id.to_owned(), name: id.to_uppercase() },
            index: CameraIndex::Index(index),
        };
        vec![camera(0, "built-in"), camera(2, "usb")]
    }

    fn chosen(cameras: Vec<Listed>, wanted: Option<&str>, another: bool) -> Option<(String, bool)> {
        choose_from(cameras, wanted, another).map(|found| (found.id, found.stands_in))
    }

    #[test]
    fn the_wanted_camera_is_opened_or_the_first_in_its_place_if_that_may_be() {
        assert_eq!(chosen(cameras(), Some("usb"), true), Some(("usb".to_owned(), false)));
        assert_eq!(chosen(cameras(), Some("gone"), true), Some(("built-in".to_owned(), true)));
        assert_eq!(chosen(cameras(), Some("gone"), false), None);
        assert_eq!(chosen(cameras(), None, false), Some(("built-in".to_owned(), false)));
        assert_eq!(chosen(Vec::new(), Some("usb"), true), None);
    }
}
