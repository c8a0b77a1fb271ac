//! The real sound path: through a microphone and a loudspeaker that exist in a sound server only.

use std::time::Duration;

use parlor_tests::{Event, Lan, Part, Peer, SOON, SoundCard, in_lab, now};
use serde_json::json;

const ANNS_PITCH: f32 = 450.0;
const BOBS_PITCH: f32 = 1100.0;

fn with_card(peer: &str, card: &SoundCard) -> parlor_tests::Starting {
    // What is listened for here are tones, which are noise to a voice's processing.
    Peer::named(peer)
        .camera("none")
        .microphone("default")
        .speaker("default")
        .args(["--no-voice-processing"])
        .env("PULSE_SERVER", card.server())
}

/// Ann calls Bob, without a picture, until both hear something.
fn talk(ann: &mut Peer, bob: &mut Peer) -> Event {
    ann.expect("peer_online", SOON);
    ann.tell(&json!({ "do": "call", "peer": bob.id(), "kind": "audio" }));
    let call = ann.expect("connected", SOON);
    for side in [ann, bob] {
        side.expect_of(&call, "first_audio", SOON);
    }
    call
}

#[test]
fn voices_go_from_microphone_to_loudspeaker_and_nobody_hears_themselves() {
    in_lab(|| {
        let lan = Lan::new(2);
        let (mut anns, mut bobs) = (SoundCard::plug_in(), SoundCard::plug_in());
        let mut ann = with_card("Ann", &anns).start(&lan[0]);
        let mut bob = with_card("Bob", &bobs).accepting().start(&lan[1]);
        let call = talk(&mut ann, &mut bob);
        anns.hum(ANNS_PITCH);
        bobs.hum(BOBS_PITCH);

        let second = Duration::from_secs(1);
        let _settling = anns.listen(second);
        let (at_ann, at_bob) = (anns.listen(2 * second), bobs.listen(2 * second));
        for (heard, theirs, own) in [(&at_ann, BOBS_PITCH, ANNS_PITCH), (&at_bob, ANNS_PITCH, BOBS_PITCH)] {
            // 0.3 peak was spoken: 0.21 root mean square.
            assert!((0.05..0.5).contains(&heard.level()), "level {}", heard.level());
            assert!(heard.share_of(theirs) > 0.5, "the other's pitch has {} of it", heard.share_of(theirs));
            assert!(heard.share_of(own) < 0.05, "the own pitch has {} of it", heard.share_of(own));
        }

        ann.tell(&json!({ "do": "microphone", "on": false }));
        let _settling = bobs.listen(second);
        let muted = bobs.listen(second);
        assert!(muted.level() < 0.01, "muted, but heard at {}", muted.level());

        bob.tell(&json!({ "do": "hangup" }));
        ann.expect_of(&call, "devices_closed", SOON);
        let _settling = anns.listen(second);
        let after = anns.listen(second);
        assert!(after.level() < 0.001, "after the call something is heard at {}", after.level());
    });
}

#[test]
fn a_sound_server_that_dies_does_not_end_the_call() {
    in_lab(|| {
        let lan = Lan::new(2);
        let card = SoundCard::plug_in();
        let mut ann = with_card("Ann", &card).start(&lan[0]);
        let mut bob = Peer::named("Bob").accepting().start(&lan[1]);
        ann.expect("peer_online", SOON);
        ann.call(&bob);
        let call = ann.expect("connected", SOON);
        ann.expect_of(&call, "first_audio", SOON);
        drop(card);
        ann.expect("device", SOON);
        assert!(ann.so_far("ended").is_empty() && bob.so_far("ended").is_empty());
        ann.tell(&json!({ "do": "hangup" }));
        ann.expect_of(&call, "devices_closed", SOON);
        bob.expect_of(&call, "devices_closed", SOON);
    });
}

/// Uses the processor for a call, and no more: a loop that never waits would use all of one.
fn does_not_spin(peer: &Peer, during: Duration) {
    let (before, since) = (peer.usage().cpu_s, now());
    std::thread::sleep(during);
    let share = (peer.usage().cpu_s - before) / since.elapsed().as_secs_f64();
    assert!(share < 0.6, "{} uses {share} of a processor", peer.name());
}

/// What was said about devices so far. (A card that was just plugged in may be slow at first.)
fn forget_devices(peer: &mut Peer) -> usize {
    while peer.next_where("device", Duration::ZERO, |_| true).is_some() {}
    peer.so_far("device").len()
}

/// Waits until somebody's loudspeaker gives this pitch.
fn sounds(card: &SoundCard, pitch: f32) {
    let deadline = now() + SOON;
    loop {
        let heard = card.listen(Duration::from_millis(500));
        if heard.level() > 0.05 && heard.share_of(pitch) > 0.5 {
            return;
        }
        assert!(now() < deadline, "level {}, of which the pitch has {}", heard.level(), heard.share_of(pitch));
    }
}

/// Ann's microphone is unplugged during a call and plugged in again; how often she was told of a problem with it.
fn times_a_lost_microphone_is_told_of(named: &str) -> usize {
    let lan = Lan::new(2);
    let (mut anns, mut bobs) = (SoundCard::plug_in(), SoundCard::plug_in());
    let mut ann = with_card("Ann", &anns).microphone(named).start(&lan[0]);
    let mut bob = with_card("Bob", &bobs).accepting().start(&lan[1]);
    let call = talk(&mut ann, &mut bob);
    anns.hum(ANNS_PITCH);
    bobs.hum(BOBS_PITCH);
    sounds(&bobs, ANNS_PITCH);
    let before = forget_devices(&mut ann);

    anns.unplug(Part::Microphone);
    ann.expect_where("device", SOON, |event| event["device"] == "microphone");
    does_not_spin(&ann, Duration::from_secs(4));
    // In particular not what Ann's loudspeaker plays.
    let silence = bobs.listen(Duration::from_secs(1));
    assert!(silence.level() < 0.01, "without a microphone Bob hears {}", silence.level());

    anns.plug_in_again(Part::Microphone);
    anns.hum(ANNS_PITCH);
    sounds(&bobs, ANNS_PITCH);
    assert!(ann.so_far("ended").is_empty() && bob.so_far("ended").is_empty());
    ann.tell(&json!({ "do": "hangup" }));
    ann.expect_of(&call, "devices_closed", SOON);
    ann.so_far("device").len() - before
}

#[test]
fn a_microphone_that_is_unplugged_is_missed_once_and_comes_back() {
    in_lab(|| assert_eq!(times_a_lost_microphone_is_told_of("default"), 1));
}

#[test]
fn a_chosen_microphone_that_is_unplugged_is_missed_once_and_comes_back() {
    in_lab(|| assert_eq!(times_a_lost_microphone_is_told_of("pulseaudio:micfeed.monitor"), 1));
}

/// Ann's loudspeaker is unplugged during a call and plugged in again; how often she was told of a problem with it.
fn times_a_lost_loudspeaker_is_told_of(named: &str) -> usize {
    let lan = Lan::new(2);
    let (mut anns, mut bobs) = (SoundCard::plug_in(), SoundCard::plug_in());
    let mut ann = with_card("Ann", &anns).speaker(named).start(&lan[0]);
    let mut bob = with_card("Bob", &bobs).accepting().start(&lan[1]);
    let call = talk(&mut ann, &mut bob);
    bobs.hum(BOBS_PITCH);
    sounds(&anns, BOBS_PITCH);
    let before = forget_devices(&mut ann);

    anns.unplug(Part::Loudspeaker);
    does_not_spin(&ann, Duration::from_secs(5));

    anns.plug_in_again(Part::Loudspeaker);
    bobs.hum(BOBS_PITCH);
    sounds(&anns, BOBS_PITCH);
    assert!(ann.so_far("ended").is_empty() && bob.so_far("ended").is_empty());
    ann.tell(&json!({ "do": "hangup" }));
    ann.expect_of(&call, "devices_closed", SOON);
    ann.so_far("device").len() - before
}

#[test]
fn a_loudspeaker_that_is_unplugged_is_replaced_by_the_next_and_comes_back() {
    // The sound server moves what plays there to what is the default now, and nothing is missing.
    in_lab(|| assert_eq!(times_a_lost_loudspeaker_is_told_of("default"), 0));
}

#[test]
fn a_chosen_loudspeaker_that_is_unplugged_is_missed_once_and_comes_back() {
    in_lab(|| assert_eq!(times_a_lost_loudspeaker_is_told_of("pulseaudio:speaker"), 1));
}

/// Nobody likes to hear less of a change of devices.
const SHORT: Duration = Duration::from_millis(200);
const OTHER_PITCH: f32 = 700.0;

/// A call of two, with Ann's first microphone humming.
fn humming() -> (SoundCard, SoundCard, Peer, Peer, Lan) {
    let lan = Lan::new(2);
    let (mut anns, bobs) = (SoundCard::plug_in(), SoundCard::plug_in());
    let mut ann = with_card("Ann", &anns).start(&lan[0]);
    let mut bob = with_card("Bob", &bobs).accepting().start(&lan[1]);
    talk(&mut ann, &mut bob);
    anns.hum(ANNS_PITCH);
    sounds(&bobs, ANNS_PITCH);
    forget_devices(&mut ann);
    (anns, bobs, ann, bob, lan)
}

#[test]
fn another_microphone_takes_over_in_the_call_without_a_pause() {
    in_lab(|| {
        let (mut anns, mut bobs, mut ann, _bob, _lan) = humming();
        anns.plug_in_microphone("other");
        anns.hum_into("other", OTHER_PITCH);
        let use_other = json!({ "do": "use", "mic": "pulseaudio:other.monitor" });
        let heard = bobs.listen_while(Duration::from_secs(5), |_| ann.tell(&use_other));
        assert!(heard.longest_silence() <= SHORT, "{:?} of silence", heard.longest_silence());
        sounds(&bobs, OTHER_PITCH);
        assert!(ann.so_far("device").is_empty());
    });
}

#[test]
fn another_loudspeaker_takes_over_in_the_call() {
    in_lab(|| {
        let (mut anns, mut bobs, _ann, mut bob, _lan) = humming();
        anns.hum(ANNS_PITCH);
        // What is played there is what Bob's second microphone hears.
        bobs.plug_in_microphone("other");
        bob.tell(&json!({ "do": "use", "speaker": "pulseaudio:other" }));
        let deadline = now() + SOON;
        while bobs.listen(Duration::from_millis(500)).level() > 0.01 {
            assert!(now() < deadline, "the first loudspeaker goes on");
        }
        bob.tell(&json!({ "do": "use", "speaker": "default" }));
        sounds(&bobs, ANNS_PITCH);
    });
}

#[test]
fn a_microphone_that_can_not_be_used_is_refused_and_the_one_before_goes_on() {
    in_lab(|| {
        let (_anns, mut bobs, mut ann, _bob, _lan) = humming();
        let use_nothing = json!({ "do": "use", "mic": "pulseaudio:nothing" });
        let heard = bobs.listen_while(Duration::from_secs(3), |_| ann.tell(&use_nothing));
        ann.expect_where("device", SOON, |event| event["problem"] == "missing");
        assert!(heard.longest_silence() <= SHORT, "{:?} of silence", heard.longest_silence());
        sounds(&bobs, ANNS_PITCH);
    });
}

#[test]
fn a_chosen_microphone_that_is_unplugged_is_replaced_by_the_default_and_used_again_when_it_is_back() {
    in_lab(|| {
        let (mut anns, mut bobs, mut ann, _bob, _lan) = humming();
        anns.plug_in_microphone("other");
        anns.hum_into("other", OTHER_PITCH);
        ann.tell(&json!({ "do": "use", "mic": "pulseaudio:other.monitor" }));
        sounds(&bobs, OTHER_PITCH);
        let heard = bobs.listen_while(Duration::from_secs(4), |_| anns.unplug_by_name("other"));
        ann.expect_where("device", SOON, |event| event["problem"] == "replaced");
        sounds(&bobs, ANNS_PITCH);
        assert!(heard.longest_silence() <= 3 * SHORT, "{:?} of silence", heard.longest_silence());
        anns.plug_in_microphone("other");
        anns.hum_into("other", OTHER_PITCH);
        sounds(&bobs, OTHER_PITCH);
        assert_eq!(ann.so_far("device").len(), 1);
    });
}

#[test]
fn a_headset_that_changes_its_rate_is_hardly_heard_and_not_told_of() {
    in_lab(|| {
        let (mut anns, mut bobs, mut ann, _bob, _lan) = humming();
        anns.plug_in_headset("headset", 48_000);
        ann.tell(&json!({ "do": "use", "mic": "pulseaudio:headset" }));
        let _settling = bobs.listen(Duration::from_secs(2));
        for hertz in [16_000, 44_100] {
            let heard = bobs.listen_while(Duration::from_secs(3), |_| {
                anns.unplug_by_name("headset");
                anns.plug_in_headset("headset", hertz);
            });
            assert!(heard.longest_silence() <= SHORT, "{:?} of silence at {hertz} Hz", heard.longest_silence());
            sounds(&bobs, ANNS_PITCH);
        }
        assert!(ann.so_far("device").is_empty());
    });
}
