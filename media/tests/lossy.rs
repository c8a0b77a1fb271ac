//! Calls over a network that loses datagrams.

#[path = "common/pair.rs"]
mod pair;
#[path = "common/wire.rs"]
mod wire;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use pair::{Pair, config};
use wire::{Wire, of_handshake, of_media};

/// A call over a wire that loses what `lose` says; it has to stand.
async fn call(lose: impl FnMut(&[u8]) -> bool + Send + 'static) {
    connected(Duration::ZERO, lose).await.0.close().await;
}

async fn connected(delay: Duration, lose: impl FnMut(&[u8]) -> bool + Send + 'static) -> (Pair, Wire) {
    let mut pair = Pair::spawn(config(), config());
    pair.caller.session.create_offer();
    pair.callee.session.accept_offer(pair.caller.offer().await);
    pair.caller.session.accept_answer(pair.callee.answer().await);
    let (caller, callee) = (pair.caller.candidate().await, pair.callee.candidate().await);
    let (wire, caller, callee) = Wire::long(&caller, &callee, delay, lose).await;
    pair.start();
    pair.caller.session.add_candidate(callee);
    pair.callee.session.add_candidate(caller);
    pair.caller.until_connected().await;
    pair.callee.until_connected().await;
    (pair, wire)
}

/// SSRC, sequence number and payload type (RFC 3550, section 5.1), which SRTP leaves readable.
fn rtp(datagram: &[u8]) -> Option<(u32, u16, u8)> {
    let header = datagram.first_chunk::<12>()?;
    let payload_type = header[1] & 0x7F;
    // RFC 7983, and RFC 5761 for RTCP.
    ((128..192).contains(&header[0]) && !(64..96).contains(&payload_type)).then(|| {
        let ssrc = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
        (ssrc, u16::from_be_bytes([header[2], header[3]]), payload_type)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_of_a_picture_comes_again_in_a_stream_of_its_own() {
    #[derive(Default)]
    struct Seen {
        packets: HashSet<(u32, u16)>,
        twice: usize,
        lost: usize,
        repaired: HashSet<u32>,
    }
    let seen = Arc::<Mutex<Seen>>::default();
    let watched = Arc::clone(&seen);
    let (mut pair, _wire) = connected(Duration::ZERO, move |datagram| {
        let Some((ssrc, sequence, payload_type)) = rtp(datagram) else { return false };
        let mut seen = watched.lock().unwrap();
        // A second packet of the same number is a replay to SRTP.
        seen.twice += usize::from(!seen.packets.insert((ssrc, sequence)));
        let lost = datagram.len() > 500 && sequence % 25 == 0;
        seen.lost += usize::from(lost);
        if payload_type == 103 {
            seen.repaired.insert(ssrc);
        }
        lost
    })
    .await;
    for end in [&mut pair.caller, &mut pair.callee] {
        end.stats(|stats| stats.video_recv.shown > 90 && stats.video_recv.nacks > 3).await;
    }
    pair.close().await;
    let seen = seen.lock().unwrap();
    assert!(seen.lost > 6 && seen.twice == 0, "{} lost, {} sent twice", seen.lost, seen.twice);
    assert_eq!(seen.repaired.len(), 2, "one stream of retransmissions each way");
}

/// The negotiation, both ends' stages and the stack between them: packets that were lost are made, not only asked for.
#[tokio::test]
async fn pictures_that_are_lost_on_a_long_way_are_made_from_what_was_sent_ahead() {
    let mut number = 0_u32;
    let lose = move |datagram: &[u8]| {
        number += u32::from(of_media(datagram));
        // One in ten, as good as random.
        of_media(datagram) && number.wrapping_mul(2_654_435_761) >> 16 & 0xFFFF < 6_554
    };
    let (mut pair, _wire) = connected(Duration::from_millis(60), lose).await;
    for end in [&mut pair.caller, &mut pair.callee] {
        let stats = end.stats(|stats| stats.video_recv.recovered > 20).await.video_recv;
        assert!(stats.shown > 20, "{stats:?}");
    }
    pair.close().await;
}

#[tokio::test]
async fn a_handshake_survives_the_loss_of_any_two_datagrams() {
    for (first, second) in (0..6).flat_map(|first| (first..6).map(move |second| (first, second))) {
        let mut counted = 0..;
        call(move |datagram| {
            let number = if of_handshake(datagram) { counted.next() } else { None };
            number == Some(first) || number == Some(second)
        })
        .await;
    }
}

#[tokio::test]
async fn a_handshake_survives_the_loss_of_each_datagram_once() {
    let mut seen = HashSet::new();
    call(move |datagram| of_handshake(datagram) && seen.insert(datagram.to_vec())).await;
}
