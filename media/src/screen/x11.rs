//! Screens and windows of an X server: which there are, and what they show. Asks nothing of the window manager but its
//! list of windows, and lets the server write pictures into shared memory where it is on this machine.

mod grab;
mod windows;

use x11rb::{
    connection::Connection as _,
    protocol::{
        composite::ConnectionExt as _,
        randr::ConnectionExt as _,
        xfixes::ConnectionExt as _,
        xproto::{ConnectionExt as _, ImageOrder, Window},
    },
    rust_connection::RustConnection,
};

pub(super) use grab::Grabber;

use super::{Failure, Grabbed, PointerImage, ScreenInfo, ScreenProblem, ScreenSource, label};

/// A part of the root window, in its pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    x: i16,
    y: i16,
    width: u16,
    height: u16,
}

/// A connection to the X server. Dropping it leaves nothing behind there.
pub(super) struct X11 {
    connection: RustConnection,
    root: Window,
    atoms: windows::Atoms,
    /// Windows can be captured even where others cover them.
    has_composite: bool,
    has_pointer: bool,
    has_monitors: bool,
    /// The server runs on this machine, as far as the display's name tells.
    is_local: bool,
}

impl X11 {
    pub(super) fn connect() -> Result<Self, ScreenProblem> {
        let display = std::env::var("DISPLAY").ok().filter(|display| !display.is_empty());
        let display = display.ok_or(ScreenProblem::NoDisplay)?;
        let (connection, screen) = RustConnection::connect(None).map_err(|error| {
            tracing::info!(%error, "no X server to share screens of");
            ScreenProblem::NoDisplay
        })?;
        let setup = connection.setup();
        let wide = |depth| setup.pixmap_formats.iter().any(|f| f.depth == depth && f.bits_per_pixel == 32);
        let root = setup.roots.get(screen).ok_or(ScreenProblem::NoDisplay)?;
        let (root, depth) = (root.root, root.root_depth);
        if setup.image_byte_order != ImageOrder::LSB_FIRST || !wide(depth) || !(24..=32).contains(&depth) || depth == 30
        {
            return Err(ScreenProblem::Failed(format!("pictures of {depth} bits are not understood")));
        }
        let atoms = windows::Atoms::new(&connection).map_err(x11rb::errors::ReplyError::from);
        let atoms = atoms.and_then(|atoms| atoms.reply());
        let atoms = atoms.map_err(|error| ScreenProblem::Failed(error.to_string()))?;
        // Each fails where the server lacks the extension.
        let has_composite =
            connection.composite_query_version(0, 4).ok().and_then(|cookie| cookie.reply().ok()).is_some_and(
                |version| {
                    // NameWindowPixmap came with 0.2.
                    (version.major_version, version.minor_version) >= (0, 2)
                },
            );
        let has_pointer = connection.xfixes_query_version(4, 0).ok().is_some_and(|cookie| cookie.reply().is_ok());
        let has_monitors = connection
            .randr_query_version(1, 5)
            .ok()
            .and_then(|cookie| cookie.reply().ok())
            .is_some_and(|version| (version.major_version, version.minor_version) >= (1, 5));
        let is_local = is_local(&display);
        Ok(Self { connection, root, atoms, has_composite, has_pointer, has_monitors, is_local })
    }

    /// The monitors, then the windows, those in front first.
    pub(super) fn list(&self) -> Result<Vec<ScreenInfo>, ScreenProblem> {
        let broken = |failure: Failure| ScreenProblem::Failed(failure.to_string());
        let monitors = self.monitors().map_err(broken)?;
        let mut list = Vec::new();
        for (name, area) in monitors {
            list.push(info(ScreenSource::Screen(name.clone()), name, area));
        }
        if self.has_composite {
            for (window, name, area) in self.windows().map_err(broken)? {
                list.push(info(ScreenSource::Window(window), name, area));
            }
        }
        Ok(list)
    }

    /// The monitors by name, the main one first.
    fn monitors(&self) -> Result<Vec<(String, Area)>, Failure> {
        let mut found = Vec::new();
        if self.has_monitors {
            let mut monitors = self.connection.randr_get_monitors(self.root, true)?.reply()?.monitors;
            monitors.sort_by_key(|monitor| !monitor.primary);
            for monitor in monitors {
                let name = self.connection.get_atom_name(monitor.name)?.reply()?.name;
                let name = label(&String::from_utf8_lossy(&name), "screen");
                let area = Area { x: monitor.x, y: monitor.y, width: monitor.width, height: monitor.height };
                if area.width > 0 && area.height > 0 {
                    found.push((name, area));
                }
            }
        }
        if found.is_empty() {
            let root = self.connection.get_geometry(self.root)?.reply()?;
            found.push(("screen".to_owned(), Area { x: 0, y: 0, width: root.width, height: root.height }));
        }
        Ok(found)
    }

    /// The pointer as it looks now, where its top left pixel is on the root window.
    fn pointer(&self) -> Option<PointerImage> {
        if !self.has_pointer {
            return None;
        }
        let cursor = self.connection.xfixes_get_cursor_image().ok()?.reply().ok()?;
        Some(PointerImage {
            x: i32::from(cursor.x) - i32::from(cursor.xhot),
            y: i32::from(cursor.y) - i32::from(cursor.yhot),
            width: usize::from(cursor.width),
            argb: cursor.cursor_image,
        })
    }
}

fn info(source: ScreenSource, name: String, area: Area) -> ScreenInfo {
    ScreenInfo { source, name, width: area.width.into(), height: area.height.into(), thumbnail: None }
}

/// Whether a display's name (`:0`, `unix:0`, `localhost:10.0`) is that of a server that can share memory with us. Those that
/// SSH forwards can't.
fn is_local(display: &str) -> bool {
    display.split(':').next().is_some_and(|host| host.is_empty() || host.starts_with("unix") || host.starts_with('/'))
}

impl From<x11rb::errors::ConnectionError> for Failure {
    fn from(error: x11rb::errors::ConnectionError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<x11rb::errors::ReplyOrIdError> for Failure {
    fn from(error: x11rb::errors::ReplyOrIdError) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<x11rb::errors::ReplyError> for Failure {
    /// What the server refuses is there no more, or not as it was.
    fn from(error: x11rb::errors::ReplyError) -> Self {
        use x11rb::{errors::ReplyError, protocol::ErrorKind};
        match error {
            ReplyError::ConnectionError(error) => error.into(),
            ReplyError::X11Error(error) => match error.error_kind {
                ErrorKind::Window | ErrorKind::Drawable | ErrorKind::Pixmap => Self::Gone,
                ErrorKind::Match | ErrorKind::Value => Self::Hidden,
                _ => Self::Broken(format!("{error:?}")),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_elsewhere_share_no_memory() {
        for (display, local) in
            [(":0", true), (":77.0", true), ("unix:1", true), ("localhost:10.0", false), ("192.0.2.1:0", false)]
        {
            assert_eq!(is_local(display), local, "{display}");
        }
    }
}
