//! The processes that are measured.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};
use libp2p::Multiaddr;
use parlor_tests::{parlor_node, usage::Usage};
use serde_json::Value;

/// A running node. Killed when dropped.
pub(crate) struct Node {
    child: Child,
    pub(crate) address: Multiaddr,
}

impl Node {
    /// Starts a node on loopback that takes everybody from there.
    pub(crate) fn start(data: &Path, listen: &str) -> Result<Self> {
        let mut command = Command::new(parlor_node());
        command.args(["--json", "--no-metrics", "--turn-port", "0", "--listen", listen]);
        command.args(["--max-users", "20000", "--max-connections-per-address", "30000", "--turn-kbps", "20000"]);
        command.arg("--data-dir").arg(data).env("MALLOC_ARENA_MAX", "2");
        let mut child = command.stdout(Stdio::piped()).spawn().context("parlor-node is not built")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line).context("the node did not start")?;
        let address = ready["addresses"][0].as_str().context("an address")?.parse()?;
        Ok(Self { child, address })
    }

    pub(crate) fn usage(&self) -> Usage {
        Usage::of(self.child.id())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// As many open files as the system allows.
pub(crate) fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let _best_effort = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
