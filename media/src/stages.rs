//! The pieces of a picture's and of a voice's way, each by itself and ready to be run over and over: what benchmarks time,
//! and what the test of allocations counts. They run what calls run, on made-up input that is always the same. No part of
//! the crate's interface.

mod picture;
mod scene;
mod voice;

/// One piece of the way.
pub struct Stage {
    /// Where it belongs and what it is, as `convert/yuyv_720p`.
    pub name: &'static str,
    /// Makes what it needs.
    pub make: fn() -> Step,
    /// Heap allocations, each time it is run, that a library makes inside and that can't be avoided.
    pub allocations: u64,
}

/// Runs a stage once: for one frame, or as many milliseconds of voice as its name says.
pub type Step = Box<dyn FnMut()>;

impl Stage {
    const fn new(name: &'static str, make: fn() -> Step) -> Self {
        Self { name, make, allocations: 0 }
    }

    const fn allocating(self, allocations: u64) -> Self {
        Self { allocations, ..self }
    }
}

/// All of them, in the order of the way.
pub fn all() -> impl Iterator<Item = &'static Stage> {
    picture::STAGES.iter().chain(voice::STAGES)
}
