//! Whole networks on loopback: presence, endings and signalling over real TCP and QUIC.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests, outside of #[test]")]

use std::time::Duration;

use parlor_net::{
    CallId, Circle, Config, Event, EventReceiver, Handle, Keypair, Multiaddr, OfflineReason, PeerId, Person, Profile,
    Status,
    signalling::{Body, ByeReason, CallKind},
};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tracing_subscriber::EnvFilter;

const TCP: &str = "/ip4/127.0.0.1/tcp/0";
const QUIC: &str = "/ip4/127.0.0.1/udp/0/quic-v1";
const TCP_V6: &str = "/ip6/::1/tcp/0";

/// Generous, for machines that are busy. Nothing here takes nearly as long.
const SOON: Duration = Duration::from_secs(30);

struct Net {
    handle: Handle,
    events: EventReceiver,
    peer: PeerId,
    addresses: Vec<Multiaddr>,
}

impl Net {
    async fn start(name: &str, listen: &[&str]) -> Self {
        Self::start_with(name, listen, true).await
    }

    async fn start_with(name: &str, listen: &[&str], lan: bool) -> Self {
        // With RUST_LOG, to see what happens.
        let _ = tracing_subscriber::fmt().with_env_filter(EnvFilter::from_default_env()).with_test_writer().try_init();
        let keypair = Keypair::generate_ed25519();
        let peer = keypair.public().to_peer_id();
        let profile = profile(name, Status::Free);
        let listen: Vec<Multiaddr> = listen.iter().map(|a| a.parse().unwrap()).collect();
        let wanted = listen.len();
        let (handle, events) =
            parlor_net::spawn(Config { keypair, profile, lan, listen, circle: Circle::default() }).unwrap();
        let mut net = Self { handle, events, peer, addresses: Vec::new() };
        while net.addresses.len() < wanted {
            let address = net.next(|event| match event {
                Event::Listening { address } => Some(address.clone()),
                _ => None,
            });
            let address = address.await;
            net.addresses.push(address);
        }
        net
    }

    fn dial(&self, address: &Multiaddr, who: PeerId) {
        self.handle.dial(address.clone().with_p2p(who).unwrap());
    }

    /// The first event that `wanted` wants; the others are passed over.
    async fn next<T>(&mut self, mut wanted: impl FnMut(&Event) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.recv().await.expect("the network runs");
                if let Some(found) = wanted(&event) {
                    return found;
                }
            }
        };
        timeout(SOON, search).await.expect("it happens soon")
    }

    /// Waits until all of these are online; nobody may go meanwhile.
    async fn sees_all(&mut self, mut missing: Vec<PeerId>) {
        while !missing.is_empty() {
            let seen = self.next(|event| match event {
                Event::PeerOnline(person) => Some(person.peer),
                Event::PeerOffline { peer, .. } => panic!("{peer} went"),
                _ => None,
            });
            let seen = seen.await;
            missing.retain(|peer| *peer != seen);
        }
    }

    async fn online(&mut self, who: PeerId) -> Person {
        self.next(|event| match event {
            Event::PeerOnline(person) if person.peer == who => Some(person.clone()),
            _ => None,
        })
        .await
    }

    async fn offline(&mut self, who: PeerId) -> OfflineReason {
        self.next(|event| match event {
            Event::PeerOffline { peer, reason } if *peer == who => Some(*reason),
            _ => None,
        })
        .await
    }

    async fn signal(&mut self) -> (PeerId, CallId, Body) {
        self.next(|event| match event {
            Event::Signal { peer, call, body } => Some((*peer, *call, body.clone())),
            Event::SignalFailed { error, .. } => panic!("{error}"),
            _ => None,
        })
        .await
    }

    async fn failure(&mut self) -> (CallId, String) {
        self.next(|event| match event {
            Event::SignalFailed { call, error, .. } => Some((*call, error.clone())),
            _ => None,
        })
        .await
    }
}

fn profile(name: &str, status: Status) -> Profile {
    Profile { name: name.into(), status }
}

fn call(n: u128) -> CallId {
    CallId::from_bits(n)
}

fn invite(size: usize) -> Body {
    Body::Invite { name: "Ann".into(), kind: CallKind::Video, offer: "o".repeat(size) }
}

fn candidate(n: usize) -> Body {
    Body::Candidate { candidate: n.to_string() }
}

/// Ann and Bob, who see each other over one connection.
async fn pair(listen: &str) -> (Net, Net) {
    let mut ann = Net::start("Ann", &[listen]).await;
    let mut bob = Net::start("Bob", &[listen]).await;
    ann.dial(&bob.addresses[0], bob.peer);
    assert_eq!(ann.online(bob.peer).await.profile, profile("Bob", Status::Free));
    assert_eq!(bob.online(ann.peer).await.profile, profile("Ann", Status::Free));
    (ann, bob)
}

/// A cable that can be pulled: passes TCP connections on until it is dropped.
struct Cable {
    address: Multiaddr,
    task: JoinHandle<()>,
}

impl Cable {
    async fn to(net: &Net) -> Self {
        let port = net.addresses[0].to_string().rsplit('/').next().unwrap().parse::<u16>().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("/ip4/127.0.0.1/tcp/{}", listener.local_addr().unwrap().port()).parse().unwrap();
        let task = tokio::spawn(async move {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let _ = copy_bidirectional(&mut near, &mut far).await;
        });
        Self { address, task }
    }

    /// Both ends see the connection break.
    fn pull(&self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn two_see_each_other_over_tcp_quic_and_ipv6() {
    for listen in [TCP, QUIC, TCP_V6] {
        if listen == TCP_V6 && std::net::TcpListener::bind("[::1]:0").is_err() {
            continue;
        }
        pair(listen).await;
    }
}

#[tokio::test]
async fn a_change_of_profile_is_seen_by_the_other() {
    let (ann, mut bob) = pair(TCP).await;
    ann.handle.set_profile(profile("Ann B", Status::InCall));
    let changed = bob.next(|event| match event {
        Event::PeerChanged(person) => Some(person.profile.clone()),
        _ => None,
    });
    assert_eq!(changed.await, profile("Ann B", Status::InCall));
}

#[tokio::test]
async fn a_goodbye_is_heard_as_one() {
    for listen in [TCP, QUIC] {
        let (ann, mut bob) = pair(listen).await;
        ann.handle.shutdown().await;
        assert_eq!(bob.offline(ann.peer).await, OfflineReason::Left);
    }
}

#[tokio::test]
async fn dropping_the_last_handle_says_goodbye_too() {
    let (ann, mut bob) = pair(TCP).await;
    let Net { handle, mut events, peer, .. } = ann;
    drop(handle);
    assert_eq!(bob.offline(peer).await, OfflineReason::Left);
    timeout(SOON, async { while events.recv().await.is_some() {} }).await.expect("the network stops");
}

#[tokio::test]
async fn who_drops_off_is_lost_and_found_again() {
    let (mut ann, mut bob) = (Net::start("Ann", &[TCP]).await, Net::start("Bob", &[TCP]).await);
    let cable = Cable::to(&bob).await;
    ann.dial(&cable.address, bob.peer);
    bob.online(ann.peer).await;
    ann.online(bob.peer).await;
    cable.pull();
    assert_eq!(bob.offline(ann.peer).await, OfflineReason::Lost);
    assert_eq!(ann.offline(bob.peer).await, OfflineReason::Lost);
    ann.dial(&bob.addresses[0], bob.peer);
    ann.online(bob.peer).await;
}

#[tokio::test]
async fn who_has_two_connections_and_loses_one_stays_online() {
    let (mut ann, mut bob) = (Net::start("Ann", &[TCP]).await, Net::start("Bob", &[TCP]).await);
    let cable = Cable::to(&bob).await;
    ann.dial(&cable.address, bob.peer);
    bob.online(ann.peer).await;
    ann.online(bob.peer).await;
    bob.dial(&ann.addresses[0], ann.peer);
    // A call over the second connection, which is the newest, shows that it is there.
    bob.handle.send(ann.peer, call(1), invite(10));
    ann.signal().await;
    cable.pull();
    ann.handle.set_profile(profile("Ann", Status::InCall));
    let next = bob.next(|event| match event {
        Event::PeerChanged(_) => Some(true),
        Event::PeerOffline { .. } => Some(false),
        _ => None,
    });
    assert!(next.await, "Bob saw Ann go");
}

#[tokio::test]
async fn of_two_connections_one_is_closed_and_nobody_is_seen_to_go() {
    let (mut ann, mut bob) = (Net::start("Ann", &[TCP]).await, Net::start("Bob", &[TCP]).await);
    let cables = [Cable::to(&ann).await, Cable::to(&bob).await];
    bob.dial(&cables[0].address, ann.peer);
    ann.dial(&cables[1].address, bob.peer);
    ann.online(bob.peer).await;
    bob.online(ann.peer).await;
    let closed = || cables.iter().filter(|cable| cable.task.is_finished()).count();
    timeout(SOON, async {
        while closed() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("one connection is closed");
    // The other one stays, and carries what there is to say.
    ann.handle.set_profile(profile("Ann", Status::InCall));
    let next = bob.next(|event| match event {
        Event::PeerChanged(person) => Some(person.profile.status == Status::InCall),
        Event::PeerOffline { .. } => Some(false),
        _ => None,
    });
    assert!(next.await, "Bob saw Ann go");
    ann.handle.send(bob.peer, call(1), invite(10));
    assert_eq!(bob.signal().await.1, call(1));
    assert_eq!(closed(), 1);
}

#[tokio::test]
async fn without_the_lan_nobody_is_told_who_we_are() {
    let mut ann = Net::start("Ann", &[TCP]).await;
    let hidden = Net::start_with("Hidden", &[TCP], false).await;
    hidden.dial(&ann.addresses[0], ann.peer);
    // They are connected: a call from there arrives.
    hidden.handle.send(ann.peer, call(1), invite(10));
    let first = ann.next(|event| match event {
        Event::PeerOnline(_) => Some(false),
        Event::Signal { .. } => Some(true),
        _ => None,
    });
    assert!(first.await, "Ann saw who hides");
}

#[tokio::test]
async fn who_is_blocked_is_cut_off_and_who_is_unblocked_comes_back() {
    let (mut ann, mut bob) = pair(TCP).await;
    ann.handle.set_circle(Circle { blocked: vec![bob.peer], ..Circle::default() });
    assert_eq!(ann.offline(bob.peer).await, OfflineReason::Left);
    bob.offline(ann.peer).await;
    bob.handle.send(ann.peer, call(1), invite(10));
    assert_eq!(bob.failure().await.0, call(1));
    ann.handle.set_circle(Circle::default());
    let back = ann.next(|event| match event {
        Event::PeerOnline(person) => Some(true).filter(|_| person.peer == bob.peer),
        Event::Signal { .. } => Some(false),
        _ => None,
    });
    assert!(back.await, "a call came through");
}

#[tokio::test]
async fn an_address_that_belongs_to_somebody_else_is_not_taken_for_the_one_who_was_meant() {
    let (mut ann, bob) = (Net::start("Ann", &[TCP]).await, Net::start("Bob", &[TCP]).await);
    let carol = PeerId::random();
    ann.dial(&bob.addresses[0], carol);
    ann.handle.send(carol, call(1), invite(10));
    assert_eq!(ann.failure().await.0, call(1));
}

#[tokio::test]
async fn a_call_is_set_up_with_messages_of_every_size_in_both_directions() {
    for listen in [TCP, QUIC] {
        let (mut ann, mut bob) = pair(listen).await;
        ann.handle.send(bob.peer, call(1), invite(60_000));
        assert_eq!(bob.signal().await, (ann.peer, call(1), invite(60_000)));
        bob.handle.send(ann.peer, call(1), Body::Ringing);
        bob.handle.send(ann.peer, call(1), Body::Accept { answer: "a".repeat(60_000) });
        assert_eq!(ann.signal().await.2, Body::Ringing);
        assert_eq!(ann.signal().await.2, Body::Accept { answer: "a".repeat(60_000) });
        for n in 0..30 {
            ann.handle.send(bob.peer, call(1), candidate(n));
        }
        for n in 0..30 {
            assert_eq!(bob.signal().await.2, candidate(n));
        }
        let bye = Body::Bye { reason: ByeReason::HungUp };
        ann.handle.send(bob.peer, call(1), bye.clone());
        ann.handle.close_call(bob.peer, call(1));
        assert_eq!(bob.signal().await.2, bye);
    }
}

#[tokio::test]
async fn what_is_said_before_leaving_still_arrives() {
    let (ann, mut bob) = pair(TCP).await;
    ann.handle.send(bob.peer, call(1), invite(10));
    bob.signal().await;
    let bye = Body::Bye { reason: ByeReason::HungUp };
    ann.handle.send(bob.peer, call(1), bye.clone());
    ann.handle.shutdown().await;
    assert_eq!(bob.signal().await.2, bye);
    assert_eq!(bob.offline(ann.peer).await, OfflineReason::Left);
}

#[tokio::test]
async fn a_call_goes_on_over_the_other_connection_when_one_is_cut() {
    let (mut ann, mut bob) = (Net::start("Ann", &[TCP]).await, Net::start("Bob", &[TCP]).await);
    ann.dial(&bob.addresses[0], bob.peer);
    ann.online(bob.peer).await;
    bob.online(ann.peer).await;
    // Somebody whom Bob does not know by this connection: Ann's second way to him.
    let cable = Cable::to(&ann).await;
    bob.dial(&cable.address, ann.peer);
    // The newest connection is preferred. Candidates of a first call flow until it is the one behind the cable.
    let mut n = 0;
    while cable.task.is_finished() || n < 3 {
        ann.handle.send(bob.peer, call(100 + n), invite(10));
        bob.signal().await;
        n += 1;
    }
    ann.handle.send(bob.peer, call(1), invite(10));
    bob.signal().await;
    for n in 0..50 {
        if n == 25 {
            cable.pull();
        }
        ann.handle.send(bob.peer, call(1), candidate(n));
        bob.handle.send(ann.peer, call(1), candidate(n));
    }
    for n in 0..50 {
        assert_eq!(bob.signal().await.2, candidate(n));
        assert_eq!(ann.signal().await.2, candidate(n));
    }
}

#[tokio::test]
async fn a_message_to_somebody_who_is_nowhere_fails_at_once() {
    let mut ann = Net::start("Ann", &[TCP]).await;
    ann.handle.send(PeerId::random(), call(1), invite(10));
    assert_eq!(ann.failure().await, (call(1), "the other side is offline".into()));
}

#[tokio::test]
async fn a_hundred_invitations_at_once_are_bounded_and_do_not_disturb_others() {
    let (mut eve, mut bob) = pair(TCP).await;
    let mut ann = Net::start("Ann", &[TCP]).await;
    ann.dial(&bob.addresses[0], bob.peer);
    ann.online(bob.peer).await;
    for n in 0..100 {
        eve.handle.send(bob.peer, call(n), invite(1000));
    }
    ann.handle.send(bob.peer, call(1000), invite(10));
    let mut from_eve = 0;
    loop {
        let (peer, _, _) = bob.signal().await;
        if peer == ann.peer {
            break;
        }
        from_eve += 1;
    }
    for _ in 0..90 {
        eve.failure().await;
    }
    while let Ok(event) = bob.events.try_recv() {
        from_eve += usize::from(matches!(event, Event::Signal { .. }));
    }
    assert!(from_eve <= 10, "{from_eve} of a hundred invitations got through");
}

#[tokio::test]
async fn however_often_a_profile_changes_its_last_state_is_seen() {
    let (ann, mut bob) = pair(TCP).await;
    for n in 0..=200 {
        ann.handle.set_profile(profile(&format!("Ann {n}"), Status::Free));
        tokio::task::yield_now().await;
    }
    let last = bob.next(|event| match event {
        Event::PeerChanged(person) => (person.profile.name == "Ann 200").then_some(true),
        Event::PeerOffline { .. } => Some(false),
        _ => None,
    });
    assert!(last.await, "Bob took Ann for lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_five_all_see_each_other_and_see_one_leave() {
    const PEOPLE: usize = 25;
    let mut nets: Vec<Net> = Vec::new();
    // One after the other: three hundred handshakes at once, all on this machine, would starve the heartbeats.
    for i in 0..PEOPLE {
        let mut newcomer = Net::start(&format!("Person {i}"), &[if i % 2 == 0 { TCP } else { QUIC }]).await;
        nets.iter().for_each(|other| newcomer.dial(&other.addresses[0], other.peer));
        newcomer.sees_all(nets.iter().map(|other| other.peer).collect()).await;
        for other in &mut nets {
            other.sees_all(vec![newcomer.peer]).await;
        }
        nets.push(newcomer);
    }
    let leaver = nets.pop().unwrap();
    leaver.handle.shutdown().await;
    for net in &mut nets {
        assert_eq!(net.offline(leaver.peer).await, OfflineReason::Left);
    }
}
