//! Two sessions on loopback, in one process, with everything real but the devices.

#[path = "common/pair.rs"]
mod pair;

use std::time::Duration;

use pair::{End, Pair, config};
use parlor_media::{CameraState, SessionConfig, SessionEvent, VideoCodec};
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sessions_see_and_hear_each_other() {
    let mut pair = Pair::connected().await;
    for end in [&mut pair.caller, &mut pair.callee] {
        end.until(|event| matches!(event, SessionEvent::FirstVideoFrame)).await;
        end.until(|event| matches!(event, SessionEvent::FirstAudio)).await;
        let frame = end.remote_frame().await;
        assert_eq!((frame.width(), frame.height()), (1280, 720));
    }
    let stats = pair.caller.stats(|stats| stats.video_recv.latency_ms.is_some() && stats.rtt_ms.is_some()).await;
    assert!(stats.send_bps > 10_000 && stats.recv_bps > 10_000, "{stats:?}");
    assert!(stats.video_send.frames > 0 && stats.audio_recv.packets > 0, "{stats:?}");
    assert!(stats.rtt_ms.is_some_and(|rtt| rtt < 200.0), "{stats:?}");
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_that_has_one_codec_only_gets_and_sends_that_whoever_calls() {
    for &codec in VideoCodec::BUILT {
        for caller_has_one in [true, false] {
            let (mut caller, mut callee) = (config(), config());
            (if caller_has_one { &mut caller } else { &mut callee }).0.video_codec = Some(codec);
            let mut pair = Pair::spawn(caller, callee);
            pair.caller.session.create_offer();
            pair.negotiate().await;
            pair.start();
            for end in [&mut pair.caller, &mut pair.callee] {
                end.until(|event| matches!(event, SessionEvent::FirstVideoFrame)).await;
                let name = codec.name();
                end.stats(|stats| stats.video_send.codec == name && stats.video_recv.codec == name).await;
            }
            pair.close().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sides_without_a_codec_in_common_talk_without_pictures() {
    let (mut caller, mut callee) = (config(), config());
    (caller.0.video_codec, callee.0.video_codec) = (Some(VideoCodec::H264), Some(VideoCodec::Vp9));
    let mut pair = Pair::spawn(caller, callee);
    pair.caller.session.create_offer();
    pair.negotiate().await;
    pair.start();
    for end in [&mut pair.caller, &mut pair.callee] {
        end.until(|event| matches!(event, SessionEvent::FirstAudio)).await;
        assert!(!end.seen.iter().any(|event| matches!(event, SessionEvent::FirstVideoFrame | SessionEvent::Failed(_))));
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_that_come_before_the_description_are_used() {
    let (mut caller, mut callee) = (End::spawn(config()), End::spawn(config()));
    caller.session.create_offer();
    let offer = caller.offer().await;
    assert!(offer.contains("red/48000/2"), "{offer}");
    // The callee answers, but the caller gets only its candidates for now, and the other way round none at all.
    callee.session.accept_offer(offer);
    let answer = callee.answer().await;
    assert!(answer.contains("red/48000/2"), "copies of the voice are not agreed upon: {answer}");
    let candidate = callee.candidate().await;
    caller.session.add_candidate(candidate);
    caller.session.accept_answer(answer);
    caller.until_connected().await;
    callee.until_connected().await;
    caller.session.close().await;
    callee.session.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_opened_or_sent_before_both_agree() {
    let (mut caller, mut callee) = (End::spawn(config()), End::spawn(config()));
    caller.session.create_offer();
    callee.session.accept_offer(caller.offer().await);
    caller.session.accept_answer(callee.answer().await);
    let candidate = callee.candidate().await;
    caller.session.add_candidate(candidate);
    // The connection stands, but nobody started: no camera opens and no packet of media is sent.
    caller.until_connected().await;
    callee.until_connected().await;
    for end in [&mut caller, &mut callee] {
        let stats = end.stats(|_| true).await;
        assert_eq!((stats.send_bps, stats.recv_bps, stats.video_send.frames), (0, 0, 0));
        assert!(!end.seen.iter().any(|event| matches!(event, SessionEvent::Camera(_))), "{:?}", end.seen);
    }
    caller.session.start();
    callee.session.start();
    caller.until(|event| matches!(event, SessionEvent::FirstVideoFrame)).await;
    caller.session.close().await;
    callee.session.close().await;
}

#[tokio::test]
async fn preview_shows_the_own_picture_and_sends_nothing() {
    let mut caller = End::spawn(config());
    caller.session.start_preview();
    caller.until(|event| matches!(event, SessionEvent::Camera(CameraState::Open))).await;
    caller.preview_frame().await;
    caller.session.close().await;
    assert!(caller.preview.take().is_none(), "the preview is empty when the camera is closed");
}

#[tokio::test]
async fn descriptions_that_cannot_be_used_are_refused() {
    let mut caller = End::spawn(config());
    caller.session.create_offer();
    let offer = caller.offer().await;
    let without_fingerprint = offer.lines().filter(|line| !line.starts_with("a=fingerprint"));
    let without_fingerprint = without_fingerprint.map(|line| format!("{line}\r\n")).collect();
    for bad in [
        String::new(),
        "hello".to_owned(),
        "v=0\r\n".repeat(100),
        "x".repeat(1 << 20),
        offer.replace("a=mid", "a=dim"),
        without_fingerprint,
    ] {
        let mut callee = End::spawn(config());
        callee.session.accept_offer(bad.clone());
        callee.until(|event| matches!(event, SessionEvent::DescriptionRefused(_))).await;
        callee.session.close().await;
        caller.session.accept_answer(bad);
        caller.until(|event| matches!(event, SessionEvent::DescriptionRefused(_))).await;
    }
    caller.session.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_descriptions_never_break_the_session() {
    let (mut caller, mut callee) = (End::spawn(config()), End::spawn(config()));
    caller.session.create_offer();
    let offer = caller.offer().await;
    callee.session.accept_offer(offer.clone());
    let answer = callee.answer().await;
    let mut damage = Damage(1);
    for _ in 0..150 {
        let mut victim = End::spawn(config());
        victim.session.accept_offer(damage.inflict(&offer));
        let told =
            |event: &SessionEvent| matches!(event, SessionEvent::AnswerReady(_) | SessionEvent::DescriptionRefused(_));
        victim.until(told).await;
        let mut victim = End::spawn(config());
        victim.session.create_offer();
        victim.offer().await;
        victim.session.accept_answer(damage.inflict(&answer));
        // Still there, and obedient: it makes another offer, or says that the connection is beyond that.
        victim.session.restart_ice();
        victim.until(|event| matches!(event, SessionEvent::OfferReady(_) | SessionEvent::Failed(_))).await;
    }
    caller.session.close().await;
    callee.session.close().await;
}

/// Damages descriptions, the same way in every run.
struct Damage(u64);

impl Damage {
    fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX generator: good enough to choose lines.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }

    fn inflict(&mut self, description: &str) -> String {
        let mut lines = description.lines().map(str::to_owned).collect::<Vec<_>>();
        for _ in 0..=self.below(3) {
            let (at, other) = (self.below(lines.len()), self.below(lines.len()));
            match self.below(6) {
                0 => drop(lines.remove(at)),
                1 => lines.swap(at, other),
                2 => lines.insert(at, lines[other].clone()),
                3 => lines[at] = lines[at].replace(|digit: char| digit.is_ascii_digit(), "9"),
                4 => lines[at] = lines[at].chars().take(12).collect(),
                _ => lines[at] = lines[at].replace(' ', ""),
            }
        }
        lines.iter().map(|line| format!("{line}\r\n")).collect()
    }
}

#[tokio::test]
async fn an_answer_to_no_offer_is_refused() {
    let mut end = End::spawn(config());
    end.session.accept_answer("v=0".to_owned());
    end.until(|event| matches!(event, SessionEvent::DescriptionRefused(_))).await;
    end.session.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_candidates_are_dropped_and_the_call_goes_on() {
    let (mut caller, mut callee) = (End::spawn(config()), End::spawn(config()));
    for end in [&caller, &callee] {
        for garbage in ["", "{}", "null", "{\"candidate\":\"candidate:x\"}", "\u{0}"] {
            end.session.add_candidate(garbage.to_owned());
        }
    }
    caller.session.create_offer();
    callee.session.accept_offer(caller.offer().await);
    caller.session.accept_answer(callee.answer().await);
    caller.session.add_candidate(callee.candidate().await);
    caller.until_connected().await;
    caller.session.close().await;
    callee.session.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_fingerprint_fails_and_no_media_comes_through() {
    let (mut caller, mut callee) = (End::spawn(config()), End::spawn(config()));
    caller.session.create_offer();
    callee.session.accept_offer(caller.offer().await);
    let answer = callee.answer().await;
    let fingerprint = answer.lines().find_map(|line| line.strip_prefix("a=fingerprint:sha-256 ")).unwrap();
    let wrong = fingerprint.chars().map(|digit| if digit == '0' { '1' } else { digit }).collect::<String>();
    let wrong = if wrong == fingerprint { fingerprint.replace('A', "B") } else { wrong };
    caller.session.accept_answer(answer.replace(fingerprint, &wrong));
    caller.session.start();
    callee.session.start();
    caller.session.add_candidate(callee.candidate().await);
    caller.until(|event| matches!(event, SessionEvent::Failed(_))).await;
    let forbidden = |event: &SessionEvent| {
        matches!(event, SessionEvent::Connected(_) | SessionEvent::FirstVideoFrame | SessionEvent::FirstAudio)
    };
    assert!(!caller.seen.iter().any(forbidden), "{:?}", caller.seen);
    caller.session.close().await;
    callee.session.close().await;
    assert!(caller.remote.take().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_brings_media_back_over_other_sockets() {
    let mut pair = Pair::connected().await;
    pair.caller.until(|event| matches!(event, SessionEvent::FirstVideoFrame)).await;
    pair.caller.session.restart_ice();
    pair.negotiate().await;
    for end in [&mut pair.caller, &mut pair.callee] {
        end.until_connected().await;
        end.remote.take();
        end.remote_frame().await;
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_far_end_that_goes_away_is_noticed_within_two_seconds() {
    let mut pair = Pair::connected().await;
    pair.caller.until(|event| matches!(event, SessionEvent::FirstVideoFrame)).await;
    pair.callee.session.close().await;
    let gone = Instant::now();
    pair.caller.until(|event| matches!(event, SessionEvent::Disconnected)).await;
    assert!(gone.elapsed() < Duration::from_millis(2200), "{:?}", gone.elapsed());
    pair.caller.session.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_camera_that_is_turned_off_is_released_and_comes_back() {
    let mut pair = Pair::connected().await;
    pair.callee.remote_frame().await;
    pair.caller.session.set_camera(false);
    pair.caller.until(|event| matches!(event, SessionEvent::Camera(CameraState::Closed))).await;
    // Off and on in quick succession ends as on.
    pair.caller.session.set_camera(true);
    pair.caller.session.set_camera(false);
    pair.caller.session.set_camera(true);
    pair.caller.until(|event| matches!(event, SessionEvent::Camera(CameraState::Open))).await;
    pair.callee.remote.take();
    pair.callee.remote_frame().await;
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_without_pictures_makes_a_call_without() {
    let caller = SessionConfig { with_video: false, ..config().0 };
    let mut pair = Pair::spawn((caller, config().1, config().2), config());
    pair.caller.session.create_offer();
    pair.negotiate().await;
    pair.start();
    for end in [&mut pair.caller, &mut pair.callee] {
        end.until(|event| matches!(event, SessionEvent::FirstAudio)).await;
        assert!(!end.seen.iter().any(|event| matches!(event, SessionEvent::Camera(_))), "{:?}", end.seen);
    }
    pair.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_takes_less_than_a_second() {
    let mut pair = Pair::connected().await;
    pair.caller.until(|event| matches!(event, SessionEvent::FirstVideoFrame)).await;
    let closing = Instant::now();
    pair.close().await;
    assert!(closing.elapsed() < Duration::from_secs(1), "{:?}", closing.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_session_closes_it_in_the_background() {
    let mut pair = Pair::connected().await;
    drop(pair.callee.session);
    while pair.callee.events.recv().await.is_some() {}
    pair.caller.until(|event| matches!(event, SessionEvent::Disconnected)).await;
    pair.caller.session.close().await;
}
