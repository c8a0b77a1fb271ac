//! When what came in is played. Pure: packets and the time go in, sound and pictures come out.

pub mod audio;
pub mod lip_sync;
pub(crate) mod video;
