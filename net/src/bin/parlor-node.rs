//! A rendezvous node: people find each other through it, and it relays where they can't connect directly.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use parlor_net::{
    Error, identity,
    node::{self, MetricsServer, NodeHandle, Options, OptionsError, Outside, PortMapping, greeting},
};
use serde_json::json;
use tracing_subscriber::EnvFilter;

/// Our own notes; of the libraries errors alone, for they name addresses.
const LOG: &str = "error,parlor_net=info,parlor_node=info";

/// File descriptors that are used for other things than connections and relayed addresses.
const SPARE_FILES: u64 = 256;

/// Why the node does not run.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error(transparent)]
    Node(#[from] Error),
    #[error("cannot serve metrics on {address}: {source}; choose another address with --metrics, or use --no-metrics")]
    Metrics { address: std::net::SocketAddr, source: io::Error },
    #[error("cannot start: {0}")]
    Runtime(#[source] io::Error),
    #[error("cannot print the node's address: {0}")]
    Print(#[source] io::Error),
}

fn main() -> ExitCode {
    let options = Options::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            #[expect(clippy::print_stderr, reason = "the person at the terminal is told why the node ends")]
            {
                eprintln!("parlor-node: {error}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Failure> {
    let options = options.with_file()?;
    let keypair = identity::load_or_create(&options.identity_file()?)?.keypair;
    let mut config = options.node(keypair)?;
    let allocations = config.turn.as_ref().map_or(0, |turn| turn.allocations);
    let wanted = u64::from(config.limits.connections) + u64::from(allocations) + SPARE_FILES;
    let files = raise_file_limit(wanted);
    if files < wanted {
        let connections = files.saturating_sub(u64::from(allocations) + SPARE_FILES).max(64);
        config.limits.connections = u32::try_from(connections).unwrap_or(u32::MAX);
        tracing::warn!(files, connections, "the system allows few open files: raise LimitNOFILE or ulimit -n");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::Runtime)?;
    runtime.block_on(serve(&options, config))
}

async fn serve(options: &Options, config: node::NodeConfig) -> Result<(), Failure> {
    let node = node::spawn(config).await?;
    let metrics = match options.metrics() {
        Some(address) => {
            let server = MetricsServer::start(address, &node).await;
            Some(server.map_err(|source| Failure::Metrics { address, source })?)
        }
        None => None,
    };
    print(options, &node, metrics.as_ref()).map_err(Failure::Print)?;
    tracing::info!(node = %node.peer(), name = options.name, "ready");
    let why = {
        let stop = stop_signal();
        tokio::pin!(stop);
        let mut outside = node.outside();
        let mut known = outside.borrow_and_update().addresses.clone();
        loop {
            tokio::select! {
                why = &mut stop => break why.map_err(Failure::Runtime)?,
                Ok(()) = outside.changed() => {
                    let now = outside.borrow_and_update().clone();
                    if now.addresses != known {
                        print_move(options, &now).map_err(Failure::Print)?;
                        known = now.addresses;
                    }
                }
            }
        }
    };
    tracing::info!(why, "stopping");
    node.shutdown().await;
    Ok(())
}

/// The router has another address now, or has answered late.
fn print_move(options: &Options, outside: &Outside) -> io::Result<()> {
    let addresses = greeting::worth_giving(&outside.addresses);
    let link = greeting::link(&addresses);
    let mut out = io::stdout().lock();
    if options.json {
        writeln!(out, "{}", json!({ "event": "moved", "addresses": addresses, "link": link }))?;
    } else if options.print_address_only {
        addresses.iter().try_for_each(|address| writeln!(out, "{address}"))?;
    } else {
        writeln!(out, "\nThis node's addresses have changed. From now on people need this link:\n\n  {link}")?;
    }
    out.flush()
}

fn print(options: &Options, node: &NodeHandle, metrics: Option<&MetricsServer>) -> io::Result<()> {
    let outside = node.outside().borrow().clone();
    let addresses = greeting::worth_giving(&outside.addresses);
    let link = greeting::link(&addresses);
    let mut out = io::stdout().lock();
    if options.json {
        let ready = json!({
            "event": "ready", "peer": node.peer(), "name": options.name, "addresses": addresses, "link": link,
            "metrics": metrics.map(MetricsServer::address),
            "mapped_ports": outside.mapping.as_ref().map(PortMapping::ports),
        });
        writeln!(out, "{ready}")?;
        return out.flush();
    }
    if !options.print_address_only {
        writeln!(out, "This rendezvous node is ready. Give people this link; they add it in Settings:\n\n  {link}\n")?;
        if io::stdout().is_terminal()
            && let Some(code) = greeting::qr_code(&link)
        {
            writeln!(out, "{code}\n")?;
        }
        writeln!(out, "Its addresses:")?;
    }
    let indent = if options.print_address_only { "" } else { "  " };
    for address in &addresses {
        writeln!(out, "{indent}{address}")?;
    }
    if let Some(mapping) = &outside.mapping
        && !options.print_address_only
    {
        writeln!(out, "\n{}", greeting::about_router(mapping))?;
    } else if !options.print_address_only && !greeting::is_public(&addresses) {
        writeln!(
            out,
            "\nThese can be reached from this network only. If a router or a cloud forwards a public address to this \
             machine,\nsay so with --public-ip, and let the ports through (TCP and UDP; --help has them). At home, \
             --map-ports asks the router."
        )?;
    }
    out.flush()
}

/// Waits until the node is to stop.
#[cfg(unix)]
async fn stop_signal() -> io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => Ok("interrupted"),
        _ = terminate.recv() => Ok("terminated"),
    }
}

#[cfg(not(unix))]
async fn stop_signal() -> io::Result<&'static str> {
    tokio::signal::ctrl_c().await.map(|()| "interrupted")
}

/// Lets this process have `wanted` open files, if the system allows that. How many it may have.
#[cfg(unix)]
fn raise_file_limit(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(now) = current.filter(|now| *now < wanted) else { return current.unwrap_or(u64::MAX) };
    let most = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum }) {
        Ok(()) => most,
        Err(_) => now,
    }
}

#[cfg(not(unix))]
fn raise_file_limit(wanted: u64) -> u64 {
    wanted
}
