//! The faults of the browser chat that Parlor replaces, each as a test that Parlor does not have it.
//!
//! | what people met there | what shows that it is gone |
//! |---|---|
//! | two machines can't meet: the page connects to its own | `presence::people_see_each_other_by_name` |
//! | most calls never connect, as both sides make an offer | [`every_call_connects`], `calls::two_who_call_each_other_at_the_same_moment_are_simply_connected` |
//! | early candidates are dropped | `calls::the_picture_keeps_moving_at_5_percent_loss_and_25_ms`; the call machine's property tests |
//! | the 2nd call sends everything twice, the 3rd three times | [`later_calls_are_not_answered_twice`] |
//! | nobody is told when the other closes the tab or loses the network | `calls::the_other_dies_during_the_call`, `calls::the_cable_is_pulled_during_the_call`, `calls::the_other_quits_during_the_call` |
//! | a second invitation is accepted while a call is being set up | `calls::whoever_is_being_called_is_busy_already` |
//! | a third person takes over a running call | `calls::whoever_is_in_a_call_is_busy_and_sees_who_called` |
//! | the caller sees neither "declined" nor "busy" | `calls::the_called_declines_and_the_caller_is_told`, `calls::whoever_is_in_a_call_is_busy_and_sees_who_called` |
//! | a question that blocks the page, without timeout or cancel | `calls::nobody_answers_for_thirty_seconds`, `calls::the_caller_takes_the_invitation_back` |
//! | people hear themselves | `sound::voices_go_from_microphone_to_loudspeaker_and_nobody_hears_themselves` |
//! | the last picture stays after the call | `calls` ends every call with closed devices; the window's tests |
//! | without a camera the other waits for ever | [`a_missing_camera_does_not_keep_the_other_waiting`] |
//! | calling somebody who has just left stops the server for everybody | `calls::calling_somebody_who_has_just_left_is_answered_and_harms_nobody` |
//! | a refused namesake removes the first holder of the name | `presence::namesakes_are_both_listed_and_neither_removes_the_other` |
//! | names such as `constructor` are taken, the empty name is not | [`constructor_is_a_name_like_any_other`], `command_line::a_name_that_is_no_name_is_explained_and_exits_with_2` |
//! | anybody can invite in another's name, or start the other's camera unasked | the call machine's consent property; signals carry the sender that the connection proved |
//! | all tabs are one person; a taken name leaves an empty page | `command_line::a_second_copy_on_the_same_data_directory_is_refused` |
//! | each further click on "log in" logs in once more | [`saying_the_name_again_does_not_list_somebody_twice`] |
//! | rooms and sockets of past calls stay for ever | [`past_calls_leave_nothing_behind`] |

use std::{thread, time::Duration};

use parlor_tests::{Lan, Peer, SOON, in_lab};
use serde_json::json;

fn caller_and_answerer(lan: &Lan) -> (Peer, Peer) {
    let mut ann = Peer::named("Ann").start(&lan[0]);
    let bob = Peer::named("Bob").accepting().start(&lan[1]);
    ann.expect("peer_online", SOON);
    (ann, bob)
}

/// Invitations that follow each other faster are refused after the fifth, as a nuisance.
const BETWEEN_INVITATIONS: Duration = Duration::from_millis(2100);

fn call_and_hang_up(caller: &mut Peer, answerer: &mut Peer) {
    caller.call(answerer);
    let call = caller.expect("connected", SOON);
    for side in [&mut *caller, &mut *answerer] {
        side.expect_of(&call, "first_video_frame", SOON);
    }
    caller.tell(&json!({ "do": "hangup" }));
    for side in [caller, answerer] {
        side.expect_of(&call, "devices_closed", SOON);
    }
}

#[test]
fn every_call_connects() {
    in_lab(|| {
        let lan = Lan::new(2);
        let (mut ann, mut bob) = caller_and_answerer(&lan);
        for _ in 0..10 {
            call_and_hang_up(&mut ann, &mut bob);
            thread::sleep(BETWEEN_INVITATIONS);
        }
    });
}

#[test]
fn later_calls_are_not_answered_twice() {
    in_lab(|| {
        let lan = Lan::new(2);
        let (mut ann, mut bob) = caller_and_answerer(&lan);
        for _ in 0..3 {
            call_and_hang_up(&mut ann, &mut bob);
        }
        for side in [&mut ann, &mut bob] {
            for event in ["ringing", "accepted", "connected", "first_video_frame", "ended", "devices_closed"] {
                assert_eq!(side.so_far(event).len(), 3, "{}: {event}", side.name());
            }
            assert!(side.so_far("error").is_empty());
        }
    });
}

#[test]
fn past_calls_leave_nothing_behind() {
    in_lab(|| {
        let lan = Lan::new(2);
        let (mut ann, mut bob) = caller_and_answerer(&lan);
        let mut after = Vec::new();
        for _ in 0..2 {
            for _ in 0..4 {
                call_and_hang_up(&mut ann, &mut bob);
                thread::sleep(BETWEEN_INVITATIONS);
            }
            after.push([ann.usage(), bob.usage()]);
        }
        for (fourth, eighth) in after[0].iter().zip(&after[1]) {
            // A connection more or less may come and go; four calls that each leave something would show.
            assert!(eighth.fds <= fourth.fds + 3, "{fourth:?} {eighth:?}");
            assert!(eighth.threads <= fourth.threads + 3, "{fourth:?} {eighth:?}");
        }
    });
}

#[test]
fn a_missing_camera_does_not_keep_the_other_waiting() {
    in_lab(|| {
        let lan = Lan::new(2);
        let mut ann = Peer::named("Ann").camera("/dev/video99").start(&lan[0]);
        let mut bob = Peer::named("Bob").accepting().start(&lan[1]);
        ann.expect("peer_online", SOON);
        ann.call(&bob);
        let call = bob.expect("connected", SOON);
        bob.expect_of(&call, "first_audio", SOON);
        ann.expect_of(&call, "first_video_frame", SOON);
        let device = ann.expect("device", SOON);
        assert_eq!(device["device"], "camera");
        assert!(!device["detail"].as_str().unwrap().is_empty());
    });
}

#[test]
fn constructor_is_a_name_like_any_other() {
    in_lab(|| {
        let lan = Lan::new(4);
        let names = ["constructor", "__proto__", "toString"];
        let mut ann = Peer::named("Ann").without_media().start(&lan[3]);
        let people = [0, 1, 2].map(|host| Peer::named(names[host]).without_media().start(&lan[host]));
        for person in &people {
            let online = ann.expect_where("peer_online", SOON, |event| event["peer"] == person.id());
            assert_eq!(online["name"], person.name());
        }
        for mut person in people {
            ann.tell(&json!({ "do": "call", "peer": person.name() }));
            person.expect("ringing", SOON);
            person.tell(&json!({ "do": "decline" }));
            ann.expect("declined", SOON);
        }
    });
}

#[test]
fn saying_the_name_again_does_not_list_somebody_twice() {
    in_lab(|| {
        let lan = Lan::new(2);
        let mut ann = Peer::named("Ann").without_media().start(&lan[0]);
        let mut bob = Peer::named("Bob").without_media().start(&lan[1]);
        ann.expect("peer_online", SOON);
        for name in ["Bob", "Robert", "Bob", "Rob"] {
            bob.tell(&json!({ "do": "name", "name": name }));
        }
        // The last name arrived when it can be called by it.
        ann.tell(&json!({ "do": "call", "peer": "Rob" }));
        while ann.next_where("error", Duration::from_millis(200), |_| true).is_some() {
            ann.tell(&json!({ "do": "call", "peer": "Rob" }));
        }
        bob.expect("ringing", SOON);
        assert_eq!(ann.so_far("peer_online").len(), 1);
        assert!(ann.so_far("peer_offline").is_empty());
    });
}
