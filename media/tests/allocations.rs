//! A call that runs allocates nothing for a frame or a packet: every stage of the way is run until it has all that it
//! needs, and then watched by an allocator that counts. What C libraries take for themselves is not seen here.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use parlor_media::stages::{self, Stage};

/// Frames until all buffers have the size that they keep: packets are kept for 30 of them.
const FRAMES: u32 = 70;
/// The same of a voice, whose packets are small: until the second chunk of memory is full.
const PACKETS: u32 = 1_000;
/// What is counted.
const RUNS: u32 = 30;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: it is the system's allocator; counting touches a thread's own memory, which needs no allocation.
#[expect(unsafe_code, reason = "allocators are unsafe to write")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps the contract.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    // Fails while a thread ends, when nobody counts any more.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// Packets come of it, which are kept.
fn is_long(stage: &Stage) -> bool {
    ["packetize/", "assemble/", "way/"].iter().any(|prefix| stage.name.starts_with(prefix))
}

/// Allocations of the run that made the most, and of all runs.
fn measure(stage: &Stage) -> (u64, u64) {
    let mut step = (stage.make)();
    let warm_up = if stage.name.ends_with("ms") {
        PACKETS
    } else if is_long(stage) {
        FRAMES
    } else {
        FRAMES / 7
    };
    (0..warm_up).for_each(|_| step());
    let (mut most, before) = (0, allocations());
    for _ in 0..RUNS {
        let begin = allocations();
        step();
        most = most.max(allocations() - begin);
    }
    (most, allocations() - before)
}

#[test]
fn a_call_that_runs_allocates_nothing() {
    println!("{:34} {:>9} {:>9} {:>9}", "stage", "at most", "mean", "allowed");
    let mut wrong = Vec::new();
    for stage in stages::all() {
        let (most, sum) = measure(stage);
        println!("{:34} {most:9} {:9.2} {:9}", stage.name, sum as f32 / RUNS as f32, stage.allocations);
        if most > stage.allocations {
            wrong.push(stage.name);
        }
    }
    assert!(wrong.is_empty(), "these allocate: {wrong:?}");
}

#[test]
fn the_allocator_counts() {
    let before = allocations();
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert_eq!(allocations(), before + 1);
}
