//! `/metrics` in the OpenMetrics text format, and `/health`, for whoever runs the node. Figures only: nobody's name,
//! key or address.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{NodeHandle, NodeStats};

/// How many may ask at a time. Others wait.
const MAX_CONNECTIONS: usize = 16;

/// How long a request may take to come in.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The running server. It stops when dropped.
#[derive(Debug)]
pub struct MetricsServer {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl MetricsServer {
    /// Starts to serve the figures of a node, on the current tokio runtime.
    pub async fn start(address: SocketAddr, node: &NodeHandle) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, node.stats()));
        Ok(Self { address, _tasks: tasks })
    }

    /// Where.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve(listener: TcpListener, stats: watch::Receiver<NodeStats>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a request for metrics was not accepted");
                // Out of file descriptors, as a rule.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        let stats = stats.clone();
        connections.spawn(async move {
            let _place = place;
            let answer = service_fn(|request: Request<Incoming>| {
                let answer = answer(request.method(), request.uri().path(), &stats);
                async { Ok::<_, Infallible>(answer) }
            });
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).keep_alive(false);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), answer).await {
                tracing::debug!(%error, "a request for metrics failed");
            }
        });
    }
}

fn answer(method: &Method, path: &str, stats: &watch::Receiver<NodeStats>) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (method, path) {
        (&Method::GET, "/metrics") => (StatusCode::OK, OPEN_METRICS, text(*stats.borrow())),
        // The event loop publishes until it ends.
        (&Method::GET, "/health") if stats.has_changed().is_ok() => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
        (&Method::GET, "/health") => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", "stopped\n".to_owned()),
        (&Method::GET, _) => (StatusCode::NOT_FOUND, "text/plain", "/metrics or /health\n".to_owned()),
        _ => (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}

fn text(stats: NodeStats) -> String {
    let mut registry = Registry::with_prefix("parlor_node");
    registry.register_collector(Box::new(Figures(stats)));
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Figures(NodeStats);

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let stats = self.0;
        let gauges = [
            ("connections", "Connections", stats.connections),
            ("clients", "Directory streams", stats.clients),
            ("users", "People online", stats.users),
            ("nodes", "Other nodes that are known and there", stats.nodes),
            ("places", "Lobby and rooms with somebody in them", stats.places),
            ("watches", "Watches of all people together", stats.watches),
            ("turn_allocations", "Relayed addresses for media", stats.turn_allocations),
            ("mapped_ports", "Ports that the router forwards", stats.mapped_ports),
            ("addresses_reached", "Addresses at which other nodes have reached us", stats.addresses_reached),
            ("addresses_not_reached", "Addresses at which they have not", stats.addresses_not_reached),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let counters = [
            ("sign_ons", "People who came online", stats.sign_ons),
            ("left", "People who left on purpose", stats.left),
            ("lost", "People who were lost", stats.lost),
            ("refused_requests", "Directory requests that were refused", stats.refused),
            ("frames", "Directory frames given to clients", stats.frames),
            ("slow_clients", "Clients that were let go since they did not read", stats.slow),
            ("reservations", "Relay reservations for signalling", stats.reservations),
            ("circuits", "Relayed signalling connections", stats.circuits),
            ("turn_relayed_bytes", "Media that was relayed", stats.turn_bytes),
            ("turn_relayed_packets", "Packets of media that were relayed", stats.turn_packets),
            ("turn_dropped_packets", "Packets of media over a person's bandwidth", stats.turn_over_limit),
            ("turn_refused_requests", "Requests for relayed media that were refused", stats.turn_refused),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_in_the_format_that_prometheus_reads() {
        let text = text(NodeStats { users: 7, sign_ons: 9, ..NodeStats::default() });
        assert!(text.contains("# TYPE parlor_node_users gauge\nparlor_node_users 7\n"), "{text}");
        assert!(text.contains("# TYPE parlor_node_sign_ons counter\nparlor_node_sign_ons_total 9\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn health_tells_a_running_node_from_one_that_has_stopped() {
        let (publish, stats) = watch::channel(NodeStats::default());
        assert_eq!(answer(&Method::GET, "/health", &stats).status(), StatusCode::OK);
        assert_eq!(answer(&Method::GET, "/secrets", &stats).status(), StatusCode::NOT_FOUND);
        assert_eq!(answer(&Method::POST, "/metrics", &stats).status(), StatusCode::METHOD_NOT_ALLOWED);
        drop(publish);
        assert_eq!(answer(&Method::GET, "/health", &stats).status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
