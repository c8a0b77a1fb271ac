//! What the headless app reads: one JSON object a line.

use std::io::BufRead as _;

use parlor_media::{AudioSink, AudioSource, ScreenSource, VideoSource};
use parlor_net::signalling::CallKind;
use serde::Deserialize;
use tokio::sync::mpsc;

/// One line of input.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Line {
    /// Call somebody who is online, by name or key.
    Call {
        /// Name or key.
        peer: String,
        /// With a picture (when not said) or without.
        kind: Option<CallKind>,
    },
    /// Accept the invitation that rings.
    Accept,
    /// Decline the invitation that rings.
    Decline,
    /// Leave the call, or take the invitation back.
    Hangup,
    /// The own camera on or off.
    Camera {
        /// On.
        on: bool,
    },
    /// The own microphone on or off.
    Microphone {
        /// On.
        on: bool,
    },
    /// Share a screen or window.
    Share {
        /// `screen`, `screen:NAME`, `window:0xID` or `file:CLIP.y4m`.
        source: ScreenSource,
    },
    /// Share nothing any more.
    StopSharing,
    /// Tell which screens and windows can be shared.
    ListScreens,
    /// Use other devices from now on, in this call too; those that are named.
    Use {
        /// As `--camera`.
        camera: Option<VideoSource>,
        /// As `--mic`.
        mic: Option<AudioSource>,
        /// As `--speaker`.
        speaker: Option<AudioSink>,
    },
    /// Take another name.
    Name {
        /// The name.
        name: String,
    },
    /// Quit.
    Quit,
}

const MAX_WAITING_LINES: usize = 64;

/// Reads stdin on a thread of its own until it ends. Nothing can interrupt a read of a terminal: the thread ends with
/// the process.
pub(super) fn read_stdin() -> mpsc::Receiver<Result<Line, String>> {
    let (lines_in, lines) = mpsc::channel(MAX_WAITING_LINES);
    let reader = std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if !line.trim().is_empty() && lines_in.blocking_send(parse(&line)).is_err() {
                return;
            }
        }
    });
    if let Err(error) = reader {
        tracing::warn!(%error, "no thread to read stdin: commands are not taken");
    }
    lines
}

fn parse(line: &str) -> Result<Line, String> {
    serde_json::from_str(line).map_err(|error| format!("input not understood: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_commands() {
        assert_eq!(parse(r#"{"do":"call","peer":"Ada"}"#), Ok(Line::Call { peer: "Ada".to_owned(), kind: None }));
        assert_eq!(parse(r#"{"do":"camera","on":false}"#), Ok(Line::Camera { on: false }));
        assert_eq!(parse(r#"{"do":"quit"}"#), Ok(Line::Quit));
        let window = Line::Share { source: ScreenSource::Window(0x1c) };
        assert_eq!(parse(r#"{"do":"share","source":"window:0x1c"}"#), Ok(window));
        assert_eq!(parse(r#"{"do":"stop_sharing"}"#), Ok(Line::StopSharing));
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        for wrong in
            ["", "{}", "[1]", r#"{"do":"dance"}"#, r#"{"do":"camera"}"#, r#"{"do":"camera","on":true,"now":true}"#]
        {
            assert!(parse(wrong).unwrap_err().starts_with("input not understood: "), "{wrong}");
        }
    }
}
