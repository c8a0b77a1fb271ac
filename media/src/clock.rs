//! The clock of media: one time line for the process, and its relation to the wall clock.

use std::{
    sync::LazyLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::MediaTime;

/// Where the time line of this process starts: a fixed point, so that a camera that is closed and opened again goes on
/// in the same time.
static START: LazyLock<Instant> = LazyLock::new(now);

/// Now, for pipelines and devices.
#[expect(clippy::disallowed_methods, reason = "the one place where media threads read the monotonic clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// `at` on the time line of this process.
pub(crate) fn media_time(at: Instant) -> MediaTime {
    MediaTime::from_micros(micros(at.saturating_duration_since(*START)))
}

/// The wall clock, in Unix microseconds.
#[expect(clippy::disallowed_methods, reason = "the one place where media threads read the wall clock")]
pub(crate) fn unix_us() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

/// The wall clock at a recent instant, in Unix microseconds.
pub(crate) fn unix_us_at(at: Instant) -> u64 {
    unix_us().saturating_sub(micros(now().saturating_duration_since(at)))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
