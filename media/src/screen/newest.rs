//! The newest picture of a system that brings pictures when it likes, for one who looks at a pace of his own. Whatever such
//! a system says of its pictures is checked here.

use std::{
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Failure, Grabbed};

/// A larger screen is not captured: 8K, either way round.
const MAX_PIXELS: u64 = 7_680 * 4_320;
const BYTES_PER_PIXEL: usize = 4;

/// The order of the bytes of a pixel. The fourth means nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "what the desktop has is chosen on Wayland alone"))]
pub(super) enum Order {
    Bgrx,
    Rgbx,
}

/// A picture as a system brings it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pixels<'a> {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Bytes from one line to the next.
    pub(super) stride: usize,
    pub(super) order: Order,
    pub(super) bytes: &'a [u8],
}

/// The picture that nobody has looked at yet, if there is one. One thread puts, another takes.
#[derive(Default)]
pub(super) struct Newest {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    picture: Grabbed,
    is_new: bool,
    ended: Option<Failure>,
}

impl Newest {
    /// Takes a copy; what was not looked at is forgotten. What is no picture ends it.
    pub(super) fn put(&self, pixels: &Pixels<'_>) {
        let mut state = self.lock();
        if state.ended.is_some() {
            return;
        }
        match pixels.copy_into(&mut state.picture) {
            Ok(()) => state.is_new = true,
            Err(absurd) => state.ended = Some(Failure::Broken(absurd)),
        }
        self.changed.notify_all();
    }

    /// There will be no more, and why; only what is said first counts.
    pub(super) fn end(&self, failure: Failure) {
        self.lock().ended.get_or_insert(failure);
        self.changed.notify_all();
    }

    /// The newest, if it is another than the last that was taken: [`Failure::Hidden`] until then.
    pub(super) fn take(&self, into: &mut Grabbed) -> Result<(), Failure> {
        let mut state = self.lock();
        if let Some(failure) = &state.ended {
            return Err(failure.clone());
        }
        if !mem::take(&mut state.is_new) {
            return Err(Failure::Hidden);
        }
        mem::swap(&mut state.picture, into);
        Ok(())
    }

    /// Waits until there is something to take, or to be told, but not for longer than this.
    #[cfg_attr(target_os = "linux", allow(dead_code, reason = "the portal makes no small pictures"))]
    pub(super) fn wait(&self, at_most: Duration) {
        let nothing = |state: &mut State| !state.is_new && state.ended.is_none();
        drop(self.changed.wait_timeout_while(self.lock(), at_most, nothing));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Pixels<'a> {
    /// The part that a window fills of a larger picture. All of it, if the part is none.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "pictures of windows have their size there"))]
    pub(super) fn part(self, (x, y): (i32, i32), (width, height): (u32, u32)) -> Pixels<'a> {
        let fits = |at: i32, length: u32, whole: u32| {
            let at = u32::try_from(at).ok()?;
            (length > 0 && at.checked_add(length)? <= whole).then_some(at as usize)
        };
        let (Some(x), Some(y)) = (fits(x, width, self.width), fits(y, height, self.height)) else { return self };
        let bytes =
            y.checked_mul(self.stride).and_then(|line| self.bytes.get(line.checked_add(x * BYTES_PER_PIXEL)?..));
        bytes.map_or(self, |bytes| Pixels { width, height, bytes, ..self })
    }

    fn copy_into(&self, grabbed: &mut Grabbed) -> Result<(), String> {
        let Self { width, height, stride, order, bytes } = *self;
        let absurd = || format!("a picture of {width} x {height} in {} bytes, {stride} a line", bytes.len());
        let pixels = u64::from(width) * u64::from(height);
        let line = width as usize * BYTES_PER_PIXEL;
        if pixels == 0 || pixels > MAX_PIXELS || stride < line {
            return Err(absurd());
        }
        // The last line need not be as long as the others.
        let needed = stride.checked_mul(height as usize - 1).and_then(|before| before.checked_add(line));
        if needed.is_none_or(|needed| bytes.len() < needed) {
            return Err(absurd());
        }
        grabbed.resize(width, height);
        for (to, from) in grabbed.bgrx.chunks_exact_mut(line).zip(bytes.chunks(stride)) {
            to.copy_from_slice(&from[..line]);
        }
        match order {
            Order::Bgrx => {}
            Order::Rgbx => grabbed.bgrx.chunks_exact_mut(BYTES_PER_PIXEL).for_each(|pixel| pixel.swap(0, 2)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each pixel has its line and column in it.
    fn picture(width: u32, height: u32, stride: usize) -> Vec<u8> {
        let mut bytes = vec![0xEE; stride * height as usize];
        for (row, line) in bytes.chunks_exact_mut(stride).enumerate() {
            for (column, pixel) in line.chunks_exact_mut(4).take(width as usize).enumerate() {
                pixel.copy_from_slice(&[row as u8, column as u8, 3, 4]);
            }
        }
        bytes
    }

    fn pixels(bytes: &[u8], (width, height): (u32, u32), stride: usize) -> Pixels<'_> {
        Pixels { width, height, stride, order: Order::Bgrx, bytes }
    }

    #[test]
    fn lines_are_taken_without_what_is_between_them() {
        let bytes = picture(3, 2, 20);
        let newest = Newest::default();
        newest.put(&pixels(&bytes, (3, 2), 20));
        let mut grabbed = Grabbed::default();
        newest.take(&mut grabbed).unwrap();
        assert_eq!((grabbed.width, grabbed.height), (3, 2));
        assert_eq!(grabbed.bgrx, picture(3, 2, 12));
        // The last line ends where its pixels do.
        newest.put(&pixels(&bytes[..20 + 12], (3, 2), 20));
        newest.take(&mut grabbed).unwrap();
        assert_eq!(grabbed.bgrx, picture(3, 2, 12));
    }

    #[test]
    fn red_and_blue_are_where_they_belong() {
        let newest = Newest::default();
        newest.put(&Pixels { order: Order::Rgbx, ..pixels(&[1, 2, 3, 4, 5, 6, 7, 8], (2, 1), 8) });
        let mut grabbed = Grabbed::default();
        newest.take(&mut grabbed).unwrap();
        assert_eq!(grabbed.bgrx, [3, 2, 1, 4, 7, 6, 5, 8]);
    }

    #[test]
    fn only_the_newest_is_looked_at_and_only_once_and_its_size_may_change() {
        let newest = Newest::default();
        let mut grabbed = Grabbed::default();
        assert_eq!(newest.take(&mut grabbed), Err(Failure::Hidden));
        newest.put(&pixels(&[1; 8], (2, 1), 8));
        newest.put(&pixels(&[2; 24], (2, 3), 8));
        newest.take(&mut grabbed).unwrap();
        assert_eq!((grabbed.width, grabbed.height, &grabbed.bgrx[..]), (2, 3, &[2; 24][..]));
        assert_eq!(newest.take(&mut grabbed), Err(Failure::Hidden));
        newest.put(&pixels(&[3; 4], (1, 1), 4));
        newest.take(&mut grabbed).unwrap();
        assert_eq!((grabbed.width, grabbed.height, &grabbed.bgrx[..]), (1, 1, &[3; 4][..]));
    }

    #[test]
    fn absurd_sizes_end_it() {
        let bytes = vec![0; 1 << 16];
        for ((width, height), stride) in [
            ((0, 10), 40),
            ((10, 0), 40),
            ((10, 10), 39),
            ((100, 200), 400),
            ((u32::MAX, u32::MAX), usize::MAX),
            ((7_681, 4_320), 4 * 7_681),
            ((1, u32::MAX), 0),
            ((2, 3), usize::MAX / 2),
        ] {
            let newest = Newest::default();
            newest.put(&pixels(&bytes, (width, height), stride));
            let taken = newest.take(&mut Grabbed::default());
            assert!(matches!(taken, Err(Failure::Broken(_))), "{width} x {height}, {stride}: {taken:?}");
        }
    }

    #[test]
    fn why_it_ended_is_what_was_said_first() {
        let newest = Newest::default();
        newest.end(Failure::Gone);
        newest.end(Failure::Broken("because it was gone".to_owned()));
        newest.put(&pixels(&[1; 4], (1, 1), 4));
        assert_eq!(newest.take(&mut Grabbed::default()), Err(Failure::Gone));
        newest.wait(Duration::from_secs(600));
    }

    #[test]
    fn a_window_is_cut_out_of_what_is_around_it() {
        let bytes = picture(6, 5, 28);
        let whole = pixels(&bytes, (6, 5), 28);
        let mut grabbed = Grabbed::default();
        whole.part((2, 1), (3, 2)).copy_into(&mut grabbed).unwrap();
        assert_eq!((grabbed.width, grabbed.height), (3, 2));
        assert_eq!(grabbed.bgrx[..4], [1, 2, 3, 4]);
        assert_eq!(grabbed.bgrx[20..], [2, 4, 3, 4]);
        // Down to the last pixel.
        whole.part((3, 3), (3, 2)).copy_into(&mut grabbed).unwrap();
        assert_eq!(grabbed.bgrx[20..], [4, 5, 3, 4]);
        for (at, size) in
            [((-1, 0), (2, 2)), ((0, 0), (0, 0)), ((5, 0), (2, 2)), ((0, 4), (1, 2)), ((9, 9), (u32::MAX, 1))]
        {
            whole.part(at, size).copy_into(&mut grabbed).unwrap();
            assert_eq!((grabbed.width, grabbed.height), (6, 5), "{at:?}, {size:?}");
        }
    }
}
