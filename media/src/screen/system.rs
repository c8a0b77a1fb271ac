//! Which grabbers this system has: the X server's, or the Wayland desktop's portal; Windows' and macOS' own.

#[cfg(target_os = "macos")]
pub(super) use super::macos::{list, open};
#[cfg(target_os = "windows")]
pub(super) use super::windows::{list, open};
#[cfg(target_os = "linux")]
pub(super) use linux::{list, open};
#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "windows")))]
pub(super) use none::{list, open};

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::{OsStr, OsString};

    #[cfg(feature = "wayland-screens")]
    use crate::screen::portal;
    use crate::screen::{Grabber, ScreenInfo, ScreenProblem, ScreenSource, x11};

    /// What can be shared, without pictures.
    pub(in crate::screen) fn list() -> Result<Vec<ScreenInfo>, ScreenProblem> {
        if is_wayland(|name| std::env::var_os(name)) {
            #[cfg(feature = "wayland-screens")]
            return Ok(portal::list());
            #[cfg(not(feature = "wayland-screens"))]
            return Err(ScreenProblem::Wayland);
        }
        x11::X11::connect()?.list()
    }

    /// Begins with one of them. Whatever is named on a Wayland desktop, the desktop asks.
    pub(in crate::screen) fn open(source: &ScreenSource) -> Result<Box<dyn Grabber>, ScreenProblem> {
        if is_wayland(|name| std::env::var_os(name)) {
            #[cfg(feature = "wayland-screens")]
            return Ok(Box::new(portal::Portal::open()?));
            #[cfg(not(feature = "wayland-screens"))]
            return Err(ScreenProblem::Wayland);
        }
        Ok(Box::new(x11::Grabber::open(source)?))
    }

    /// Whether the desktop is a Wayland one: there, X11 programs see an empty screen and each other. An empty
    /// `WAYLAND_DISPLAY` says that it is none.
    fn is_wayland(variable: impl Fn(&str) -> Option<OsString>) -> bool {
        match variable("WAYLAND_DISPLAY") {
            Some(display) => !display.is_empty(),
            None => variable("XDG_SESSION_TYPE").as_deref() == Some(OsStr::new("wayland")),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_wayland_desktop_is_known_by_its_variables() {
            for (display, session, wayland) in [
                (Some("wayland-0"), None, true),
                (Some("wayland-0"), Some("x11"), true),
                (None, Some("wayland"), true),
                (Some(""), Some("wayland"), false),
                (None, Some("x11"), false),
                (None, Some("tty"), false),
                (None, None, false),
            ] {
                let variable = |name: &str| match name {
                    "WAYLAND_DISPLAY" => display.map(OsString::from),
                    _ => session.map(OsString::from),
                };
                assert_eq!(is_wayland(variable), wayland, "{display:?}, {session:?}");
            }
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos", target_os = "windows")))]
mod none {
    use crate::screen::{Grabber, ScreenInfo, ScreenProblem, ScreenSource};

    pub(in crate::screen) fn list() -> Result<Vec<ScreenInfo>, ScreenProblem> {
        Err(ScreenProblem::Unsupported)
    }

    pub(in crate::screen) fn open(_source: &ScreenSource) -> Result<Box<dyn Grabber>, ScreenProblem> {
        Err(ScreenProblem::Unsupported)
    }
}
