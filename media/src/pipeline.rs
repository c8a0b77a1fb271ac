//! What runs between devices and packets: named threads, each with one owner, a stop and a join. What they decide is
//! pure and lives in [`crate::playout`], [`crate::codec`] and the rate control.

mod video_out;
pub mod video_recv;
pub mod video_send;
pub mod voice;

#[cfg(test)]
mod tests;
