//! Talks to a router: bounded in time and in size, whatever is at the other end.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use futures::{StreamExt, future::select_ok, stream::FuturesUnordered};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request,
    body::Bytes,
    client::conn::http1,
    header::{CONNECTION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::{
    net::{TcpStream, UdpSocket},
    time::{Instant, sleep_until, timeout},
};

use super::igd::{self, Action, Place, Refused, Service};

/// How long routers have to answer, and how often they are asked: datagrams get lost.
const SEARCH_WITHIN: Duration = Duration::from_secs(4);
const ASK_EVERY: Duration = Duration::from_millis(900);

/// How long one request may take.
const REQUEST_WITHIN: Duration = Duration::from_secs(3);

/// The longest description or answer, and the longest head of one.
const MAX_DOCUMENT_BYTES: usize = 128 * 1024;
const MAX_HEAD_BYTES: usize = 16 * 1024;

/// Of how many that answer the description is read.
const MAX_DESCRIPTIONS: usize = 8;

/// How far the question goes, in hops (UPnP Device Architecture 1.1, section 1.3.2).
const HOPS: u32 = 2;

/// A router that forwards ports, and our address on its side.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    service: Service,
    pub(super) local: Ipv4Addr,
}

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Network(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is too long, or breaks off")]
    Body,
    #[error("no answer in time")]
    Silent,
    #[error("no router that forwards ports")]
    NoRouter,
    #[error("the router says no: {0:?}")]
    Refused(Refused),
    #[error("the request can't be written: {0}")]
    Request(#[from] hyper::http::Error),
}

impl Gateway {
    /// The first router that answers on one of these addresses' networks.
    pub(super) async fn find(locals: &[Ipv4Addr]) -> Result<Self, Trouble> {
        if locals.is_empty() {
            return Err(Trouble::NoRouter);
        }
        let searches = locals.iter().map(|local| Box::pin(search(*local)));
        select_ok(searches).await.map(|(gateway, _)| gateway)
    }

    /// The address of its outside.
    pub(super) async fn external(&self) -> Result<Ipv4Addr, Trouble> {
        let answer = self.ask(Action::ExternalAddress).await?;
        igd::external_address(&answer).ok_or(Trouble::Refused(Refused::Garbage))
    }

    /// Has it do something.
    pub(super) async fn ask(&self, action: Action) -> Result<String, Trouble> {
        let (header, body) = action.request(&self.service);
        let control = &self.service.control;
        let request = Request::post(&control.path)
            .header(HOST, control.at.to_string())
            .header(CONTENT_TYPE, "text/xml; charset=\"utf-8\"")
            .header("SOAPAction", header)
            .header(CONNECTION, "close")
            .body(Full::new(Bytes::from(body)))?;
        let answer = exchange(control, request).await?;
        action.outcome(&answer).map_err(Trouble::Refused)?;
        Ok(answer)
    }
}

async fn search(local: Ipv4Addr) -> Result<Gateway, Trouble> {
    let socket = UdpSocket::bind((local, 0)).await?;
    let options = SockRef::from(&socket);
    options.set_multicast_if_v4(&local)?;
    options.set_multicast_ttl_v4(HOPS)?;
    let deadline = Instant::now() + SEARCH_WITHIN;
    let mut ask = tokio::time::interval(ASK_EVERY);
    let mut seen: Vec<Place> = Vec::new();
    let mut descriptions = FuturesUnordered::new();
    let mut buffer = [0; 2048];
    loop {
        tokio::select! {
            _ = ask.tick() => {
                for question in igd::searches() {
                    socket.send_to(question.as_bytes(), SocketAddr::from(igd::MULTICAST)).await?;
                }
            }
            received = socket.recv_from(&mut buffer) => {
                // An error is of a question that could not be delivered.
                let Ok((n, from)) = received else { continue };
                if let Some(place) = igd::description_of(&buffer[..n], from)
                    && seen.len() < MAX_DESCRIPTIONS
                    && !seen.contains(&place)
                {
                    seen.push(place.clone());
                    descriptions.push(describe(place));
                }
            }
            Some(described) = descriptions.next() => match described {
                Ok(service) => return Ok(Gateway { service, local }),
                Err(error) => tracing::debug!(%error, "a router's description is of no use"),
            },
            () = sleep_until(deadline) => return Err(Trouble::NoRouter),
        }
    }
}

async fn describe(place: Place) -> Result<Service, Trouble> {
    let request = Request::get(&place.path)
        .header(HOST, place.at.to_string())
        .header(CONNECTION, "close")
        .body(Full::default())?;
    let description = exchange(&place, request).await?;
    igd::service(&description, &place).ok_or(Trouble::NoRouter)
}

/// One request, one answer, whatever its status: refusals come with an error's.
async fn exchange(place: &Place, request: Request<Full<Bytes>>) -> Result<String, Trouble> {
    let exchange = async {
        let stream = TcpStream::connect(place.at).await?;
        let mut http = http1::Builder::new();
        let (mut sender, connection) = http.max_buf_size(MAX_HEAD_BYTES).handshake(TokioIo::new(stream)).await?;
        let answer = async move {
            let body = sender.send_request(request).await?.into_body();
            let body = Limited::new(body, MAX_DOCUMENT_BYTES).collect().await.map_err(|_| Trouble::Body)?;
            Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
        };
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // What has come in by then is still to be read.
            _ = connection => answer.await,
        }
    };
    timeout(REQUEST_WITHIN, exchange).await.map_err(|_| Trouble::Silent)?
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    /// Something that answers every request with `parts`, and stays connected.
    async fn at_the_other_end(parts: Vec<u8>, endless: bool) -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let std::net::SocketAddr::V4(at) = listener.local_addr().unwrap() else { unreachable!() };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let parts = parts.clone();
                tokio::spawn(async move {
                    let mut request = [0; 4096];
                    let _ = stream.read(&mut request).await;
                    while stream.write_all(&parts).await.is_ok() && endless {}
                    std::future::pending::<()>().await;
                });
            }
        });
        Place { at, path: "/root.xml".into() }
    }

    fn answer(body: &str) -> Vec<u8> {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[tokio::test]
    async fn a_description_is_read_and_one_of_something_else_is_not() {
        let igd = "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
                   <controlURL>/ctl</controlURL></service>";
        let place = at_the_other_end(answer(igd), false).await;
        assert_eq!(describe(place.clone()).await.unwrap().control, Place { path: "/ctl".into(), ..place });
        let chunked =
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{igd}\r\n0\r\n\r\n", igd.len());
        assert!(describe(at_the_other_end(chunked.into_bytes(), false).await).await.is_ok());
        for other in ["", "<html>no router</html>", "\u{0}\u{1}"] {
            let outcome = describe(at_the_other_end(answer(other), false).await).await;
            assert!(matches!(outcome, Err(Trouble::NoRouter)), "{outcome:?}");
        }
    }

    #[tokio::test]
    async fn garbage_endless_answers_and_silence_end_in_time() {
        let endless = b"HTTP/1.1 200 OK\r\n\r\n<service>".to_vec();
        let outcome = describe(at_the_other_end(endless, true).await).await;
        assert!(matches!(outcome, Err(Trouble::Body)), "{outcome:?}");
        let head = b"HTTP/1.1 200 OK\r\nX: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nY: ".to_vec();
        let outcome = describe(at_the_other_end(head, true).await).await;
        assert!(matches!(outcome, Err(Trouble::Http(_))), "{outcome:?}");
        let outcome = describe(at_the_other_end(b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(), false).await).await;
        assert!(matches!(outcome, Err(Trouble::Http(_))), "{outcome:?}");
        let mute = describe(at_the_other_end(Vec::new(), false).await);
        let start = Instant::now();
        assert!(matches!(mute.await, Err(Trouble::Silent)));
        assert!(start.elapsed() < REQUEST_WITHIN + Duration::from_secs(2));
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let SocketAddr::V4(at) = gone else { unreachable!() };
        assert!(matches!(describe(Place { at, path: "/".into() }).await, Err(Trouble::Network(_))));
    }

    #[tokio::test]
    async fn where_no_router_answers_the_search_ends() {
        let start = Instant::now();
        assert!(Gateway::find(&[Ipv4Addr::LOCALHOST]).await.is_err());
        assert!(start.elapsed() < SEARCH_WITHIN + Duration::from_secs(2));
        assert!(matches!(Gateway::find(&[]).await, Err(Trouble::NoRouter)));
    }
}
