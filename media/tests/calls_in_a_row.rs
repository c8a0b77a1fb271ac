//! Many calls in one process: what they leave behind, and how long they take to stand.

#[path = "common/pair.rs"]
mod pair;

use std::{
    env, fs,
    process::Command,
    time::{Duration, Instant},
};

use pair::{Pair, config};
use parlor_media::SessionEvent;

const CALLS: usize = 30;
const WARM_UP: usize = 10;

/// The C library gives every thread a heap of its own, up to eight a core, and keeps what threads that are gone left in
/// theirs. With one heap, what grows is a leak.
const ONE_HEAP: (&str, &str) = ("MALLOC_ARENA_MAX", "1");

#[test]
fn calls_leave_nothing_behind() {
    if env::var(ONE_HEAP.0).is_err() {
        let mut alone = Command::new(env::current_exe().unwrap());
        alone.args(["calls_leave_nothing_behind", "--exact", "--nocapture"]).env(ONE_HEAP.0, ONE_HEAP.1);
        assert!(alone.status().unwrap().success());
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let (mut connected, mut first_picture) = (Vec::new(), Vec::new());
        for _ in 0..WARM_UP {
            call().await;
        }
        let before = Left::now();
        for _ in WARM_UP..CALLS {
            let (up, picture) = call().await;
            connected.push(up);
            first_picture.push(picture);
        }
        let after = Left::now();
        println!("accept_answer -> connected     {}", summary(connected));
        println!("accept_answer -> first picture {}", summary(first_picture));
        println!("after call {WARM_UP} {before:?}, after call {CALLS} {after:?}");
        assert!(after.files <= before.files, "{before:?} -> {after:?}");
        assert_eq!((before.media_threads, after.media_threads), (0, 0));
        // How many pictures are under way at the worst moment differs from call to call, by a few megabytes.
        assert!(after.resident_kb <= before.resident_kb + 16 * 1024, "{before:?} -> {after:?}");
    });
}

/// One call, until both see each other. The times from the caller's side.
#[expect(clippy::disallowed_methods, reason = "a measurement")]
async fn call() -> (Duration, Duration) {
    let mut pair = Pair::spawn(config(), config());
    pair.caller.session.start_preview();
    pair.caller.session.create_offer();
    pair.callee.session.accept_offer(pair.caller.offer().await);
    // The phone rings; then the callee accepts.
    let (answer, candidate) = (pair.callee.answer().await, pair.callee.candidate().await);
    pair.caller.preview_frame().await;
    let accepted = Instant::now();
    pair.callee.session.start();
    pair.caller.session.accept_answer(answer);
    pair.caller.session.add_candidate(candidate);
    pair.caller.session.start();
    pair.callee.session.add_candidate(pair.caller.candidate().await);
    pair.caller.until_connected().await;
    let connected = accepted.elapsed();
    // The callee's picture is that of a camera which opens only now: the caller's is there.
    pair.callee.until(|event| matches!(event, SessionEvent::FirstVideoFrame)).await;
    let first_picture = accepted.elapsed();
    pair.caller.until(|event| matches!(event, SessionEvent::FirstVideoFrame)).await;
    pair.close().await;
    (connected, first_picture)
}

fn summary(mut times: Vec<Duration>) -> String {
    times.sort();
    let ms = |at: usize| times[at].as_secs_f64() * 1e3;
    format!(
        "median {:.1} ms, least {:.1}, most {:.1} of {}",
        ms(times.len() / 2),
        ms(0),
        ms(times.len() - 1),
        times.len()
    )
}

/// What the process holds.
#[derive(Debug)]
struct Left {
    files: usize,
    media_threads: usize,
    resident_kb: u64,
}

impl Left {
    fn now() -> Self {
        let threads = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
        let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
        let media = |name: &String| ["camera", "video-", "voice-"].iter().any(|prefix| name.starts_with(prefix));
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident_kb = resident.and_then(|line| line.split_whitespace().next()).and_then(|kb| kb.parse().ok());
        Self {
            files: fs::read_dir("/proc/self/fd").map_or(0, Iterator::count),
            media_threads: names.filter(media).count(),
            resident_kb: resident_kb.unwrap_or(0),
        }
    }
}
