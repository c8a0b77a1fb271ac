use super::*;

fn at(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

fn public(n: usize) -> Multiaddr {
    at(&format!("/ip4/{}.{}.0.1/tcp/4001", 20 + n / 200, n % 200))
}

fn book(named: &[Multiaddr]) -> Book {
    Book::new(PeerId::random(), named, Reach::Public)
}

fn told(book: &mut Book) -> Vec<Multiaddr> {
    book.changed = true;
    book.take_told().unwrap()
}

#[test]
fn whoever_was_dialled_and_is_a_node_is_told_and_the_operators_come_first() {
    let (now, named, learned) = (Instant::now(), PeerId::random(), PeerId::random());
    let address = at("/dns4/node.example/tcp/4001").with_p2p(named).unwrap();
    let mut book = book(std::slice::from_ref(&address));
    assert_eq!(book.poll_dial(now), None, "before we listen, we could not say where we are");
    book.begin(now);
    assert_eq!(book.poll_dial(now).unwrap().0, named);
    assert!(book.proven(now, learned, &public(1)));
    assert_eq!(book.take_told().unwrap(), [address, public(1).with_p2p(learned).unwrap()]);
    assert_eq!(book.take_told(), None, "nothing changed");
}

#[test]
fn a_node_that_is_gone_falls_out_and_one_that_the_operator_named_does_not() {
    let (now, named, learned) = (Instant::now(), PeerId::random(), PeerId::random());
    let mut book = book(&[public(1).with_p2p(named).unwrap()]);
    book.proven(now, learned, &public(2));
    book.failed(now, &learned);
    assert_eq!(told(&mut book).len(), 1, "people are not sent to who does not answer");
    book.connected(now, &learned);
    assert_eq!(told(&mut book).len(), 2);
    assert_eq!((0..20).filter(|_| book.failed(now, &learned)).count(), 1);
    assert!((0..20).all(|_| !book.failed(now, &named)));
    assert_eq!(told(&mut book).len(), 1);
    assert!(book.poll_timeout().unwrap() <= now + LONGEST_PAUSE);
}

#[test]
fn thousands_of_nodes_at_one_place_are_few_and_those_of_others_still_get_in() {
    let now = Instant::now();
    let mut book = book(&[]);
    let at_one =
        (0..5000).filter(|port| book.proven(now, PeerId::random(), &at(&format!("/ip4/9.9.9.9/tcp/{}", 1 + port))));
    assert_eq!(at_one.count(), MAX_AT_ONE_ADDRESS);
    let in_one = (0..5000).filter(|n| {
        let address = at(&format!("/ip4/9.8.{}.{}/udp/1/quic-v1", n / 250, n % 250));
        book.proven(now, PeerId::random(), &address)
    });
    assert_eq!(in_one.count(), MAX_IN_ONE_NETWORK);
    assert!(book.proven(now, PeerId::random(), &public(1)));
    let all = (0..5000).filter(|n| book.proven(now, PeerId::random(), &public(*n)));
    assert!(all.count() < MAX_LEARNED);
    assert_eq!(book.count(), MAX_LEARNED);
    assert_eq!(told(&mut book).len(), MAX_NODES_TOLD);
}

#[test]
fn claims_are_looked_at_where_they_come_from_and_nowhere_else() {
    let (now, ip) = (Instant::now(), "9.9.9.9".parse().unwrap());
    let mut book = book(&[]);
    let victims = ["/ip4/8.8.8.8/tcp/80", "/ip4/127.0.0.1/tcp/80", "/ip4/192.168.0.1/tcp/80", "/dns4/a.example/tcp/1"];
    book.claimed(now, PeerId::random(), ip, &victims.map(at));
    assert_eq!(book.poll_dial(now), None);
    let node = PeerId::random();
    let theirs = at("/ip4/9.9.9.9/tcp/4001");
    book.claimed(now, node, ip, &[at("/ip4/8.8.8.8/tcp/80"), theirs.clone()]);
    assert_eq!(book.poll_dial(now), Some((node, vec![theirs.clone()])));
    assert!(told(&mut book).is_empty(), "not before it has shown that it is a node");
    assert!(book.proven(now, node, &theirs));
    assert_eq!(told(&mut book).len(), 1);
}

#[test]
fn who_claims_and_shows_nothing_is_forgotten() {
    let (now, ip) = (Instant::now(), "9.9.9.9".parse().unwrap());
    let mut book = book(&[]);
    for _ in 0..1000 {
        book.claimed(now, PeerId::random(), ip, &[at("/ip4/9.9.9.9/tcp/4001")]);
    }
    assert_eq!(book.nodes.len(), MAX_CLAIMS);
    while let Some((node, _)) = book.poll_dial(now) {
        book.connected(now, &node);
    }
    assert_eq!(book.nodes.len(), MAX_CLAIMS);
    assert_eq!(book.poll_dial(now + LOOK_EVERY), None);
    assert!(book.nodes.is_empty());
}
