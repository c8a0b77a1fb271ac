//! Which windows a person would know: those that the window manager lists, or, where there is none, what lies on the
//! root window.

use x11rb::{
    atom_manager,
    protocol::xproto::{AtomEnum, ConnectionExt as _, MapState, Window, WindowClass},
};

use super::{Area, Failure, X11, label};

atom_manager! {
    /// Names of properties (Extended Window Manager Hints).
    pub(super) Atoms: AtomsCookie {
        _NET_CLIENT_LIST,
        _NET_CLIENT_LIST_STACKING,
        _NET_WM_NAME,
        _NET_WM_PID,
        UTF8_STRING,
    }
}

/// Windows that are looked at, and listed.
const MAX_LOOKED_AT: usize = 512;
const MAX_LISTED: usize = 48;
/// What is smaller is an icon or a tool tip.
const LEAST_SIZE: u16 = 48;
/// Longer titles are cut, in four-byte units of the protocol.
const MAX_TITLE: u32 = 128;

impl X11 {
    /// Windows that can be shared, those in front first.
    pub(super) fn windows(&self) -> Result<Vec<(Window, String, Area)>, Failure> {
        let mut windows = self.listed_windows();
        let managed = !windows.is_empty();
        if !managed {
            windows = self.connection.query_tree(self.root)?.reply()?.children;
        }
        let mut found = Vec::new();
        for window in windows.into_iter().rev().take(MAX_LOOKED_AT) {
            if let Some((name, area)) = self.look_at(window, managed) {
                found.push((window, name, area));
            }
            if found.len() == MAX_LISTED {
                break;
            }
        }
        Ok(found)
    }

    /// What the window manager lists, from the back to the front if it tells.
    fn listed_windows(&self) -> Vec<Window> {
        let list = |property| {
            let cookie = self.connection.get_property(false, self.root, property, AtomEnum::WINDOW, 0, 4_096).ok()?;
            Some(cookie.reply().ok()?.value32()?.collect::<Vec<_>>())
        };
        [self.atoms._NET_CLIENT_LIST_STACKING, self.atoms._NET_CLIENT_LIST]
            .into_iter()
            .find_map(|property| list(property).filter(|windows| !windows.is_empty()))
            .unwrap_or_default()
    }

    /// Title and place of a window, if it is one to share: not ours, not hidden, not a menu.
    fn look_at(&self, window: Window, managed: bool) -> Option<(String, Area)> {
        let attributes = self.connection.get_window_attributes(window).ok()?.reply().ok()?;
        let is_content = attributes.class == WindowClass::INPUT_OUTPUT && attributes.map_state == MapState::VIEWABLE;
        if !is_content || (!managed && attributes.override_redirect) {
            return None;
        }
        let geometry = self.connection.get_geometry(window).ok()?.reply().ok()?;
        let area = Area { x: geometry.x, y: geometry.y, width: geometry.width, height: geometry.height };
        if area.width < LEAST_SIZE || area.height < LEAST_SIZE || self.is_ours(window) {
            return None;
        }
        Some((self.title(window)?, area))
    }

    /// Shared, our own window would show itself in itself.
    fn is_ours(&self, window: Window) -> bool {
        let property = self.connection.get_property(false, window, self.atoms._NET_WM_PID, AtomEnum::CARDINAL, 0, 1);
        let pid = property.ok().and_then(|cookie| cookie.reply().ok()).and_then(|reply| reply.value32()?.next());
        pid == Some(std::process::id())
    }

    /// What stands in a window's title bar. A window without a title is none that a person knows.
    pub(super) fn title(&self, window: Window) -> Option<String> {
        let text = |property, kind: u32| {
            let cookie = self.connection.get_property(false, window, property, kind, 0, MAX_TITLE).ok()?;
            Some(cookie.reply().ok()?.value).filter(|value| !value.is_empty())
        };
        let utf8 = text(self.atoms._NET_WM_NAME, self.atoms.UTF8_STRING);
        let any = u32::from(AtomEnum::ANY);
        let title = match utf8 {
            Some(title) => String::from_utf8_lossy(&title).into_owned(),
            None => {
                let title = text(AtomEnum::WM_NAME.into(), any)?;
                // STRING is Latin-1; many write UTF-8 all the same.
                String::from_utf8(title)
                    .unwrap_or_else(|error| error.as_bytes().iter().copied().map(char::from).collect())
            }
        };
        Some(label(&title, "")).filter(|title| !title.is_empty())
    }
}
