//! What keeps our picture from being better: pure.

use parlor_media::{Limit as Sender, Stats};

/// Which limit is at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Not known yet.
    Unknown,
    /// None: the picture is as good as Parlor makes it.
    None,
    /// The network between us.
    Network,
    /// This computer.
    Cpu,
    /// No picture is sent, and the network is enough for the voice.
    VoiceAlone,
}

/// For a voice alone: loss from which on it needs repair, and the delay from which on talk suffers (ITU-T G.114).
const LOSS: f32 = 0.05;
const RTT_MS: f32 = 300.0;

/// Judges what the newest figures say. `picture`: the own camera is on.
pub fn limit(stats: &Stats, picture: bool) -> Limit {
    let sent = &stats.video_send;
    if stats.send_bps == 0 && stats.rtt_ms.is_none() {
        return Limit::Unknown;
    }
    if !picture {
        let network = stats.send_loss > LOSS || stats.rtt_ms.is_some_and(|rtt| rtt > RTT_MS);
        return if network { Limit::Network } else { Limit::VoiceAlone };
    }
    match sent.limit {
        _ if sent.frames == 0 => Limit::Unknown,
        Sender::None => Limit::None,
        Sender::Network => Limit::Network,
        Sender::Cpu => Limit::Cpu,
    }
}

#[cfg(test)]
mod tests {
    use parlor_media::VideoSendStats;

    use super::*;

    fn sending(limit: Sender) -> Stats {
        let video_send = VideoSendStats { frames: 900, limit, ..VideoSendStats::default() };
        Stats { send_bps: 2_000_000, rtt_ms: Some(20.0), video_send, ..Stats::default() }
    }

    #[test]
    fn the_sender_of_the_picture_knows_what_limits_it() {
        assert_eq!(limit(&sending(Sender::None), true), Limit::None);
        assert_eq!(limit(&sending(Sender::Network), true), Limit::Network);
        assert_eq!(limit(&sending(Sender::Cpu), true), Limit::Cpu);
        assert_eq!(limit(&Stats::default(), true), Limit::Unknown);
    }

    #[test]
    fn without_a_picture_there_is_little_to_limit() {
        let voice = sending(Sender::None);
        assert_eq!(limit(&voice, false), Limit::VoiceAlone);
        assert_eq!(limit(&Stats { send_loss: 0.2, ..voice.clone() }, false), Limit::Network);
        assert_eq!(limit(&Stats { rtt_ms: Some(700.0), ..voice }, false), Limit::Network);
    }
}
