//! Calls over a network that loses datagrams.

#[path = "common/pair.rs"]
mod pair;
#[path = "common/wire.rs"]
mod wire;

use std::collections::HashSet;

use pair::{Pair, config};
use wire::{Wire, of_handshake};

/// A call over a wire that loses what `lose` says; it has to stand.
async fn call(lose: impl FnMut(&[u8]) -> bool + Send + 'static) {
    let mut pair = Pair::spawn(config(), config());
    pair.caller.session.create_offer();
    pair.callee.session.accept_offer(pair.caller.offer().await);
    pair.caller.session.accept_answer(pair.callee.answer().await);
    let (caller, callee) = (pair.caller.candidate().await, pair.callee.candidate().await);
    let (_wire, caller, callee) = Wire::between(&caller, &callee, lose).await;
    pair.start();
    pair.caller.session.add_candidate(callee);
    pair.callee.session.add_candidate(caller);
    pair.caller.until_connected().await;
    pair.callee.until_connected().await;
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
