//! What keeps our picture from being better: pure.

use parlor_media::Stats;

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

/// What a picture of 1280 x 720 gets on an open network, bits per second; others in proportion.
const WISHED_BPS: f32 = 2_500_000.0;
const REFERENCE_PIXELS: f32 = 1280.0 * 720.0;
/// Less of what it would like is a picture that is held back. A call begins with more.
const ENOUGH: f32 = 0.55;
/// Loss from which on part of the bitrate goes into repair, and delays are ITU-T G.114's limit for talk.
const LOSS: f32 = 0.05;
const RTT_MS: f32 = 300.0;
/// Encoding takes so much of the time that there is: 1.0 would be one core all the time.
const BUSY: f32 = 0.7;
const FULL_FPS: f32 = 30.0;

/// Judges what the newest figures say. `picture`: the own camera is on.
pub fn limit(stats: &Stats, picture: bool) -> Limit {
    let sent = &stats.video_send;
    if stats.send_bps == 0 && stats.rtt_ms.is_none() {
        return Limit::Unknown;
    }
    let network = stats.send_loss > LOSS || stats.rtt_ms.is_some_and(|rtt| rtt > RTT_MS);
    if !picture {
        return if network { Limit::Network } else { Limit::VoiceAlone };
    }
    if sent.frames == 0 {
        return Limit::Unknown;
    }
    // A slow encoder lowers the frame rate, so that the share of time alone would look harmless.
    let busy = sent.encode_ms * sent.fps.max(FULL_FPS) / 1_000.0;
    let wished = WISHED_BPS * (sent.width as f32 * sent.height as f32 / REFERENCE_PIXELS);
    if busy > BUSY {
        Limit::Cpu
    } else if network || (sent.target_bps as f32) < ENOUGH * wished {
        Limit::Network
    } else {
        Limit::None
    }
}

#[cfg(test)]
mod tests {
    use parlor_media::VideoSendStats;

    use super::*;

    fn fine() -> Stats {
        let video_send = VideoSendStats {
            fps: 30.0,
            width: 1280,
            height: 720,
            codec: "H264",
            target_bps: 2_000_000,
            frames: 900,
            key_frames: 1,
            encode_ms: 5.0,
        };
        Stats { send_bps: 2_000_000, rtt_ms: Some(20.0), video_send, ..Stats::default() }
    }

    #[test]
    fn an_open_network_and_a_fast_computer_are_no_limit() {
        assert_eq!(limit(&fine(), true), Limit::None);
        assert_eq!(limit(&Stats::default(), true), Limit::Unknown);
    }

    #[test]
    fn loss_delay_and_a_low_bitrate_are_the_network() {
        assert_eq!(limit(&Stats { send_loss: 0.1, ..fine() }, true), Limit::Network);
        assert_eq!(limit(&Stats { rtt_ms: Some(700.0), ..fine() }, true), Limit::Network);
        let mut slow = fine();
        slow.video_send.target_bps = 400_000;
        assert_eq!(limit(&slow, true), Limit::Network);
    }

    #[test]
    fn a_slow_encoder_is_the_computer_even_when_it_drops_frames() {
        let mut slow = fine();
        (slow.video_send.encode_ms, slow.video_send.fps) = (60.0, 12.0);
        assert_eq!(limit(&slow, true), Limit::Cpu);
    }

    #[test]
    fn without_a_picture_there_is_little_to_limit() {
        assert_eq!(limit(&fine(), false), Limit::VoiceAlone);
        assert_eq!(limit(&Stats { send_loss: 0.2, ..fine() }, false), Limit::Network);
    }
}
