//! Who sees whom on a LAN: real processes on hosts of their own.

use std::time::Duration;

use parlor_tests::{Host, Lan, Peer, SOON, in_lab, now, unix_ms};
use serde_json::json;

fn sees(peer: &mut Peer, other: &Peer) {
    peer.expect_where("peer_online", SOON, |event| event["peer"] == other.id());
}

fn sees_gone(peer: &mut Peer, other_id: &str, reason: &str) {
    let gone = peer.expect_where("peer_offline", SOON, |event| event["peer"] == other_id);
    assert_eq!(gone["reason"], reason);
}

#[test]
fn people_see_each_other_by_name() {
    in_lab(|| {
        let lan = Lan::new(3);
        let mut people = [("Ann", 0), ("鲍勃", 1), ("Çelik", 2)]
            .map(|(name, host)| Peer::named(name).without_media().launch(&lan[host]));
        people.iter_mut().for_each(Peer::wait_until_ready);
        let known = people.each_ref().map(|person| (person.id().to_owned(), person.name().to_owned()));
        for person in &mut people {
            for (id, name) in &known {
                if id != person.id() {
                    let online = person.expect_where("peer_online", SOON, |event| event["peer"] == id.as_str());
                    assert_eq!((online["name"].as_str(), online["via"].as_str()), (Some(name.as_str()), Some("lan")));
                }
            }
        }
    });
}

#[test]
fn whoever_quits_is_gone_at_once() {
    in_lab(|| {
        let lan = Lan::new(2);
        let mut ann = Peer::named("Ann").without_media().start(&lan[0]);
        let mut bob = Peer::named("Bob").without_media().start(&lan[1]);
        sees(&mut ann, &bob);
        assert!(bob.terminate().success());
        sees_gone(&mut ann, bob.id(), "left");
    });
}

#[test]
fn whoever_crashes_is_gone_within_seconds() {
    in_lab(|| {
        let lan = Lan::new(2);
        let mut ann = Peer::named("Ann").without_media().start(&lan[0]);
        let mut bob = Peer::named("Bob").without_media().start(&lan[1]);
        sees(&mut ann, &bob);
        let died = now();
        bob.crash();
        sees_gone(&mut ann, bob.id(), "lost");
        assert!(died.elapsed() < Duration::from_secs(5), "{:?}", died.elapsed());
    });
}

#[test]
fn whoever_crashes_right_after_joining_is_gone_as_soon() {
    in_lab(|| {
        let lan = Lan::new(3);
        let mut ann = Peer::named("Ann").without_media().start(&lan[0]);
        // Passes on what Bob has announced, also when he is dead.
        let mut carl = Peer::named("Carl").without_media().start(&lan[2]);
        sees(&mut ann, &carl);
        let mut worst = Duration::ZERO;
        for after_ms in [0, 20, 50, 100, 150, 200, 300, 400, 500, 0, 50, 100] {
            let mut bob = Peer::named("Bob").without_media().start(&lan[1]);
            std::thread::sleep(Duration::from_millis(after_ms));
            let died_ms = unix_ms();
            bob.crash();
            for other in [&mut ann, &mut carl] {
                // Who was never seen need not go.
                let is_bob = |event: &parlor_tests::Event| event["peer"] == bob.id();
                if other.next_where("peer_online", Duration::from_millis(2500), is_bob).is_some() {
                    let gone = other.expect_where("peer_offline", SOON, is_bob);
                    let took = gone["t_ms"].as_u64().map_or(0, |gone_ms| gone_ms.saturating_sub(died_ms));
                    worst = worst.max(Duration::from_millis(took));
                }
            }
        }
        say(&format!("the slowest was gone after {worst:?}"));
        // Within two seconds, and half a second for machines that are busy with other things.
        assert!(worst < Duration::from_millis(2500), "{worst:?}");
        for other in [&mut ann, &mut carl] {
            // Each other, and every Bob once at most.
            let came = other.so_far("peer_online").len();
            assert_eq!(came, other.so_far("peer_offline").len() + 1, "{} lists the dead", other.name());
        }
    });
}

#[expect(clippy::print_stdout, reason = "figures for who wants them")]
fn say(figure: &str) {
    println!("{figure}");
}

/// Plugs the last host of one network into another one too.
fn on_both(first: &mut Lan, second: &Lan) -> Host {
    let mut host = first.take_last();
    second.plug_in(&mut host);
    host
}

#[test]
fn who_is_on_two_networks_is_seen_once_on_each_and_called_from_both() {
    in_lab(|| {
        let (mut first, second) = (Lan::new(2), Lan::new(1));
        let both = on_both(&mut first, &second);
        let mut ann = Peer::named("Ann").start(&first[0]);
        let mut carl = Peer::named("Carl").start(&second[0]);
        let mut bob = Peer::named("Bob").accepting().start(&both);
        sees(&mut bob, &ann);
        sees(&mut bob, &carl);
        for caller in [&mut ann, &mut carl] {
            sees(caller, &bob);
            for starts_there in [false, true] {
                if starts_there {
                    bob.call(caller);
                    caller.expect_where("ringing", SOON, |event| event["incoming"] == true);
                    caller.tell(&json!({ "do": "accept" }));
                } else {
                    caller.call(&bob);
                }
                let call = caller.expect("connected", SOON);
                caller.expect_of(&call, "first_video_frame", SOON);
                bob.expect_of(&call, "first_video_frame", SOON);
                caller.tell(&json!({ "do": "hangup" }));
                bob.expect_of(&call, "ended", SOON);
            }
        }
        // When one cable is pulled, the others are still there.
        both.cut_one(0);
        sees_gone(&mut ann, bob.id(), "lost");
        sees_gone(&mut bob, ann.id(), "lost");
        carl.call(&bob);
        carl.expect("connected", SOON);
        // Nobody was listed twice, nor are those who can't be reached.
        for (peer, others) in [(&mut ann, 1), (&mut carl, 1), (&mut bob, 2)] {
            assert_eq!(peer.so_far("peer_online").len(), others, "{}", peer.name());
        }
        assert!(carl.so_far("peer_offline").is_empty());
    });
}

#[test]
fn on_a_network_without_ipv4_people_see_each_other_and_it_rings() {
    in_lab(|| {
        let lan = Lan::without_ipv4(3);
        let mut ann = Peer::named("Ann").without_media().start(&lan[0]);
        let mut bob = Peer::named("Bob").without_media().start(&lan[1]);
        let mut carl = Peer::named("Carl").without_media().start(&lan[2]);
        for other in [&mut ann, &mut carl] {
            sees(other, &bob);
            sees(&mut bob, other);
            other.call(&bob);
            bob.expect_where("ringing", SOON, |event| event["peer"] == other.id());
            other.tell(&json!({ "do": "hangup" }));
            bob.expect("ended", SOON);
        }
        assert_eq!(bob.so_far("peer_online").len(), 2);
    });
}

#[test]
fn a_pulled_cable_is_noticed_and_a_mended_one_too() {
    in_lab(|| {
        let lan = Lan::new(2);
        let mut ann = Peer::named("Ann").without_media().start(&lan[0]);
        let mut bob = Peer::named("Bob").without_media().start(&lan[1]);
        sees(&mut ann, &bob);
        sees(&mut bob, &ann);
        let pulled = now();
        lan[1].cut();
        sees_gone(&mut ann, bob.id(), "lost");
        sees_gone(&mut bob, ann.id(), "lost");
        assert!(pulled.elapsed() < Duration::from_secs(6), "{:?}", pulled.elapsed());
        lan[1].mend();
        let patience = Duration::from_secs(60); // mDNS asks again now and then
        ann.expect_where("peer_online", patience, |event| event["peer"] == bob.id());
        bob.expect_where("peer_online", patience, |event| event["peer"] == ann.id());
    });
}

#[test]
fn namesakes_are_both_listed_and_neither_removes_the_other() {
    in_lab(|| {
        let lan = Lan::new(3);
        let mut first = Peer::named("Li Wei").without_media().start(&lan[0]);
        let mut second = Peer::named("Li Wei").without_media().start(&lan[1]);
        let mut ann = Peer::named("Ann").without_media().start(&lan[2]);
        assert_ne!(first.id(), second.id());
        sees(&mut ann, &first);
        sees(&mut ann, &second);
        assert!(second.terminate().success());
        sees_gone(&mut ann, second.id(), "left");
        // The first one is still there, and can be called.
        ann.call(&first);
        first.expect("ringing", SOON);
        assert_eq!(ann.so_far("peer_offline").len(), 1);
    });
}

#[test]
fn whoever_starts_again_is_the_same_person_and_listed_once() {
    in_lab(|| {
        let lan = Lan::new(2);
        let home = tempfile::tempdir().unwrap();
        let mut ann = Peer::named("Ann").without_media().start(&lan[0]);
        let mut bob = Peer::named("Bob").without_media().data_dir(home.path()).start(&lan[1]);
        sees(&mut ann, &bob);
        assert!(bob.terminate().success());
        sees_gone(&mut ann, bob.id(), "left");
        let again = Peer::named("Bob").without_media().data_dir(home.path()).start(&lan[1]);
        assert_eq!(bob.id(), again.id());
        sees(&mut ann, &again);
        assert_eq!(ann.so_far("peer_online").len(), 2);
    });
}

#[test]
fn twenty_five_people_all_see_each_other() {
    in_lab(|| {
        let lan = Lan::new(25);
        let patience = Duration::from_secs(90);
        let mut people: Vec<Peer> = (lan.hosts().iter().enumerate())
            .map(|(number, host)| Peer::named(format!("Person {number}")).without_media().launch(host))
            .collect();
        for person in &mut people {
            person.expect("ready", patience);
        }
        for person in &mut people {
            for _ in 1..25 {
                person.expect("peer_online", patience);
            }
        }
        let mut leaver = people.pop().unwrap();
        assert!(leaver.terminate().success());
        for person in &mut people {
            person.expect_where("peer_offline", patience, |event| event["reason"] == "left");
            assert_eq!(person.so_far("peer_online").len(), 24, "{} lists somebody twice", person.name());
        }
    });
}
