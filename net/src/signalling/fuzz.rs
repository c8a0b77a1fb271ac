//! Whatever a peer says about calls, in whatever order and on whatever streams: nothing panics, and what is remembered
//! and answered stays within the limits.

use std::time::{Duration, Instant};

use libp2p::{PeerId, swarm::ConnectionId};
use serde_json::json;

use super::{
    MAX_MESSAGE_BYTES,
    calls::{Calls, Effect, Path, StreamEnd, StreamId},
    envelope::Envelope,
};
use crate::{
    Event,
    mutator::{Random, fuzz},
};

fn samples() -> Vec<Vec<u8>> {
    let message = |call: u8, rest: serde_json::Value| {
        let mut message = json!({ "v": 1, "seq": 1, "ack": 0, "call": format!("{call:032x}") });
        rest.as_object().into_iter().flatten().for_each(|(key, value)| message[key] = value.clone());
        message.to_string().into_bytes()
    };
    (1..=3)
        .flat_map(|call| {
            [
                json!({ "type": "invite", "name": "Ann", "kind": "video", "offer": "v=0\r\n" }),
                json!({ "type": "ringing", "seq": 2 }),
                json!({ "type": "accept", "seq": 2, "answer": "v=0\r\n" }),
                json!({ "type": "candidate", "seq": 2, "candidate": "{}" }),
                json!({ "type": "candidate", "seq": 3, "candidate": "{}" }),
                json!({ "type": "restart", "seq": 4, "offer": "v=0\r\n" }),
                json!({ "type": "media", "seq": 2, "camera": true, "microphone": false }),
                json!({ "type": "bye", "seq": 4, "reason": "hung_up" }),
                json!({ "type": "ack", "ack": 1 }),
                json!({ "type": "reject", "reason": "unknown_call" }),
            ]
            .map(|rest| message(call, rest))
        })
        .collect()
}

#[test]
fn fuzz_envelopes() {
    fuzz(&samples(), |bytes| {
        if let Ok(envelope) = Envelope::decode(bytes) {
            assert_eq!(Envelope::decode(&envelope.encode()).unwrap(), envelope);
        }
    });
}

/// The peers' bytes go to one set of calls, on a few streams, while time passes and streams come and go.
#[test]
#[expect(clippy::disallowed_methods, reason = "tests begin at any moment")]
fn fuzz_conversations() {
    let mut now = Instant::now();
    let mut calls = Calls::new(now);
    let (peer, mut random) = (PeerId::random(), Random(7));
    let connections = [1, 2].map(ConnectionId::new_unchecked);
    let paths = [Path::Direct, Path::Relayed];
    connections.iter().zip(paths).for_each(|(connection, path)| calls.connected(peer, *connection, path));
    fuzz(&samples(), |bytes| {
        now += Duration::from_millis(random.below(200) as u64);
        let stream = StreamId { connection: connections[random.below(2)], number: 2 * random.below(6) as u64 + 1 };
        match random.below(40) {
            0 => calls.stream_ended(peer, stream, StreamEnd::Broken),
            1 => calls.stream_ended(peer, stream, StreamEnd::Closed),
            2 => calls.handle_timeout(now),
            3 => calls.disconnected(peer, stream.connection),
            4 => calls.connected(peer, stream.connection, paths[random.below(2)]),
            _ => calls.received(now, peer, stream, bytes),
        }
        let mut effects = 0;
        while let Some(effect) = calls.poll_effect() {
            effects += 1;
            match effect {
                Effect::Write { bytes, .. } => assert!(bytes.len() <= MAX_MESSAGE_BYTES),
                // The app answers now and then.
                Effect::Event(Event::Signal { call, .. }) => match random.below(4) {
                    0 => calls.send(now, peer, call, super::Body::Ringing),
                    1 => calls.close(now, peer, call),
                    _ => {}
                },
                Effect::Open { .. } | Effect::Close { .. } | Effect::Reach { .. } | Effect::Event(_) => {}
            }
        }
        assert!(effects < 1000, "{effects} effects of one message");
    });
}
