//! `/parlor/turn/1`: TURN's datagrams over a stream of a connection, for networks that let no UDP through.
//!
//! Each is preceded by its length, two bytes, big-endian (RFC 4571).

use futures::{AsyncReadExt, AsyncWriteExt, io::WriteHalf};
use libp2p::Stream;
use tokio::sync::mpsc;

use super::relay::Inbound;

/// Datagrams that wait to be written. Full: further ones are lost.
const MAX_OUTBOUND: usize = 64;

/// The longest datagram. A longer one ends the stream.
const MAX_DATAGRAM_BYTES: usize = 2048;

/// Carries datagrams until the stream ends.
pub(super) async fn pump(stream: Stream, number: u64, inbound: mpsc::Sender<Inbound>) {
    // Also when this task is aborted.
    let _closed = Closed { number, inbound: inbound.clone() };
    let (outbound, receiver) = mpsc::channel(MAX_OUTBOUND);
    if inbound.send(Inbound::Opened { stream: number, outbound }).await.is_err() {
        return;
    }
    let (mut reader, writer) = stream.split();
    let read = async {
        loop {
            let mut length = [0; 2];
            reader.read_exact(&mut length).await?;
            let length = usize::from(u16::from_be_bytes(length));
            if length > MAX_DATAGRAM_BYTES {
                return Err(std::io::Error::from(std::io::ErrorKind::InvalidData));
            }
            let mut datagram = vec![0; length];
            reader.read_exact(&mut datagram).await?;
            if inbound.send(Inbound::Datagram { stream: number, datagram }).await.is_err() {
                return Ok(());
            }
        }
    };
    let ended: std::io::Result<()> = tokio::select! {
        ended = read => ended,
        ended = write(writer, receiver) => ended,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a TURN stream ended");
    }
}

async fn write(mut writer: WriteHalf<Stream>, mut outbound: mpsc::Receiver<Vec<u8>>) -> std::io::Result<()> {
    let mut batch = Vec::new();
    while let Some(datagram) = outbound.recv().await {
        let mut next = Some(datagram);
        while let Some(datagram) = next {
            batch.extend((datagram.len() as u16).to_be_bytes());
            batch.extend(datagram);
            next = outbound.try_recv().ok();
        }
        writer.write_all(&batch).await?;
        writer.flush().await?;
        batch.clear();
    }
    Ok(())
}

/// Tells the relay's task that the stream is no more.
struct Closed {
    number: u64,
    inbound: mpsc::Sender<Inbound>,
}

impl Drop for Closed {
    fn drop(&mut self) {
        let (inbound, closed) = (self.inbound.clone(), Inbound::Closed { stream: self.number });
        if let Err(mpsc::error::TrySendError::Full(closed)) = inbound.try_send(closed)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // Ends as soon as there is room, or the relay has ended.
            runtime.spawn(async move {
                let _ = inbound.send(closed).await;
            });
        }
    }
}
