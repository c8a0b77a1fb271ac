//! A home's router that forwards ports on request (UPnP), or behaves badly.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use crate::{Home, SOON, binary};

/// How a router behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// It does what it is asked.
    Good,
    /// It forwards for ever only, as old ones do.
    Permanent,
    /// It forwards TCP port 4001 to another machine already.
    Conflict,
    /// It refuses everything.
    Refusing,
    /// What it says makes no sense.
    Garbage,
    /// It never answers a request.
    Mute,
    /// Its answers never end.
    Endless,
}

impl Manners {
    const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Permanent => "permanent",
            Self::Conflict => "conflict",
            Self::Refusing => "refusing",
            Self::Garbage => "garbage",
            Self::Mute => "mute",
            Self::Endless => "endless",
        }
    }
}

/// The UPnP side of a home's router: the program `igd` there. Gone when dropped.
#[derive(Debug)]
pub struct UpnpRouter {
    process: Child,
    done: Receiver<String>,
}

impl UpnpRouter {
    /// Switches it on.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn switch_on(home: &Home, manners: Manners) -> Self {
        let mut command: Command = home.router.command(binary::helper("igd"));
        command.args([home.gateway(), home.public_address(), manners.name()]);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("the router starts");
        let lines = BufReader::new(process.stdout.take().expect("stdout is piped")).lines();
        let (tell, done) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| tell.send(line)));
        let router = Self { process, done };
        assert_eq!(router.next(), "ready");
        router
    }

    /// The next thing that it has done, such as `add TCP 4001` and `delete UDP 3478`.
    ///
    /// # Panics
    /// When it does nothing within [`SOON`].
    #[must_use]
    pub fn next(&self) -> String {
        self.done.recv_timeout(SOON).expect("the router does something")
    }
}

impl Drop for UpnpRouter {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _reaped = self.process.wait();
    }
}
