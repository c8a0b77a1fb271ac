//! Eve, who keeps no rule, against Bob, a real process: whatever she sends, nobody is listed falsely, other people's
//! calls go on, Bob's memory and processor are his own, and he still answers who is honest.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

mod eve;

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use eve::{Eve, GOSSIP, HEARTBEAT, SIGNAL, Stream, announcement, framed, hello, publication, publications};
use libp2p::{Multiaddr, identity::Keypair};
use parlor_tests::{Event, Lan, Peer, SOON, Starting, in_lab, now, usage::Usage};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// For Eve.
fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Somebody whom Eve can find.
fn findable(name: &str) -> Starting {
    Peer::named(name).args(["--listen", "/ip4/0.0.0.0/tcp/4711", "--listen", "/ip4/0.0.0.0/udp/4711/quic-v1"])
}

/// Where she finds those on a host.
fn address(host: usize) -> Multiaddr {
    format!("/ip4/10.77.0.{}/tcp/4711", 11 + host).parse().unwrap()
}

fn sees(peer: &mut Peer, other: &Peer) -> Event {
    peer.expect_where("peer_online", SOON, |event| event["peer"] == other.id())
}

/// Who was ever announced as being there.
fn listed(peer: &mut Peer) -> BTreeSet<String> {
    peer.so_far("peer_online").iter().map(|event| event["peer"].as_str().unwrap().to_owned()).collect()
}

/// What a process uses from one moment on.
struct Watch {
    since: Instant,
    before: Usage,
}

impl Watch {
    fn on(peer: &Peer) -> Self {
        Self { since: now(), before: peer.usage() }
    }

    /// Processor time a second, and growth in MiB.
    #[expect(clippy::print_stdout, reason = "figures for who wants them")]
    fn used(&self, peer: &Peer) -> (f64, f64) {
        let after = peer.usage();
        let cpu = (after.cpu_s - self.before.cpu_s) / self.since.elapsed().as_secs_f64();
        let growth = after.rss_mib - self.before.rss_mib;
        println!("{}: {cpu:.2} of a processor, {growth:+.1} MiB, {} threads", peer.name(), after.threads);
        (cpu, growth)
    }
}

/// It neither panicked, nor filled its log, nor does it keep threads or spin afterwards.
fn is_unharmed(peer: &mut Peer) {
    let log = peer.log();
    assert!(!log.contains("panicked"), "{}", peer.name());
    assert!(log.len() < 200_000, "{} logged {} bytes", peer.name(), log.len());
    assert_eq!(peer.so_far("not-json"), Vec::<Event>::new());
    let calm = Watch::on(peer);
    std::thread::sleep(Duration::from_secs(2));
    let (cpu, _) = calm.used(peer);
    assert!(peer.usage().threads < 16, "{} keeps {} threads", peer.name(), peer.usage().threads);
    assert!(cpu < 0.25, "{} uses {cpu} of a processor for nothing", peer.name());
}

/// Numbers that look random and are the same in every run.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn a_thousand_announcements_a_second_change_nothing_for_the_others() {
    in_lab(|| {
        let lan = Lan::new(3);
        lan.join();
        let mut ann = findable("Ann").without_media().start(&lan[0]);
        let mut bob = findable("Bob").without_media().start(&lan[1]);
        sees(&mut bob, &ann);
        let runtime = runtime();
        let key = Keypair::generate_ed25519();
        let (at_ann, at_bob) = (address(0), address(1));

        // What Ann has once said, to be said again for her.
        let (to_ann, _listening) = runtime.block_on(async {
            let eve = Eve::connect(&key, &at_ann).await.unwrap();
            let gossip = eve.gossip().await.unwrap();
            (eve, gossip)
        });
        let (mut anns, mut said) = (Vec::new(), 0);
        let deadline = now() + SOON;
        while anns.is_empty() {
            assert!(now() < deadline, "Ann announces nothing");
            said += 1;
            ann.tell(&json!({ "do": "name", "name": format!("Ann {said}") }));
            std::thread::sleep(Duration::from_millis(300));
            anns = to_ann.heard("/meshsub/").iter().flat_map(|frame| publications(frame)).collect();
        }
        ann.tell(&json!({ "do": "name", "name": "Ann" }));

        let (eve, mut gossip) = runtime.block_on(async {
            let eve = Eve::connect(&key, &at_bob).await.unwrap();
            eve.appear("Eve").await.unwrap();
            let gossip = eve.gossip().await.unwrap();
            (eve, gossip)
        });
        bob.expect_where("peer_online", SOON, |event| event["peer"] == eve.peer().to_string());
        let watch = Watch::on(&bob);
        let (me, ann_id) = (eve.peer(), ann.id().parse().unwrap());
        let flood = runtime.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            let mut sent = 0_u64;
            loop {
                tick.tick().await;
                let mut batch = Vec::new();
                for _ in 0..10 {
                    sent += 1;
                    let said = |name: &str| announcement(name, 1, sent).to_string().into_bytes();
                    batch.extend(framed(&match sent % 7 {
                        0 => publication(me, &key, &said(&format!("Eve {sent}")), sent),
                        1 => publication(ann_id, &key, &said("Mallory"), sent),
                        2 => {
                            let nobody = Keypair::generate_ed25519();
                            publication(nobody.public().to_peer_id(), &nobody, &said("Nobody"), sent)
                        }
                        3 => anns[sent as usize % anns.len()].clone(),
                        4 => publication(me, &key, &said("Eve again"), 4),
                        5 => publication(me, &key, &said(&"Eve".repeat(1000)), sent),
                        _ => publication(me, &key, &noise(sent, 600), sent),
                    }));
                }
                if gossip.raw(&batch).await.is_err() {
                    return sent;
                }
            }
        });

        std::thread::sleep(Duration::from_secs(2));
        // Somebody comes in the middle of it, is seen as ever, and can call.
        let mut carl = Peer::named("Carl").without_media().start(&lan[2]);
        let seen = sees(&mut bob, &carl)["t_ms"].as_u64().unwrap() - carl.started_ms();
        assert!(seen < 4000, "Carl was seen after {seen} ms");
        sees(&mut carl, &bob);
        let clicked = now();
        carl.call(&bob);
        bob.expect("ringing", SOON);
        assert!(clicked.elapsed() < Duration::from_secs(2), "it rang after {:?}", clicked.elapsed());
        std::thread::sleep(Duration::from_secs(2));
        let (cpu, growth) = watch.used(&bob);
        assert!(cpu < 0.7 && growth < 30.0, "{cpu} of a processor, {growth} MiB");
        assert!(!flood.is_finished(), "Bob does not listen to Eve any more");
        flood.abort();
        // What she says of herself is heard, as often as anybody may say something: the flood did arrive.
        let changes = bob.log().matches("name=\"Eve ").count();
        assert!((5..40).contains(&changes), "Eve changed her name {changes} times");

        let there = [ann.id(), carl.id(), &eve.peer().to_string()].map(str::to_owned);
        assert_eq!(listed(&mut bob), BTreeSet::from(there));
        assert!(bob.so_far("peer_offline").is_empty(), "somebody was driven out");
        for nobody in ["Mallory", "Nobody"] {
            bob.tell(&json!({ "do": "call", "peer": nobody }));
            let answer = bob.expect("error", SOON);
            assert!(answer["message"].as_str().unwrap().contains("not online"), "{nobody}: {answer}");
        }
        drop(eve);
        carl.tell(&json!({ "do": "hangup" }));
        bob.expect("ended", SOON);
        is_unharmed(&mut bob);
    });
}

/// What is not even a frame, or no sensible one: what it is, and its bytes.
fn malice() -> Vec<(&'static str, Vec<u8>)> {
    let json = |value: Value| framed(value.to_string().as_bytes());
    let call = "000102030405060708090a0b0c0d0e0f";
    let mut later = hello("Later", 1, 1);
    later["v"] = 99.into();
    vec![
        ("noise", noise(1, 100_000)),
        ("frames of noise", (0..200).flat_map(|seed| framed(&noise(seed, 300))).collect()),
        ("a frame of 16 MiB", [framed(&[b'x'; 1 << 24])].concat()),
        ("a length without an end", vec![0xff; 50_000]),
        ("the greatest length", [&[0xff; 8], &[0x7f][..], b"x"].concat()),
        ("half a frame", framed(&[b'x'; 900])[..400].to_vec()),
        ("empty frames", vec![0; 200_000]),
        ("a hello of a later version", json(later)),
        ("a hello without a name", json(json!({ "type": "hello", "v": 1 }))),
        ("hellos, many of them", (0..3000).flat_map(|n| json(hello("Eve", 1, n))).collect()),
        ("a message of a later version", json(json!({ "v": 7, "call": call, "type": "invite" }))),
        ("a type that is none", json(json!({ "v": 1, "seq": 1, "ack": 0, "call": call, "type": "dance" }))),
        ("nesting", framed("[".repeat(60_000).as_bytes())),
        ("not UTF-8", framed(br#"{"type":"hello","name":"\xff\xfe\ud800"}"#)),
        (
            "greatest numbers",
            json(json!({ "v": 1, "seq": u64::MAX, "ack": u64::MAX, "call": call, "type": "ringing" })),
        ),
    ]
}

#[test]
fn nonsense_on_every_stream_leaves_a_running_call_alone() {
    in_lab(|| {
        let lan = Lan::new(2);
        lan.join();
        let mut ann = findable("Ann").start(&lan[0]);
        let mut bob = findable("Bob").accepting().args(["--stats-every", "0.5"]).start(&lan[1]);
        sees(&mut ann, &bob);
        ann.call(&bob);
        let call = bob.expect("connected", SOON);
        bob.expect_of(&call, "first_video_frame", SOON);
        let shown =
            |bob: &mut Peer| bob.so_far("stats").last().map_or(0, |s| s["video_recv"]["shown"].as_u64().unwrap());
        let at_bob = address(1);
        let runtime = runtime();
        let watch = Watch::on(&bob);
        for protocol in [HEARTBEAT, SIGNAL, GOSSIP, "/ipfs/id/1.0.0", "/parlor/none/1"] {
            let before = shown(&mut bob);
            for (_, bytes) in malice() {
                runtime.block_on(async {
                    let eve = Eve::connect(&Keypair::generate_ed25519(), &at_bob).await.unwrap();
                    // Whether Bob listens to all of it, or hangs up, is his choice.
                    if let Ok(mut stream) = eve.stream(protocol).await
                        && stream.raw(&bytes).await.is_ok()
                    {
                        let _ = stream.close().await;
                    }
                });
            }
            let deadline = now() + SOON;
            while shown(&mut bob) < before + 10 {
                assert!(now() < deadline, "the picture stands after {protocol}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        // Streams that are opened and never used, on connections that say nothing.
        let silent = runtime.block_on(async {
            let mut silent = Vec::new();
            for _ in 0..4 {
                let eve = Eve::connect(&Keypair::generate_ed25519(), &at_bob).await.unwrap();
                let mut streams = Vec::new();
                for n in 0..100 {
                    let Ok(stream) = eve.stream([HEARTBEAT, SIGNAL, GOSSIP][n % 3]).await else { break };
                    streams.push(stream);
                }
                silent.push((eve, streams));
            }
            silent
        });
        let (_, growth) = watch.used(&bob);
        assert!(growth < 60.0, "{growth} MiB");
        drop(silent);
        assert!(bob.so_far("ended").is_empty() && ann.so_far("ended").is_empty());
        // Whoever said hello in due form was there for a moment; nobody else ever was.
        let came = bob.so_far("peer_online");
        assert!(came.iter().all(|event| event["peer"] == ann.id() || event["name"] == "Eve"), "{came:?}");
        assert_eq!(bob.so_far("peer_offline").len(), came.len() - 1);
        ann.tell(&json!({ "do": "hangup" }));
        bob.expect_of(&call, "ended", SOON);
        is_unharmed(&mut bob);
    });
}

#[test]
fn hundreds_of_keys_of_one_machine_keep_nobody_else_out() {
    in_lab(|| {
        let lan = Lan::new(2);
        lan.join();
        let mut bob = findable("Bob").without_media().start(&lan[0]);
        let runtime = runtime();
        let watch = Watch::on(&bob);
        let crowd = runtime.block_on(async {
            let mut crowd = Vec::new();
            for n in 0..600 {
                let Ok(eve) = Eve::connect(&Keypair::generate_ed25519(), &address(0)).await else { continue };
                if eve.appear(&format!("Eve {n}")).await.is_ok() {
                    crowd.push(eve);
                }
            }
            crowd
        });
        let mut ann = Peer::named("Ann").without_media().start(&lan[1]);
        sees(&mut bob, &ann);
        sees(&mut ann, &bob);
        ann.call(&bob);
        bob.expect("ringing", SOON);
        let (_, growth) = watch.used(&bob);
        assert!(growth < 40.0, "{growth} MiB");
        let listed = listed(&mut bob).len();
        assert!((1..=33).contains(&listed), "{listed} people are listed");
        drop(crowd);
        ann.tell(&json!({ "do": "hangup" }));
        bob.expect("ended", SOON);
        is_unharmed(&mut bob);
    });
}

fn message(call: u128, seq: u64, kind: &str, rest: Value) -> Value {
    let mut message = json!({ "v": 1, "seq": seq, "ack": 0, "call": format!("{call:032x}"), "type": kind });
    for (key, value) in rest.as_object().into_iter().flatten() {
        message[key] = value.clone();
    }
    message
}

fn invite(call: u128, offer: &str) -> Value {
    message(call, 1, "invite", json!({ "name": "Eve", "kind": "video", "offer": offer }))
}

/// Eve, whom Bob sees, and an offer that Bob would accept: he calls her, and hears that she is busy.
fn eve_with_offer(runtime: &Runtime, bob: &mut Peer) -> (Eve, String) {
    let mut eve = runtime.block_on(Eve::connect(&Keypair::generate_ed25519(), &address(1))).unwrap();
    runtime.block_on(eve.appear("Eve")).unwrap();
    bob.expect_where("peer_online", SOON, |event| event["peer"] == eve.peer().to_string());
    bob.tell(&json!({ "do": "call", "peer": eve.peer().to_string() }));
    let offer = runtime.block_on(async {
        let mut stream = eve.called().await.unwrap();
        let invitation = answer(&mut stream, &["invite"]).await.unwrap();
        let call = u128::from_str_radix(invitation["call"].as_str().unwrap(), 16).unwrap();
        stream.json(&message(call, 1, "decline", json!({ "reason": "busy" }))).await.unwrap();
        while stream.next_json().await.is_some() {}
        invitation["offer"].as_str().unwrap().to_owned()
    });
    assert_eq!(bob.expect("ended", SOON)["reason"], "busy");
    (eve, offer)
}

/// What is said on a stream until something of this type; `None` if the stream ends before.
async fn answer(stream: &mut Stream, kinds: &[&str]) -> Option<Value> {
    loop {
        let said = stream.next_json().await?;
        if kinds.contains(&said["type"].as_str().unwrap_or_default()) {
            return Some(said);
        }
    }
}

#[test]
fn messages_of_no_call_out_of_order_and_repeated_do_nothing() {
    in_lab(|| {
        let lan = Lan::new(2);
        lan.join();
        let mut ann = findable("Ann").without_media().start(&lan[0]);
        let mut bob = findable("Bob").without_media().start(&lan[1]);
        sees(&mut ann, &bob);
        let runtime = runtime();
        let (eve, offer) = eve_with_offer(&runtime, &mut bob);

        runtime.block_on(async {
            for (kind, rest) in [
                ("ringing", json!({})),
                ("accept", json!({ "answer": "v=0" })),
                ("candidate", json!({ "candidate": "{}" })),
                ("bye", json!({ "reason": "hung_up" })),
                ("media", json!({ "camera": true, "microphone": true })),
                ("restart", json!({ "offer": "v=0" })),
            ] {
                let mut stream = eve.stream(SIGNAL).await.unwrap();
                stream.json(&message(1, 1, kind, rest)).await.unwrap();
                let reply = answer(&mut stream, &["reject"]).await.unwrap();
                assert_eq!(reply["reason"], "unknown_call", "{kind}: {reply}");
            }
            // An invitation that is not the first message.
            let mut stream = eve.stream(SIGNAL).await.unwrap();
            let mut late = invite(2, &offer);
            late["seq"] = 2.into();
            stream.json(&late).await.unwrap();
            assert_eq!(answer(&mut stream, &["reject"]).await.unwrap()["reason"], "unknown_call");
        });
        assert!(bob.so_far("ringing").iter().all(|event| event["incoming"] == false));

        let mut stream = runtime.block_on(async {
            let mut stream = eve.stream(SIGNAL).await.unwrap();
            for _ in 0..20 {
                stream.json(&invite(3, &offer)).await.unwrap();
            }
            stream
        });
        bob.expect("ringing", SOON);
        // A gap ends the stream, and the same call goes on where it was on another one.
        runtime.block_on(async {
            stream.json(&message(3, 9, "candidate", json!({ "candidate": "{}" }))).await.unwrap();
            while stream.next_json().await.is_some() {}
            stream = eve.stream(SIGNAL).await.unwrap();
            stream.json(&message(3, 2, "bye", json!({ "reason": "cancelled" }))).await.unwrap();
        });
        assert_eq!(bob.expect("ended", SOON)["reason"], "remote_cancelled");
        // Once over, it is over.
        runtime.block_on(async {
            let mut again = eve.stream(SIGNAL).await.unwrap();
            again.json(&invite(3, &offer)).await.unwrap();
            while again.next_json().await.is_some() {}
        });
        assert_eq!(bob.so_far("ringing").len(), 1);

        // A stream may not change its call.
        runtime.block_on(async {
            let mut stream = eve.stream(SIGNAL).await.unwrap();
            stream.json(&invite(4, &offer)).await.unwrap();
            stream.json(&invite(5, &offer)).await.unwrap();
            while stream.next_json().await.is_some() {}
        });
        bob.expect("ringing", SOON);
        bob.tell(&json!({ "do": "decline" }));
        bob.expect("ended", SOON);
        assert_eq!(bob.so_far("ringing").len(), 2);

        ann.call(&bob);
        bob.expect_where("ringing", SOON, |event| event["peer"] == ann.id());
        ann.tell(&json!({ "do": "hangup" }));
        bob.expect("ended", SOON);
        is_unharmed(&mut bob);
    });
}

#[test]
fn of_a_hundred_invitations_in_a_second_five_ring_and_nobody_else_is_kept_out() {
    in_lab(|| {
        let lan = Lan::new(2);
        lan.join();
        let mut ann = findable("Ann").without_media().start(&lan[0]);
        let mut bob = findable("Bob").without_media().start(&lan[1]);
        sees(&mut ann, &bob);
        let runtime = runtime();
        let (eve, offer) = eve_with_offer(&runtime, &mut bob);
        let watch = Watch::on(&bob);
        let rejected = runtime.block_on(async {
            let mut streams = Vec::new();
            for call in 0..100 {
                let mut stream = eve.stream(SIGNAL).await.unwrap();
                stream.json(&invite(call, &offer)).await.unwrap();
                streams.push(stream);
            }
            let mut rejected = 0;
            for stream in &mut streams {
                let reply = answer(stream, &["reject", "ringing", "decline"]).await;
                rejected += usize::from(reply.is_none_or(|reply| reply["type"] == "reject"));
            }
            rejected
        });
        // Each replaces the one before: a caller who calls again has given up the first call.
        assert_eq!(rejected, 95, "of 100 were turned away");
        let mut rang = bob.so_far("ringing");
        assert_eq!(rang.len(), 5);
        let ringing = rang.pop().unwrap();
        assert!(bob.so_far("missed_while_busy").is_empty());
        let (cpu, growth) = watch.used(&bob);
        assert!(cpu < 0.9 && growth < 20.0, "{cpu} of a processor, {growth} MiB");

        // Ann is told at once that Bob is busy, and gets through when he has declined.
        let asked = now();
        ann.call(&bob);
        ann.expect("busy", SOON);
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        bob.tell(&json!({ "do": "decline" }));
        bob.expect_of(&ringing, "ended", SOON);
        ann.call(&bob);
        bob.expect_where("ringing", SOON, |event| event["peer"] == ann.id());
        assert_eq!(bob.so_far("ringing").len(), 6);
        ann.tell(&json!({ "do": "hangup" }));
        ann.expect("ended", SOON);
        is_unharmed(&mut bob);
    });
}

/// Descriptions that the media engine refuses, or should survive.
fn damaged(offer: &str) -> Vec<String> {
    let without =
        |start: &str| offer.lines().filter(|line| !line.starts_with(start)).map(|l| format!("{l}\r\n")).collect();
    let mut all = vec![
        String::new(),
        "nonsense".into(),
        "v=0\r\n".into(),
        "\u{0}".repeat(1000),
        "a=".repeat(30_000),
        "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n".repeat(1500),
        offer[..offer.len() / 2].into(),
        offer.replace("a=setup:actpass", "a=setup:nonsense"),
        offer.replace("sha-256", "sha-0"),
        offer.replace("m=video", "m=smell"),
        offer.replace(|digit: char| digit.is_ascii_digit(), "9"),
        offer.repeat(8),
    ];
    all.extend(["v=", "m=", "a=fingerprint", "a=ice-", "a=mid", "a=rtpmap", "a=setup", "a=group"].map(without));
    for (seed, flips) in [(1, 1), (2, 3), (3, 10), (4, 40)] {
        let mut bytes = offer.as_bytes().to_vec();
        for at in noise(seed, 2 * flips).chunks_exact(2) {
            let index = usize::from(u16::from_be_bytes([at[0], at[1]])) % bytes.len();
            bytes[index] = b'!' + at[0] % 90;
        }
        all.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    all
}

#[test]
fn descriptions_that_are_none_end_their_call_only() {
    in_lab(|| {
        let lan = Lan::new(2);
        lan.join();
        let mut ann = findable("Ann").start(&lan[0]);
        let mut bob = findable("Bob").accepting().start(&lan[1]);
        sees(&mut ann, &bob);
        let runtime = runtime();
        let at_bob = address(1);

        // Bob calls Eve, and gets nonsense for an answer. So she has a real offer.
        let mut offer = String::new();
        for (n, nonsense) in ["", "nonsense", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"].iter().enumerate() {
            let mut eve = runtime.block_on(Eve::connect(&Keypair::generate_ed25519(), &at_bob)).unwrap();
            runtime.block_on(eve.appear(&format!("Eve {n}"))).unwrap();
            bob.expect_where("peer_online", SOON, |event| event["peer"] == eve.peer().to_string());
            bob.tell(&json!({ "do": "call", "peer": eve.peer().to_string() }));
            runtime.block_on(async {
                let mut stream = eve.called().await.unwrap();
                let invitation = answer(&mut stream, &["invite"]).await.unwrap();
                offer = invitation["offer"].as_str().unwrap().to_owned();
                let call = u128::from_str_radix(invitation["call"].as_str().unwrap(), 16).unwrap();
                stream.json(&message(call, 1, "candidate", json!({ "candidate": "early" }))).await.unwrap();
                stream.json(&message(call, 2, "accept", json!({ "answer": nonsense }))).await.unwrap();
                stream.json(&message(call, 3, "candidate", json!({ "candidate": "nonsense" }))).await.unwrap();
                answer(&mut stream, &["bye"]).await.unwrap();
            });
            assert_eq!(bob.expect("ended", SOON)["reason"], "incompatible", "{nonsense:?}");
        }

        let watch = Watch::on(&bob);
        for (n, offer) in damaged(&offer).iter().enumerate() {
            let eve = runtime.block_on(Eve::connect(&Keypair::generate_ed25519(), &at_bob)).unwrap();
            let reply = runtime.block_on(async {
                let mut stream = eve.stream(SIGNAL).await.unwrap();
                stream.json(&invite(n as u128, offer)).await.unwrap();
                let reply = answer(&mut stream, &["accept", "decline", "bye", "reject"]).await;
                for (seq, candidate) in (2..).zip(["", "{}", "nonsense", r#"{"candidate":"candidate:1 1 udp"}"#]) {
                    let _ = stream.json(&message(n as u128, seq, "candidate", json!({ "candidate": candidate }))).await;
                }
                let _ = stream.json(&message(n as u128, 6, "bye", json!({ "reason": "hung_up" }))).await;
                // Until Bob is through with it.
                while stream.next_json().await.is_some_and(|said| said["ack"] != 6) {}
                reply
            });
            let Some(reply) = reply else { panic!("no answer to description {n}: {offer:.300}") };
            if reply["type"] != "reject" {
                let ended = bob.expect("ended", SOON);
                bob.expect_of(&ended, "devices_closed", SOON);
            }
        }
        let (_, growth) = watch.used(&bob);
        assert!(growth < 60.0, "{growth} MiB");

        ann.call(&bob);
        let call = ann.expect("connected", SOON);
        ann.expect_of(&call, "first_video_frame", SOON);
        ann.tell(&json!({ "do": "hangup" }));
        bob.expect_of(&call, "ended", SOON);
        is_unharmed(&mut bob);
    });
}
