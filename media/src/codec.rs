//! Codecs: sound and pictures to packets, and back.

pub mod opus;
