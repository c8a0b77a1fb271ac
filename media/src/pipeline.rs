//! What runs between devices and packets: named threads, each with one owner, a stop and a join.

pub mod voice;
