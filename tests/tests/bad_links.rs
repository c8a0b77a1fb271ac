//! Calls on links that are slow, or become so.

use std::time::Duration;

use parlor_tests::{Event, Impairment, Lan, Peer, SOON, Wire, in_lab};

/// A machine with other work takes its time until a call has settled.
const PATIENCE: Duration = Duration::from_secs(60);

fn figure(stats: &Event, pointer: &str) -> f64 {
    stats.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN)
}

/// Figures of later than those.
fn is_after(stats: &Event, earlier: &Event) -> bool {
    stats["t_ms"].as_u64() > earlier["t_ms"].as_u64()
}

/// Ann rings at Bob's, who accepts, over a wire that takes 25 ms.
fn calling(lan: &Lan) -> (Peer, Peer, Wire) {
    let wire = lan[0].impair(Impairment { delay_ms: 25, ..Impairment::default() });
    let mut ann = Peer::named("Ann").args(["--stats-every", "1"]).start(&lan[0]);
    let bob = Peer::named("Bob").accepting().args(["--stats-every", "1"]).start(&lan[1]);
    ann.expect_where("peer_online", SOON, |event| event["peer"] == bob.id());
    ann.call(&bob);
    (ann, bob, wire)
}

/// Hardly more than a voice, and a queue that holds two large packets.
const THIN: Impairment = Impairment { delay_ms: 25, rate_kbps: 64, queue_ms: 300, ..Impairment::NONE };

/// Two who see each other, over a wire that takes 25 ms.
fn in_a_call(lan: &Lan) -> (Peer, Peer, Wire) {
    let (mut ann, mut bob, wire) = calling(lan);
    ann.expect("first_video_frame", SOON);
    bob.expect("first_video_frame", SOON);
    (ann, bob, wire)
}

#[test]
fn a_picture_on_a_link_of_300_kbps_gets_smaller_and_keeps_moving_and_nothing_waits_long() {
    in_lab(|| {
        let lan = Lan::new(2);
        let (mut ann, mut bob, mut wire) = in_a_call(&lan);
        wire.set(Impairment { delay_ms: 25, rate_kbps: 300, ..Impairment::default() });

        let settled = ann.expect_where("stats", PATIENCE, |stats| {
            figure(stats, "/video_send/height") < 720.0
                && figure(stats, "/available_bps") < 330_000.0
                && stats["video_send"]["limit"] == "network"
                // The path takes 25 ms; the queue in the bottleneck would hold 200.
                && figure(stats, "/rtt_ms") < 150.0
                && figure(stats, "/queue_ms") < 100.0
        });
        bob.expect_where("stats", PATIENCE, |stats| {
            // On a machine with time for it they are 30; how many they are at least is for the simulator to say.
            is_after(stats, &settled) && figure(stats, "/video_recv/fps") >= 7.0
        });

        wire.set(Impairment { delay_ms: 25, ..Impairment::default() });
        ann.expect_where("stats", PATIENCE, |stats| is_after(stats, &settled) && stats["video_send"]["height"] == 720);
    });
}

/// Goes on until the voice has all of a link of 64 kbit/s, and Bob hears it.
fn expect_only_the_voice(ann: &mut Peer, bob: &mut Peer) {
    let settled = ann.expect_where("stats", PATIENCE, |stats| {
        stats["video_send"]["limit"] == "network"
            && figure(stats, "/video_send/target_bps") < 30_000.0
            && figure(stats, "/voice_target_bps") >= 16_000.0
            // There and back takes 50 ms; the bottleneck's queues would add 600.
            && figure(stats, "/rtt_ms") < 350.0
    });
    bob.expect_where("stats", PATIENCE, |stats| {
        is_after(stats, &settled) && figure(stats, "/audio_recv/concealed") < 0.05
    });
}

#[test]
fn on_a_link_of_64_kbps_the_picture_yields_and_the_voice_does_not_wait() {
    in_lab(|| {
        let lan = Lan::new(2);
        let (mut ann, mut bob, mut wire) = in_a_call(&lan);
        wire.set(THIN);
        expect_only_the_voice(&mut ann, &mut bob);
    });
}

/// Nothing was ever heard of what is sent when the first pictures fill the path, both ways.
#[test]
fn a_call_that_begins_on_a_link_of_64_kbps_goes_on_as_voice() {
    in_lab(|| {
        let lan = Lan::new(2);
        let (mut ann, mut bob, mut wire) = calling(&lan);
        ann.expect("connected", SOON);
        wire.set(THIN);
        expect_only_the_voice(&mut ann, &mut bob);
    });
}

#[test]
fn a_picture_keeps_moving_when_a_fifth_of_all_packets_is_lost_and_stays_large() {
    in_lab(|| {
        let lan = Lan::new(2);
        let (mut ann, mut bob, mut wire) = in_a_call(&lan);
        wire.set(Impairment { delay_ms: 25, loss_percent: 20.0, ..Impairment::default() });

        let settled = ann.expect_where("stats", PATIENCE, |stats| {
            // That is no congestion.
            figure(stats, "/send_loss") > 0.1 && figure(stats, "/available_bps") > 1_000_000.0
        });
        bob.expect_where("stats", PATIENCE, |stats| {
            is_after(stats, &settled) && figure(stats, "/video_recv/fps") >= 15.0
        });
    });
}
