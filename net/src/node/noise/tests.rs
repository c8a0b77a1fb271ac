use futures::future;
use libp2p::noise;
use tokio::io::duplex;

use super::*;

/// The two ends of a wire that takes so many bytes at a time.
fn wire(bytes: usize) -> (Tokio, Tokio) {
    let (near, far) = duplex(bytes);
    (Tokio(near), Tokio(far))
}

/// Tokio's streams in the traits of futures.
struct Tokio(tokio::io::DuplexStream);

impl AsyncRead for Tokio {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &mut [u8],
    ) -> std::task::Poll<io::Result<usize>> {
        let mut buffer = tokio::io::ReadBuf::new(bytes);
        std::task::ready!(tokio::io::AsyncRead::poll_read(Pin::new(&mut self.0), cx, &mut buffer))?;
        std::task::Poll::Ready(Ok(buffer.filled().len()))
    }
}

impl AsyncWrite for Tokio {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<io::Result<usize>> {
        tokio::io::AsyncWrite::poll_write(Pin::new(&mut self.0), cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_flush(Pin::new(&mut self.0), cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<io::Result<()>> {
        tokio::io::AsyncWrite::poll_shutdown(Pin::new(&mut self.0), cx)
    }
}

/// Sends this there and something else back, and each is what comes out.
async fn talk(mut near: impl AsyncRead + AsyncWrite + Unpin, mut far: impl AsyncRead + AsyncWrite + Unpin) {
    for length in [1, 100, 5000, 70_000, 300_000] {
        let (there, back): (Vec<u8>, Vec<u8>) = ((0..length).map(|n| n as u8).collect(), vec![7; length]);
        let (mut arrived, mut returned) = (vec![0; length], vec![0; length]);
        let here = async {
            near.write_all(&there).await.unwrap();
            near.flush().await.unwrap();
            near.read_exact(&mut returned).await.unwrap();
        };
        let yonder = async {
            far.read_exact(&mut arrived).await.unwrap();
            far.write_all(&back).await.unwrap();
            far.flush().await.unwrap();
        };
        future::join(here, yonder).await;
        assert!(arrived == there && returned == back);
    }
    near.close().await.unwrap();
    assert_eq!(far.read(&mut [0; 10]).await.unwrap(), 0, "an end is an end");
}

#[tokio::test]
async fn speaks_with_the_librarys_own_in_both_roles_whatever_the_pieces() {
    let (ours, theirs) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    for bytes in [1, 7, 100_000] {
        let ((near, far), (config, library)) =
            (wire(bytes), (Config::new(&ours).unwrap(), noise::Config::new(&theirs).unwrap()));
        let (us, them) =
            future::join(config.upgrade_inbound(near, "/noise"), library.upgrade_outbound(far, "/noise")).await;
        let ((who, near), (we, far)) = (us.unwrap(), them.unwrap());
        assert_eq!((who, we), (theirs.public().to_peer_id(), ours.public().to_peer_id()));
        talk(near, far).await;

        let ((near, far), (config, library)) =
            (wire(bytes), (Config::new(&ours).unwrap(), noise::Config::new(&theirs).unwrap()));
        let (us, them) =
            future::join(config.upgrade_outbound(near, "/noise"), library.upgrade_inbound(far, "/noise")).await;
        let ((who, near), (we, far)) = (us.unwrap(), them.unwrap());
        assert_eq!((who, we), (theirs.public().to_peer_id(), ours.public().to_peer_id()));
        talk(near, far).await;
    }
}

#[tokio::test]
async fn who_claims_the_key_of_somebody_else_is_refused() {
    let (ours, mallory, ann) = (Keypair::generate_ed25519(), Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let mut liar = Config::new(&mallory).unwrap();
    let own = Payload::decode(&liar.payload).unwrap();
    liar.payload = Payload { key: ann.public().encode_protobuf(), signature: own.signature }.encode().into();
    for initiates in [true, false] {
        let ((near, far), config) = (wire(1000), Config::new(&ours).unwrap());
        let (us, _) = if initiates {
            future::join(config.respond(near), liar.clone().initiate(far)).await
        } else {
            future::join(config.initiate(near), liar.clone().respond(far)).await
        };
        assert!(matches!(us, Err(Error::NotTheirs)));
    }
}

#[tokio::test]
async fn a_signature_of_another_handshake_is_refused() {
    let (ours, ann) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    let (mut replayed, other) = (Config::new(&ann).unwrap(), Config::new(&ann).unwrap());
    replayed.payload = other.payload;
    let ((near, far), config) = (wire(1000), Config::new(&ours).unwrap());
    let (us, _) = future::join(config.respond(near), replayed.initiate(far)).await;
    assert!(matches!(us, Err(Error::NotTheirs)));
}

#[tokio::test]
async fn nonsense_and_endless_messages_and_points_of_small_order_end_the_handshake() {
    for message in [vec![0xff, 0xff], [vec![0, 40], vec![9; 40]].concat(), [vec![0, 32], vec![0; 32]].concat()] {
        let ((near, mut far), config) = (wire(10_000), Config::new(&Keypair::generate_ed25519()).unwrap());
        far.write_all(&message).await.unwrap();
        let refused = async { config.respond(near).await.is_err() };
        assert!(refused.await, "{message:?}");
    }
}

#[tokio::test]
async fn a_bit_that_flips_on_the_way_ends_the_stream_and_so_does_half_a_frame() {
    let (ours, theirs) = (Keypair::generate_ed25519(), Keypair::generate_ed25519());
    for flip in [true, false] {
        let (near, far) = wire(10_000);
        let (config, library) = (Config::new(&ours).unwrap(), Config::new(&theirs).unwrap());
        let (us, them) = future::join(config.respond(near), library.initiate(far)).await;
        let ((_, mut near), (_, mut far)) = (us.unwrap(), them.unwrap());
        far.plain_out.extend(b"hello");
        far.seal().unwrap();
        if flip {
            far.sealed_out[4] ^= 1;
        } else {
            far.sealed_out.pop();
        }
        far.close().await.unwrap();
        assert!(near.read(&mut [0; 10]).await.is_err());
    }
}

#[test]
fn a_public_key_is_that_multiple_of_the_base_point_which_others_compute() {
    let base = MontgomeryPoint({
        let mut nine = [0; 32];
        nine[0] = 9;
        nine
    });
    for n in 0..=255 {
        let secret = [n; 32];
        assert_eq!(public_of(secret), base.mul_clamped(secret).to_bytes());
    }
}
