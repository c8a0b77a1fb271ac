//! The figures of the last minute of a call, for plots. Pure and bounded.

use std::collections::VecDeque;

use parlor_media::Stats;

/// What a plot shows: one sample a second.
pub const HISTORY_SECONDS: usize = 60;

/// One second of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Bits per second sent.
    pub send_bps: u32,
    /// Bits per second received.
    pub recv_bps: u32,
    /// Loss of what we send, 0.0 to 1.0.
    pub send_loss: f32,
    /// Loss of what we receive, before repair, 0.0 to 1.0.
    pub recv_loss: f32,
    /// Round-trip time, milliseconds.
    pub rtt_ms: Option<f32>,
    /// Capture to shown, milliseconds.
    pub latency_ms: Option<f32>,
    /// Depth of the voice's jitter buffer, milliseconds.
    pub jitter_buffer_ms: f32,
    /// Own pictures encoded.
    pub send_fps: f32,
    /// The other's pictures shown.
    pub recv_fps: f32,
}

impl From<&Stats> for Sample {
    fn from(stats: &Stats) -> Self {
        Self {
            send_bps: stats.send_bps,
            recv_bps: stats.recv_bps,
            send_loss: stats.send_loss,
            recv_loss: stats.recv_loss,
            rtt_ms: stats.rtt_ms,
            latency_ms: stats.video_recv.latency_ms,
            jitter_buffer_ms: stats.audio_recv.jitter_buffer_ms,
            send_fps: stats.video_send.fps,
            recv_fps: stats.video_recv.fps,
        }
    }
}

/// The last minute, the oldest second first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History(VecDeque<Sample>);

impl History {
    /// Adds a second, and forgets the one that is too old.
    pub fn push(&mut self, sample: Sample) {
        if self.0.len() >= HISTORY_SECONDS {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// The samples, the oldest first.
    pub fn samples(&self) -> impl ExactSizeIterator<Item = &Sample> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_is_kept_in_order_and_no_more() {
        let mut history = History::default();
        for send_bps in 0..100 {
            history.push(Sample { send_bps, ..Sample::default() });
        }
        let kept: Vec<u32> = history.samples().map(|sample| sample.send_bps).collect();
        assert_eq!(kept, (40..100).collect::<Vec<u32>>());
    }

    #[test]
    fn a_sample_is_what_the_figures_say() {
        let mut stats = Stats { send_bps: 1, recv_bps: 2, rtt_ms: Some(3.0), recv_loss: 0.5, ..Stats::default() };
        stats.video_recv.latency_ms = Some(4.0);
        stats.video_send.fps = 30.0;
        let sample = Sample::from(&stats);
        assert_eq!((sample.send_bps, sample.recv_bps, sample.rtt_ms), (1, 2, Some(3.0)));
        assert_eq!((sample.latency_ms, sample.send_fps, sample.recv_loss), (Some(4.0), 30.0, 0.5));
    }
}
