//! Calls over a network that loses datagrams.

#[path = "common/pair.rs"]
mod pair;
#[path = "common/wire.rs"]
mod wire;

use std::{collections::HashSet, time::Duration};

use pair::{Pair, config};
use wire::{Wire, of_handshake, of_media};

/// A call over a wire that loses what `lose` says; it has to stand.
async fn call(lose: impl FnMut(&[u8]) -> bool + Send + 'static) {
    let (pair, _wire) = stands(Duration::ZERO, lose).await;
    pair.close().await;
}

async fn stands(delay: Duration, lose: impl FnMut(&[u8]) -> bool + Send + 'static) -> (Pair, Wire) {
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

/// The negotiation, both ends' stages and the stack between them: packets that were lost are made, not only asked for.
#[tokio::test]
async fn pictures_that_are_lost_on_a_long_way_are_made_from_what_was_sent_ahead() {
    let mut number = 0_u32;
    let lose = move |datagram: &[u8]| {
        number += u32::from(of_media(datagram));
        // One in ten, as good as random.
        of_media(datagram) && number.wrapping_mul(2_654_435_761) >> 16 & 0xFFFF < 6_554
    };
    let (mut pair, _wire) = stands(Duration::from_millis(60), lose).await;
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
