//! How much to send, and of what: pure, from what the far end reports to what each stream may take.
//!
//! [`Controller`] turns the fate of packets into a bitrate for all of them together, [`Pacer`] spreads packets in time,
//! [`Repairs`] says which are worth sending again, [`Protection`] what is sent ahead of losses, [`Allocation`] divides the bitrate (voice first), [`Ladder`] picks a size and a frame rate for the picture's
//! part, and [`CodecChoice`] a codec. None of them reads a clock or does I/O; a simulated link tries them all in `simulator`.

mod allocation;
mod codec_choice;
mod controller;
mod delay;
mod delivery;
mod history;
mod ladder;
mod pacer;
mod protection;
mod repairs;
mod silence;
#[cfg(test)]
mod simulator;
mod wall;
mod width;

pub(crate) use allocation::{Allocation, Demand, HEADERS, packet_size};
pub(crate) use codec_choice::{CodecChoice, Situation};
pub(crate) use controller::{Controller, Outcome};
pub(crate) use history::{Arrival, History};
pub use ladder::Limit;
pub(crate) use ladder::{Ladder, SCREEN_FPS, Step};
pub(crate) use pacer::{Class, Pacer, pace};
pub(crate) use protection::Protection;
pub(crate) use repairs::{BETWEEN_COPIES, Repairs, copies, repair_ratio};

/// Bits per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Bitrate(u32);

impl Bitrate {
    pub(crate) const fn from_bps(bps: u32) -> Self {
        Self(bps)
    }

    pub(crate) const fn as_bps(self) -> u32 {
        self.0
    }

    pub(crate) fn scaled(self, factor: f32) -> Self {
        Self((self.0 as f32 * factor) as u32)
    }

    pub(crate) const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
