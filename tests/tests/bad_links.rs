//! Calls on links that are slow, or become so.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

use std::time::Duration;

use parlor_tests::{Event, Impairment, Lan, Peer, SOON, in_lab};
use serde_json::json;

/// Figures of the last seconds of so many, as they come.
fn last_seconds(peer: &mut Peer, seconds: usize, last: usize) -> Vec<Event> {
    let figures: Vec<Event> = (0..seconds).map(|_| peer.expect("stats", SOON)).collect();
    figures[seconds - last..].to_vec()
}

fn values(figures: &[Event], pointer: &str) -> Vec<f64> {
    figures.iter().map(|event| event.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap_or(f64::NAN)).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[test]
fn a_picture_on_a_link_of_300_kbps_gets_smaller_and_keeps_moving_and_nothing_waits_long() {
    in_lab(|| {
        let lan = Lan::new(2);
        let mut ann = Peer::named("Ann").args(["--stats-every", "1"]).start(&lan[0]);
        let mut bob = Peer::named("Bob").accepting().args(["--stats-every", "1"]).start(&lan[1]);
        ann.expect_where("peer_online", SOON, |event| event["peer"] == bob.id());
        ann.call(&bob);
        ann.expect("first_video_frame", SOON);
        bob.expect("first_video_frame", SOON);
        let mut wire = lan[0].impair(Impairment::default());
        wire.set(Impairment { delay_ms: 25, rate_kbps: 300, ..Impairment::default() });

        let sent = last_seconds(&mut ann, 20, 10);
        let seen = last_seconds(&mut bob, 20, 10);
        let figures = || format!("{:#?}\n{:#?}", sent.last(), seen.last());
        assert!(median(values(&sent, "/video_send/height")) < 720.0, "{}", figures());
        assert!(median(values(&sent, "/available_bps")) < 330_000.0, "{}", figures());
        assert!(sent.iter().any(|event| event["video_send"]["limit"] == "network"), "{}", figures());
        assert!(median(values(&seen, "/video_recv/fps")) >= 15.0, "{}", figures());
        // The path takes 25 ms; the queue in the bottleneck would hold 200.
        assert!(median(values(&sent, "/rtt_ms")) < 150.0, "{}", figures());
        assert!(median(values(&sent, "/queue_ms")) < 100.0, "{}", figures());

        wire.set(Impairment { delay_ms: 25, ..Impairment::default() });
        let patience = Duration::from_secs(12);
        ann.expect_where("stats", patience, |event| event["video_send"]["height"] == json!(720));
    });
}
