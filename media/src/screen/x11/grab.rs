//! Pictures of one screen or window, over and over.

use std::{fs::File, os::unix::fs::FileExt as _};

use rustix::fs::{MemfdFlags, memfd_create};
use x11rb::{
    connection::Connection as _,
    protocol::{
        composite::{ConnectionExt as _, Redirect},
        shm::{self, ConnectionExt as _},
        xproto::{ConnectionExt as _, Drawable, ImageFormat, MapState, Pixmap, Window},
    },
};

use super::{Area, Failure, Grabbed, ScreenProblem, ScreenSource, X11, label};

/// A larger screen is not captured as a whole: 8K.
const MAX_PIXELS: usize = 7_680 * 4_320;
/// So many pictures go by until it is looked whether the monitor is still where it was, and the window has the same pixmap.
const LOOK_AGAIN: u32 = 16;

/// Takes pictures of one screen or window.
pub(in crate::screen) struct Grabber {
    x11: X11,
    target: Target,
    memory: Memory,
    name: String,
    grabs: u32,
}

enum Target {
    Monitor { name: String, area: Area },
    Window { window: Window, pixmap: Option<(Pixmap, Area)> },
}

/// How pictures come here.
enum Memory {
    /// Through the connection: the server is elsewhere, or shares no memory.
    Wire,
    /// Through memory that the server writes into.
    Shared(Shared),
}

/// Memory that the server knows under a number.
struct Shared {
    file: File,
    segment: shm::Seg,
    len: usize,
}

impl Grabber {
    pub(in crate::screen) fn open(source: &ScreenSource) -> Result<Self, ScreenProblem> {
        let x11 = X11::connect()?;
        let failed = |failure: Failure| ScreenProblem::Failed(failure.to_string());
        let (target, name) = match source {
            ScreenSource::Default | ScreenSource::Screen(_) => {
                let monitors = x11.monitors().map_err(failed)?;
                let wanted = |name: &str| match source {
                    ScreenSource::Screen(wanted) => wanted == name,
                    ScreenSource::Default | ScreenSource::Window(_) | ScreenSource::Portal | ScreenSource::File(_) => {
                        true
                    }
                };
                let found = monitors.into_iter().find(|(name, _)| wanted(name));
                let (name, area) = found.ok_or(ScreenProblem::Gone)?;
                (Target::Monitor { name: name.clone(), area }, name)
            }
            ScreenSource::Window(window) => {
                if !x11.has_composite {
                    return Err(ScreenProblem::Failed("the X server has no Composite extension".to_owned()));
                }
                let name = x11.title(*window).ok_or(ScreenProblem::Gone)?;
                let redirected = x11.connection.composite_redirect_window(*window, Redirect::AUTOMATIC);
                let redirected = redirected.map_err(Failure::from).and_then(|cookie| Ok(cookie.check()?));
                redirected.map_err(|failure| match failure {
                    Failure::Gone => ScreenProblem::Gone,
                    Failure::Hidden | Failure::Cancelled | Failure::Denied(_) | Failure::Broken(_) => {
                        ScreenProblem::Failed(failure.to_string())
                    }
                })?;
                (Target::Window { window: *window, pixmap: None }, name)
            }
            ScreenSource::Portal => return Err(ScreenProblem::NoPortal),
            ScreenSource::File(_) => return Err(ScreenProblem::Failed("a file is no screen".to_owned())),
        };
        let memory = Memory::new(&x11);
        Ok(Self { x11, target, memory, name: label(&name, "screen"), grabs: 0 })
    }
}

impl crate::screen::Grabber for Grabber {
    fn name(&self) -> &str {
        &self.name
    }

    fn grab(&mut self, grabbed: &mut Grabbed) -> Result<(), Failure> {
        let Self { x11, target, memory, grabs, .. } = self;
        *grabs = grabs.wrapping_add(1);
        let looks_again = *grabs % LOOK_AGAIN == 0;
        let (drawable, area, origin) = match target {
            Target::Monitor { name, area } => {
                if looks_again {
                    *area = x11.monitor(name)?;
                }
                (x11.root, *area, (i32::from(area.x), i32::from(area.y)))
            }
            Target::Window { window, pixmap } => {
                if looks_again {
                    // It may have been hidden and shown again in between, which gives it another.
                    x11.forget(pixmap.take());
                }
                x11.window_content(*window, pixmap)?
            }
        };
        let taken = memory.take(x11, drawable, area, grabbed);
        if let (Err(Failure::Hidden), Target::Monitor { name, area }) = (&taken, target) {
            // The screen became smaller: its part of the root window is another.
            *area = x11.monitor(name)?;
        }
        taken?;
        grabbed.pointer = x11.pointer().map(|mut pointer| {
            (pointer.x, pointer.y) = (pointer.x - origin.0, pointer.y - origin.1);
            pointer
        });
        Ok(())
    }
}

impl X11 {
    fn monitor(&self, wanted: &str) -> Result<Area, Failure> {
        let monitors = self.monitors()?;
        monitors.into_iter().find(|(name, _)| name == wanted).map(|(_, area)| area).ok_or(Failure::Gone)
    }

    /// Where the content of a window is kept, which part of that it is, and where it is on the root window.
    fn window_content(
        &self,
        window: Window,
        pixmap: &mut Option<(Pixmap, Area)>,
    ) -> Result<(Drawable, Area, (i32, i32)), Failure> {
        let attributes = self.connection.get_window_attributes(window)?;
        let geometry = self.connection.get_geometry(window)?;
        let place = self.connection.translate_coordinates(window, self.root, 0, 0)?;
        let (attributes, geometry, place) = (attributes.reply()?, geometry.reply()?, place.reply()?);
        if attributes.map_state != MapState::VIEWABLE {
            self.forget(pixmap.take());
            return Err(Failure::Hidden);
        }
        // The pixmap has the window's border around it.
        let border = i16::try_from(geometry.border_width).unwrap_or(0);
        let area = Area { x: border, y: border, width: geometry.width, height: geometry.height };
        let origin = (i32::from(place.dst_x), i32::from(place.dst_y));
        if let Some((known, _)) = pixmap.filter(|(_, known)| *known == area) {
            return Ok((known, area, origin));
        }
        // With another size the window has another pixmap.
        self.forget(pixmap.take());
        let number = self.connection.generate_id()?;
        self.connection.composite_name_window_pixmap(window, number)?.check()?;
        *pixmap = Some((number, area));
        Ok((number, area, origin))
    }

    fn forget(&self, pixmap: Option<(Pixmap, Area)>) {
        if let Some((pixmap, _)) = pixmap
            && let Ok(cookie) = self.connection.free_pixmap(pixmap)
        {
            cookie.ignore_error();
        }
    }
}

impl Memory {
    fn new(x11: &X11) -> Self {
        if !x11.is_local {
            return Self::Wire;
        }
        match Shared::new(x11, 4) {
            Ok(shared) => Self::Shared(shared),
            Err(failure) => {
                tracing::info!(%failure, "the X server shares no memory: pictures come through the connection");
                Self::Wire
            }
        }
    }

    fn take(&mut self, x11: &X11, drawable: Drawable, area: Area, grabbed: &mut Grabbed) -> Result<(), Failure> {
        let Area { x, y, width, height } = area;
        let pixels = usize::from(width) * usize::from(height);
        if pixels == 0 || pixels > MAX_PIXELS {
            return Err(Failure::Hidden);
        }
        grabbed.resize(width.into(), height.into());
        match self {
            Self::Wire => {
                let cookie = x11.connection.get_image(ImageFormat::Z_PIXMAP, drawable, x, y, width, height, !0)?;
                let data = cookie.reply()?.data;
                let whole = data.get(..pixels * 4).ok_or_else(short)?;
                grabbed.bgrx.copy_from_slice(whole);
            }
            Self::Shared(shared) => {
                if shared.len < pixels * 4 {
                    let larger = Shared::new(x11, pixels * 4)?;
                    std::mem::replace(shared, larger).detach(x11);
                }
                let format = u8::from(ImageFormat::Z_PIXMAP);
                let cookie =
                    x11.connection.shm_get_image(drawable, x, y, width, height, !0, format, shared.segment, 0)?;
                if (cookie.reply()?.size as usize) < pixels * 4 {
                    return Err(short());
                }
                let read = shared.file.read_exact_at(&mut grabbed.bgrx, 0);
                read.map_err(|error| Failure::Broken(error.to_string()))?;
            }
        }
        Ok(())
    }
}

fn short() -> Failure {
    Failure::Broken("the X server gave a part of a picture".to_owned())
}

impl Shared {
    /// Memory of so many bytes. It is read as a file: that costs a copy, which is needed anyway, and no unsafe code.
    fn new(x11: &X11, len: usize) -> Result<Self, Failure> {
        let broken = |error: std::io::Error| Failure::Broken(error.to_string());
        let file =
            File::from(memfd_create("parlor-screen", MemfdFlags::CLOEXEC).map_err(|error| broken(error.into()))?);
        file.set_len(len as u64).map_err(broken)?;
        let segment = x11.connection.generate_id()?;
        let theirs = file.try_clone().map_err(broken)?;
        x11.connection.shm_attach_fd(segment, std::os::fd::OwnedFd::from(theirs), false)?.check()?;
        Ok(Self { file, segment, len })
    }

    fn detach(self, x11: &X11) {
        if let Ok(cookie) = x11.connection.shm_detach(self.segment) {
            cookie.ignore_error();
        }
    }
}
