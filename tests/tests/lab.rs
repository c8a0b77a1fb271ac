//! The laboratory itself: a network on which nothing works would pass every test of what goes wrong.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of #[test]")]

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
    time::{Duration, Instant},
};

use parlor_tests::{Host, Impairment, Internet, Lan, Nat, in_lab, now};

/// A round trip of one byte over TCP from `from` to an echo on `to`; `None` when nothing comes back within 2 s.
fn round_trip(from: &Host, to: &Host, address: &str) -> Option<Duration> {
    const ECHO: &str = "import socket\ns = socket.create_server(('', 7)); print('ready', flush=True)\n\
        while True:\n c = s.accept()[0]; c.setsockopt(6, 1, 1); c.sendall(c.recv(1))";
    const ASK: &str = "import socket, sys, time\nc = socket.create_connection((sys.argv[1], 7), 2)\n\
        t = time.monotonic(); c.sendall(b'x'); c.recv(1); print(time.monotonic() - t)";
    let mut echo = to.command("python3").args(["-c", ECHO]).stdout(Stdio::piped()).spawn().unwrap();
    BufReader::new(echo.stdout.take().unwrap()).read_line(&mut String::new()).unwrap();
    let answer = from.command("python3").args(["-c", ASK, address]).stderr(Stdio::null()).output().unwrap();
    echo.kill().unwrap();
    echo.wait().unwrap();
    let seconds: f64 = String::from_utf8_lossy(&answer.stdout).trim().parse().ok()?;
    Some(Duration::from_secs_f64(seconds))
}

#[test]
fn hosts_reach_each_other_until_the_cable_is_cut() {
    in_lab(|| {
        let lan = Lan::new(2);
        assert!(round_trip(&lan[0], &lan[1], "10.77.0.12").is_some());
        lan[1].cut();
        assert_eq!(round_trip(&lan[0], &lan[1], "10.77.0.12"), None);
        lan[1].mend();
        assert!(round_trip(&lan[0], &lan[1], "10.77.0.12").is_some());
    });
}

#[test]
fn a_bad_wire_delays_in_both_directions() {
    in_lab(|| {
        let lan = Lan::new(2);
        let mut wire = lan[0].impair(Impairment { delay_ms: 40, ..Impairment::default() });
        let slow = round_trip(&lan[0], &lan[1], "10.77.0.12").expect("a slow answer");
        assert!((80..160).contains(&slow.as_millis()), "{slow:?}");
        wire.set(Impairment::default());
        let quick = round_trip(&lan[0], &lan[1], "10.77.0.12").expect("a quick answer");
        assert!(quick.as_millis() < 40, "{quick:?}");
    });
}

#[test]
fn twenty_five_hosts_are_plugged_in_within_seconds() {
    in_lab(|| {
        let start: Instant = now();
        assert_eq!(Lan::new(25).hosts().len(), 25);
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    });
}

/// The port that `to` sees a datagram from `from` come from, for each of two destination ports; `None` where none comes.
fn seen_ports(from: &Host, to: &Host, address: &str) -> [Option<u16>; 2] {
    const SEE: &str = "import select, socket\n\
        socks = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in '12']\n\
        for n, s in enumerate(socks): s.bind(('', 7001 + n))\n\
        print('ready', flush=True)\n\
        for s in socks: print(s.recvfrom(9)[1][1] if select.select([s], [], [], 1)[0] else 0, flush=True)";
    const SEND: &str = "import socket, sys\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(('', 4000))\n\
        for port in 7001, 7002: s.sendto(b'x', (sys.argv[1], port))";
    let mut see = to.command("python3").args(["-c", SEE]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(see.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    assert!(from.command("python3").args(["-c", SEND, address]).status().unwrap().success());
    let ports = [(); 2].map(|()| lines.next().unwrap().unwrap().parse().ok().filter(|port| *port != 0));
    see.wait().unwrap();
    ports
}

#[test]
fn routers_translate_addresses_as_their_kind_does() {
    in_lab(|| {
        let internet = Internet::new(&[Nat::Cone, Nat::Symmetric, Nat::NoUdp]);
        let [cone, symmetric, no_udp] = internet.homes() else { unreachable!("three homes were asked for") };
        let seen = |from: &Host| seen_ports(from, internet.public(), Internet::PUBLIC_ADDRESS);
        assert_eq!(seen(&cone.host), [Some(4000); 2]);
        let [first, second] = seen(&symmetric.host);
        assert!(first.is_some() && second.is_some() && first != second, "{first:?} {second:?}");
        assert_eq!(seen(&no_udp.host), [None; 2]);
        assert!(round_trip(&no_udp.host, internet.public(), Internet::PUBLIC_ADDRESS).is_some(), "TCP gets through");
        assert_eq!(round_trip(internet.public(), &cone.host, "10.77.1.11"), None, "nobody gets in");
        assert_eq!(round_trip(internet.public(), &cone.host, cone.public_address()), None, "nobody gets in");
    });
}
