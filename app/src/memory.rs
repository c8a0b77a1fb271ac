//! What keeps the process's memory flat over many calls.

pub use platform::{give_back, keep_flat};

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[expect(unsafe_code, reason = "there are no safe wrappers")]
mod platform {
    /// To be called once, before any thread starts.
    ///
    /// glibc gives each thread a heap of its own and keeps what freed ones held, and it moves pictures into the heap
    /// once a few were freed. A call starts a dozen threads and frees pictures: after 50 calls that was 90 MB. With one
    /// heap, and pictures outside it, memory stays flat; the hot paths reuse their buffers and hardly allocate.
    pub fn keep_flat() {
        // SAFETY: mallopt(3) may be called at any time.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
        }
    }

    /// To be called after a call: what it freed goes back to the system. What lives on lies scattered over the heap,
    /// and by itself glibc gives back only what is above all of it.
    pub fn give_back() {
        // SAFETY: malloc_trim(3) may be called at any time, by any thread.
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod platform {
    /// Other allocators need no telling.
    pub const fn keep_flat() {}

    /// Other allocators need no telling.
    pub const fn give_back() {}
}
