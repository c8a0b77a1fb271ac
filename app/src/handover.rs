//! A link that is opened while Parlor runs goes to the Parlor that runs.
//!
//! The running window listens on a loopback port and writes port and a random token into a file that only its owner
//! reads; whoever knows the token is the same person. One line is taken a connection: the token, a blank, the link. The
//! answer is `ok`. Links are only shown, so this gives nobody a way to do anything.

use std::{
    fs,
    io::{self, BufRead as _, Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream as AsyncTcpStream},
    sync::mpsc,
    time::timeout,
};

use crate::{atomic_file, engine::Command, link::MAX_LINK_BYTES};

const FILE: &str = "handover";
const TOKEN_BYTES: usize = 32;
/// For one line on loopback.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes links until it is dropped.
#[derive(Debug)]
pub(crate) struct Handover {
    file: PathBuf,
    listener: TcpListener,
    token: String,
}

impl Handover {
    /// Listens, and says where in `directory`.
    pub(crate) async fn open(directory: &Path) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let token = format!("{:032x}", rand::random::<u128>());
        let file = directory.join(FILE);
        atomic_file::write(&file, format!("{} {token}\n", listener.local_addr()?.port()).as_bytes())?;
        Ok(Self { file, listener, token })
    }

    /// Passes links on to the engine, one connection at a time, for as long as it runs.
    pub(crate) async fn run(self, commands: mpsc::Sender<Command>) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match timeout(PATIENCE, self.take(stream)).await {
                    Ok(Ok(Some(link))) => {
                        if commands.send(Command::OpenLink(link)).await.is_err() {
                            return;
                        }
                    }
                    Ok(Ok(None)) => tracing::debug!("somebody without the token wanted to hand a link over"),
                    Ok(Err(error)) => tracing::debug!(%error, "a link was not handed over"),
                    Err(_) => tracing::debug!("somebody connected and said nothing"),
                },
                Err(error) => {
                    tracing::warn!(%error, "links can't be handed over");
                    tokio::time::sleep(PATIENCE).await;
                }
            }
        }
    }

    async fn take(&self, mut stream: AsyncTcpStream) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        let most = TOKEN_BYTES + MAX_LINK_BYTES + 2;
        while !line.ends_with(b"\n") && line.len() < most {
            let mut byte = [0; 512];
            match stream.read(&mut byte).await? {
                0 => break,
                count => line.extend_from_slice(&byte[..count]),
            }
        }
        let line = String::from_utf8_lossy(&line);
        match line.trim_end().split_once(' ') {
            Some((token, link)) if token == self.token && line.len() <= most => {
                stream.write_all(b"ok\n").await?;
                Ok(Some(link.to_owned()))
            }
            Some(_) | None => Ok(None),
        }
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        // A leftover does no harm: nobody listens there.
        let _ = fs::remove_file(&self.file);
    }
}

/// Hands a link to the Parlor that runs with `directory`.
pub(crate) fn send(directory: &Path, link: &str) -> io::Result<()> {
    let file = fs::read_to_string(directory.join(FILE))?;
    let (port, token) = file.trim_end().split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
    let port = port.parse::<u16>().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // A link has no line breaks; whatever has is no link.
    let link: String = link.split(char::is_control).collect();
    stream.write_all(format!("{token} {link}\n").as_bytes())?;
    let mut answer = String::new();
    io::BufReader::new(stream.take(16)).read_line(&mut answer)?;
    if answer == "ok\n" { Ok(()) } else { Err(io::Error::other("the running Parlor did not take the link")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_link_is_handed_over_and_only_with_the_token() {
        let directory = tempfile::tempdir().unwrap();
        let handover = Handover::open(directory.path()).await.unwrap();
        let port = handover.listener.local_addr().unwrap().port();
        let (commands, mut received) = mpsc::channel(4);
        let running = tokio::spawn(handover.run(commands));
        let home = directory.path().to_owned();
        let result = tokio::task::spawn_blocking(move || {
            let mut thief = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            thief.write_all(b"00000000000000000000000000000000 parlor:node\n").unwrap();
            let mut answer = String::new();
            thief.read_to_string(&mut answer).unwrap();
            assert_eq!(answer, "");
            send(&home, "parlor:room?name=Chess")
        });
        result.await.unwrap().unwrap();
        assert_eq!(received.recv().await, Some(Command::OpenLink("parlor:room?name=Chess".to_owned())));
        assert!(received.try_recv().is_err(), "the thief's link was not taken");
        running.abort();
        let _ = running.await;
        assert!(!directory.path().join(FILE).exists(), "nothing is left behind");
    }

    #[tokio::test]
    async fn a_line_without_end_is_cut_off() {
        let directory = tempfile::tempdir().unwrap();
        let handover = Handover::open(directory.path()).await.unwrap();
        let address = handover.listener.local_addr().unwrap();
        let flood = tokio::spawn(async move {
            let mut stream = AsyncTcpStream::connect(address).await.unwrap();
            while stream.write_all(&[b'x'; 1024]).await.is_ok() {}
        });
        let (stream, _) = handover.listener.accept().await.unwrap();
        assert_eq!(handover.take(stream).await.unwrap(), None);
        flood.await.unwrap();
    }

    #[test]
    fn where_nobody_listens_the_failure_is_told() {
        let directory = tempfile::tempdir().unwrap();
        assert!(send(directory.path(), "parlor:node").is_err());
        fs::write(directory.path().join(FILE), "nonsense").unwrap();
        assert!(send(directory.path(), "parlor:node").is_err());
    }
}
