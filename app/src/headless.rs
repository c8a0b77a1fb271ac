//! The same engine without a window: for automation, kiosks, tests and measurements. Prints one JSON object a line on
//! stdout and takes commands as JSON lines on stdin. The README describes both: they are a public interface.

mod event;
mod input;

use std::{
    future::pending,
    io::Write as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use parlor_media::DeviceChoice;
use parlor_net::{CallId, PeerId, signalling::CallKind};
use serde::Serialize;
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until},
};

use event::Event;
use input::Line;

use crate::{
    cli::{AcceptPolicy, Callee, Headless},
    engine::{CallView, Command, EngineLink, Notice, Presence, Snapshot},
    process, shutdown,
};

/// Runs until `--duration` is over, a signal or a `quit` line comes, or the engine stops.
///
/// # Errors
/// When stdout is closed.
pub async fn run(args: &Headless, link: EngineLink) -> anyhow::Result<()> {
    Script::new(args, link).run().await
}

struct Script<'a> {
    args: &'a Headless,
    link: EngineLink,
    /// Whom `--call` names, until they were called.
    wanted: Option<Callee>,
    hang_up_at: Option<Instant>,
}

impl<'a> Script<'a> {
    fn new(args: &'a Headless, link: EngineLink) -> Self {
        Self { args, link, wanted: args.call.clone(), hang_up_at: None }
    }

    async fn run(mut self) -> anyhow::Result<()> {
        let quit_at = self.args.duration.map(|duration| Instant::now() + duration);
        let mut stats = self.args.stats_every.map(ticker);
        let mut lines = input::read_stdin();
        let stop = shutdown::asked();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                notice = self.link.notices.recv() => match notice {
                    Some(notice) => self.on_notice(notice)?,
                    None => break,
                },
                Some(line) = lines.recv() => self.on_line(line)?,
                () = tick(&mut stats) => self.print_stats()?,
                () = at(self.hang_up_at) => {
                    self.hang_up_at = None;
                    self.command(Command::HangUp)?;
                }
                () = at(quit_at) => break,
                () = &mut stop => break,
            }
        }
        self.quit().await
    }

    /// What the engine still has to say while it stops is printed too.
    async fn quit(mut self) -> anyhow::Result<()> {
        let _ = self.link.commands.send(Command::Quit).await;
        while let Some(notice) = self.link.notices.recv().await {
            self.print_notice(notice)?;
        }
        Ok(())
    }

    fn on_notice(&mut self, notice: Notice) -> anyhow::Result<()> {
        let follow_up = match &notice {
            Notice::PeerOnline { peer, name, .. } => self.call_if_wanted(*peer, name),
            Notice::Incoming { peer, .. } => self.accepts(*peer).then_some(Command::Accept),
            Notice::Connected { .. } => {
                let now = Instant::now();
                self.hang_up_at = self.args.hangup_after.map(|after| now + after);
                self.args.share.clone().map(Command::Share)
            }
            Notice::Ended { .. } => {
                self.hang_up_at = None;
                None
            }
            _ => None,
        };
        self.print_notice(notice)?;
        follow_up.map_or(Ok(()), |command| self.command(command))
    }

    fn call_if_wanted(&mut self, peer: PeerId, name: &str) -> Option<Command> {
        let wanted = self.wanted.take_if(|wanted| match wanted {
            Callee::Named(who) => matches(who, peer, name),
            Callee::Linked(link) => link.peer == peer,
        });
        wanted.map(|_| Command::Call { peer, kind: self.args.kind.into() })
    }

    fn accepts(&self, peer: PeerId) -> bool {
        match self.args.accept {
            AcceptPolicy::All => true,
            AcceptPolicy::Contacts => self.args.contact.contains(&peer),
            AcceptPolicy::None | AcceptPolicy::Busy => false,
        }
    }

    fn on_line(&mut self, line: Result<Line, String>) -> anyhow::Result<()> {
        let command = match line {
            Ok(Line::Call { peer, kind }) => match self.find(&peer) {
                Some(peer) => Command::Call { peer, kind: kind.unwrap_or(CallKind::Video) },
                None => return print(&Event::Error { message: format!("{peer:?} is not online") }),
            },
            Ok(Line::Accept) => Command::Accept,
            Ok(Line::Decline) => Command::Decline,
            Ok(Line::Hangup) => Command::HangUp,
            Ok(Line::Camera { on }) => Command::SetCamera(on),
            Ok(Line::Microphone { on }) => Command::SetMicrophone(on),
            Ok(Line::Use { camera, mic, speaker }) => {
                let choices = [
                    camera.map(DeviceChoice::Camera),
                    mic.map(DeviceChoice::Microphone),
                    speaker.map(DeviceChoice::Speaker),
                ];
                for choice in choices.into_iter().flatten() {
                    self.command(Command::UseDevice(choice))?;
                }
                return Ok(());
            }
            Ok(Line::Share { source }) => Command::Share(source),
            Ok(Line::StopSharing) => Command::StopSharing,
            Ok(Line::ListScreens) => Command::ListScreens,
            Ok(Line::Name { name }) => Command::SetName(name),
            Ok(Line::Quit) => Command::Quit,
            Err(message) => return print(&Event::Error { message }),
        };
        self.command(command)
    }

    fn find(&self, who: &str) -> Option<PeerId> {
        let snapshot = self.link.snapshot.borrow();
        let mut online = snapshot.people.iter().filter(|person| person.presence != Presence::Offline);
        online.find(|person| matches(who, person.peer, &person.name)).map(|person| person.peer)
    }

    fn command(&self, command: Command) -> anyhow::Result<()> {
        if let Err(mpsc::error::TrySendError::Full(command)) = self.link.commands.try_send(command) {
            return print(&Event::Error { message: format!("the engine is too busy for {command:?}") });
        }
        Ok(())
    }

    fn print_notice(&self, notice: Notice) -> anyhow::Result<()> {
        let (me, name) = {
            let snapshot = self.link.snapshot.borrow();
            (snapshot.me.peer, snapshot.me.name.clone().unwrap_or_default())
        };
        for mut event in Event::from_notice(notice, me, &name) {
            if let Event::Connected { rtt_ms, .. } = &mut event {
                *rtt_ms = connected_stats(&self.link.snapshot.borrow()).and_then(|(_, stats)| stats.rtt_ms);
            }
            print(&event)?;
        }
        Ok(())
    }

    fn print_stats(&self) -> anyhow::Result<()> {
        let Some((call, stats)) = connected_stats(&self.link.snapshot.borrow()) else { return Ok(()) };
        let usage = process::usage();
        print(&Event::Stats {
            call,
            latency_ms: stats.video_recv.latency_ms,
            cpu_s: usage.map(|usage| usage.cpu_s),
            rss_bytes: usage.map(|usage| usage.rss_bytes),
            stats,
        })
    }
}

fn connected_stats(snapshot: &Snapshot) -> Option<(CallId, Box<parlor_media::Stats>)> {
    match &snapshot.call {
        CallView::Connected { active, stats, .. } => Some((active.call, stats.clone())),
        CallView::Idle
        | CallView::Outgoing { .. }
        | CallView::Incoming { .. }
        | CallView::Connecting(_)
        | CallView::Reconnecting { .. } => None,
    }
}

/// People are named by key or by name.
fn matches(who: &str, peer: PeerId, name: &str) -> bool {
    who == name || who.parse().is_ok_and(|who: PeerId| who == peer)
}

fn print(event: &Event) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Timed<'a> {
        t_ms: u64,
        #[serde(flatten)]
        event: &'a Event,
    }
    let line = serde_json::to_string(&Timed { t_ms: unix_ms(), event }).context("an event is not JSON")?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).context("can't write to stdout")
}

#[expect(clippy::disallowed_methods, reason = "a shell of the program: this is where time comes from")]
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_millis().try_into().unwrap_or(u64::MAX)
}

fn ticker(every: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    ticks
}

async fn tick(interval: &mut Option<Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_found_by_name_and_by_key() {
        let peer = PeerId::random();
        assert!(matches("Ada", peer, "Ada"));
        assert!(matches(&peer.to_string(), peer, "Ada"));
        assert!(!matches("ada", peer, "Ada"));
        assert!(!matches(&PeerId::random().to_string(), peer, "Ada"));
    }
}
