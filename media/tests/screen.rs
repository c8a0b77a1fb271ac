//! Two sessions, one of which shares a screen next to its camera.
#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

#[path = "common/pair.rs"]
mod pair;

use std::path::PathBuf;

use pair::{End, Pair, config};
use parlor_media::{
    Frame, FrameReceiver, ScreenProblem, ScreenSource, SessionConfig, SessionEvent, Sharing, frame_slot,
};

const WIDTH: u32 = 640;
const HEIGHT: u32 = 360;

/// A clip that stands in for a screen: a page of lines, darker below.
fn page() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("page.y4m");
    let mut clip = format!("YUV4MPEG2 W{WIDTH} H{HEIGHT} F15:1 Ip C420jpeg\nFRAME\n").into_bytes();
    for y in 0..HEIGHT {
        let ink = if y / 8 % 2 == 0 { 220 } else { 40 };
        clip.extend((0..WIDTH).map(|x| if x / 8 % 3 == 0 { 200 - ink / 2 } else { ink }));
    }
    clip.resize(clip.len() + (WIDTH * HEIGHT / 2) as usize, 128);
    std::fs::write(&path, clip).unwrap();
    (directory, path)
}

fn with_screen() -> ((SessionConfig, FrameReceiver, FrameReceiver), FrameReceiver) {
    let (remote_screen, screen) = frame_slot(|| {});
    let (config, preview, remote) = config();
    ((SessionConfig { remote_screen, ..config }, preview, remote), screen)
}

async fn next(slot: &FrameReceiver) -> Frame {
    let slot = slot.clone();
    #[expect(clippy::disallowed_methods, reason = "the test waits in real time")]
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let frame = tokio::task::spawn_blocking(move || slot.take_until(deadline)).await;
    frame.expect("the slot does not panic").expect("a picture of the screen comes")
}

async fn sharing(end: &mut End) -> Sharing {
    match end.until(|event| matches!(event, SessionEvent::Sharing(_))).await {
        SessionEvent::Sharing(sharing) => sharing,
        other => panic!("{other:?}"),
    }
}

async fn connected(with_video: bool) -> (Pair, FrameReceiver) {
    let (callee, screen) = with_screen();
    let (caller, preview, remote) = config();
    let mut pair = Pair::spawn((SessionConfig { with_video, ..caller }, preview, remote), callee);
    pair.caller.session.create_offer();
    pair.negotiate().await;
    pair.start();
    pair.caller.until_connected().await;
    pair.callee.until_connected().await;
    (pair, screen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_screen_comes_next_to_the_camera_and_ends_when_it_is_told_to() {
    let ((mut pair, screen), (_directory, path)) = (connected(true).await, page());
    pair.callee.until(|event| matches!(event, SessionEvent::FirstVideoFrame)).await;
    assert!(screen.take().is_none(), "nothing is captured before it is chosen");
    for round in 0..2 {
        pair.caller.session.share(ScreenSource::File(path.clone()));
        assert_eq!(sharing(&mut pair.caller).await, Sharing::Begun("page.y4m".to_owned()));
        if round == 0 {
            pair.callee.until(|event| matches!(event, SessionEvent::FirstScreenFrame)).await;
        }
        for _ in 0..10 {
            let frame = next(&screen).await;
            assert_eq!((frame.width(), frame.height()), (WIDTH, HEIGHT));
            let at = |x: u32, y: u32| frame.y()[(y * WIDTH + x) as usize];
            assert!(at(16, 4).abs_diff(220) < 30 && at(16, 12).abs_diff(40) < 30, "{}, {}", at(16, 4), at(16, 12));
            assert!(pair.callee.remote_frame().await.height() >= 180, "the camera goes on beside it");
        }
        let stats = pair.callee.stats(|stats| stats.screen_recv.shown > 5 && stats.video_recv.fps > 0.0).await;
        assert_eq!(stats.screen_recv.width, WIDTH, "every line, whatever becomes of the camera");
        pair.caller.session.stop_sharing();
        assert_eq!(sharing(&mut pair.caller).await, Sharing::Over(None));
    }
    let stats = pair.caller.stats(|stats| stats.screen_send.frames == 0).await;
    assert_eq!(stats.screen_send, Default::default(), "nothing is sent any more");
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voice_call_can_share_a_screen_too() {
    let ((mut pair, screen), (_directory, path)) = (connected(false).await, page());
    pair.caller.until(|event| matches!(event, SessionEvent::FirstAudio)).await;
    pair.caller.session.share(ScreenSource::File(path));
    assert_eq!(next(&screen).await.width(), WIDTH);
    assert!(!pair.callee.seen.iter().any(|event| matches!(event, SessionEvent::Camera(_))), "{:?}", pair.callee.seen);
    assert!(pair.callee.remote.take().is_none());
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_shared_before_both_agree() {
    let (_directory, path) = page();
    let (mut caller, _callee) = (End::spawn(config()), End::spawn(config()));
    caller.session.create_offer();
    caller.offer().await;
    caller.session.share(ScreenSource::File(path));
    let refused = sharing(&mut caller).await;
    assert!(matches!(refused, Sharing::Over(Some(ScreenProblem::Failed(_)))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_no_section_for_screens_is_shown_none() {
    let (_directory, path) = page();
    let mut pair = Pair::spawn(config(), config());
    pair.caller.session.create_offer();
    // As from a version that knows no screens.
    let offer = pair.caller.offer().await;
    let offer = offer.replace("parlor screen", "parlor other");
    pair.callee.session.accept_offer(offer);
    let answer = pair.callee.answer().await.replace("parlor screen", "parlor other");
    pair.caller.session.accept_answer(answer);
    pair.caller.session.add_candidate(pair.callee.candidate().await);
    pair.callee.session.add_candidate(pair.caller.candidate().await);
    pair.start();
    pair.caller.until_connected().await;
    pair.caller.session.share(ScreenSource::File(path));
    assert_eq!(sharing(&mut pair.caller).await, Sharing::Over(Some(ScreenProblem::NotTaken)));
    pair.close().await;
}
