//! Clients of nodes that lie, stall and talk nonsense.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

use std::{pin::Pin, task::Poll, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::poll_fn};
use libp2p::{
    Transport as _,
    core::{
        SignedEnvelope,
        muxing::{StreamMuxerExt as _, SubstreamBox},
        transport::{ListenerId, TransportEvent},
        upgrade::Version,
    },
    noise, tcp, yamux,
};
use parlor_net::{Circle, Config, Event, EventReceiver, Handle, Keypair, Multiaddr, NodeLink, PeerId, Profile, Status};
use serde_json::{Value, json};
use tokio::{sync::watch, task::AbortHandle, time::timeout};

const SOON: Duration = Duration::from_secs(30);

/// A node that answers the first request of each stream with these bytes, whatever it is.
struct Liar {
    address: Multiaddr,
    streams: watch::Receiver<usize>,
    task: AbortHandle,
}

impl Liar {
    async fn start(answer: Vec<u8>) -> Self {
        let keypair = Keypair::generate_ed25519();
        let mut transport = tcp::tokio::Transport::new(tcp::Config::default())
            .upgrade(Version::V1Lazy)
            .authenticate(noise::Config::new(&keypair).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        transport.listen_on(ListenerId::next(), "/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        let address = loop {
            if let TransportEvent::NewAddress { listen_addr, .. } =
                poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await
            {
                break listen_addr.with_p2p(keypair.public().to_peer_id()).unwrap();
            }
        };
        let (count, streams) = watch::channel(0);
        let task = tokio::spawn(async move {
            loop {
                let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
                let TransportEvent::Incoming { upgrade, .. } = event else { continue };
                let (answer, count) = (answer.clone(), count.clone());
                tokio::spawn(async move {
                    let Ok((_, mut muxer)) = upgrade.await else { return };
                    loop {
                        let stream = poll_fn(|cx| {
                            if let Poll::Ready(stream) = muxer.poll_inbound_unpin(cx) {
                                return Poll::Ready(stream.ok());
                            }
                            muxer.poll_unpin(cx).map(|_| None)
                        });
                        let Some(stream) = stream.await else { return };
                        tokio::spawn(speak(stream, answer.clone(), count.clone()));
                    }
                });
            }
        });
        Self { address, streams, task: task.abort_handle() }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One stream: agrees on the directory protocol (multistream-select 1.0), reads a request, answers, and says no more.
async fn speak(mut stream: SubstreamBox, answer: Vec<u8>, count: watch::Sender<usize>) -> Option<()> {
    const HEADER: &[u8] = b"/multistream/1.0.0\n";
    const DIRECTORY: &[u8] = b"/parlor/directory/1\n";
    loop {
        let proposed = read_frame(&mut stream).await?;
        if proposed == HEADER {
            stream.write_all(&frame(HEADER)).await.ok()?;
        } else if proposed == DIRECTORY {
            stream.write_all(&frame(DIRECTORY)).await.ok()?;
            break;
        } else {
            stream.write_all(&frame(b"na\n")).await.ok()?;
        }
        stream.flush().await.ok()?;
    }
    stream.flush().await.ok()?;
    read_frame(&mut stream).await?;
    count.send_modify(|count| *count += 1);
    stream.write_all(&answer).await.ok()?;
    stream.flush().await.ok()?;
    while read_frame(&mut stream).await.is_some() {}
    None
}

async fn read_frame(stream: &mut SubstreamBox) -> Option<Vec<u8>> {
    let mut length = 0;
    for i in 0..3 {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        length |= usize::from(byte[0] & 0x7f) << (7 * i);
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await.ok()?;
    Some(bytes)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    let mut length = payload.len();
    while length >= 0x80 {
        frame.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    frame.push(length as u8);
    frame.extend_from_slice(payload);
    frame
}

fn push(value: &Value) -> Vec<u8> {
    frame(value.to_string().as_bytes())
}

fn welcome() -> Vec<u8> {
    push(&json!({
        "event": "welcome", "v": 1, "observed": "/ip4/192.0.2.1/tcp/1", "relay": false, "turn": false, "stun": [],
        "nodes": [], "beat_ms": 0, "limits": { "places": 0, "watches": 0, "hidden": 0 },
    }))
}

fn card(keypair: &Keypair, name: &str, seq: u64) -> String {
    let said = json!({ "v": 1, "name": name, "status": "free", "session": 1, "seq": seq, "time": 0 });
    let envelope = SignedEnvelope::new(
        keypair,
        "parlor-card".to_owned(),
        b"/parlor/card/1".to_vec(),
        said.to_string().into_bytes(),
    );
    STANDARD_NO_PAD.encode(envelope.unwrap().into_protobuf_encoding())
}

fn people(entries: &[(PeerId, String)]) -> Vec<u8> {
    let people: Vec<Value> =
        entries.iter().map(|(peer, card)| json!({ "peer": peer.to_string(), "card": card })).collect();
    push(&json!({ "event": "people", "scope": { "place": "lobby" }, "people": people, "more": false }))
}

fn client_of(liar: &Liar) -> (Handle, EventReceiver) {
    let config = Config {
        keypair: Keypair::generate_ed25519(),
        profile: Profile { name: "Ann".into(), status: Status::Free },
        lan: false,
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        circle: Circle { nodes: vec![liar.address.clone()], lobby: true, ..Circle::default() },
    };
    parlor_net::spawn(config).unwrap()
}

async fn next<T>(events: &mut EventReceiver, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = wanted(events.recv().await.expect("the network runs")) {
                return found;
            }
        }
    };
    timeout(SOON, search).await.expect("it happens soon")
}

#[tokio::test]
async fn forged_stolen_and_old_cards_list_nobody() {
    let (ann, bob) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let (ann_peer, bob_peer) = (ann.public().to_peer_id(), bob.public().to_peer_id());
    let mut answer = welcome();
    answer.extend(people(&[
        (ann_peer, card(&bob, "Mallory", 9)),
        (ann_peer, STANDARD_NO_PAD.encode([7; 100])),
        (ann_peer, String::new()),
        (bob_peer, card(&bob, "Bob", 5)),
        (bob_peer, card(&bob, "Bob, once", 4)),
    ]));
    let carol = Keypair::generate_ed25519();
    answer.extend(people(&[(carol.public().to_peer_id(), card(&carol, "Carol", 1))]));
    let liar = Liar::start(answer).await;
    let (_handle, mut events) = client_of(&liar);
    let mut listed = Vec::new();
    next(&mut events, |event| match event {
        Event::PeerOnline(person) | Event::PeerChanged(person) => {
            listed.push(person.profile.name);
            listed.contains(&"Carol".to_owned()).then_some(())
        }
        _ => None,
    })
    .await;
    assert_eq!(listed, ["Bob", "Carol"]);
}

#[tokio::test]
async fn nonsense_silence_and_endless_frames_end_the_stream_and_it_is_tried_again() {
    let nonsense = frame(b"{\"event\":");
    let endless = vec![0xff, 0xff, 0xff, 0x7f];
    for answer in [nonsense, endless, Vec::new()] {
        let liar = Liar::start(answer).await;
        let (handle, mut events) = client_of(&liar);
        let failed = next(&mut events, |event| match event {
            Event::Node(state) => matches!(state.link, NodeLink::Failed { .. }).then_some(()),
            _ => None,
        });
        failed.await;
        let mut streams = liar.streams.clone();
        let again = streams.wait_for(|count| *count >= 2);
        timeout(SOON, again).await.expect("it is tried again").expect("the liar lives");
        handle.shutdown().await;
    }
}
