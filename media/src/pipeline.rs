//! What runs between devices and packets: named threads, each with one owner, a stop and a join. What they decide is
//! pure and lives in [`crate::playout`], [`crate::codec`] and the rate control.

mod video_out;
pub mod video_recv;
pub mod video_send;
pub mod voice;

use crate::{FrameLog, playout::lip_sync::VoiceLag};

/// What picture and voice of a call have in common.
#[derive(Clone, Debug, Default)]
pub struct Timing {
    /// Where it is noted when each came and went.
    pub log: Option<FrameLog>,
    /// How late the voice is, which the picture follows.
    pub voice: VoiceLag,
}

#[cfg(test)]
mod tests;
