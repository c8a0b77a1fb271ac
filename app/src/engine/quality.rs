use parlor_media::Stats;

use super::Quality;

/// Judges a call as the person in it would. Limits follow ITU-T G.114 (delay) and where speech with in-band FEC
/// becomes disturbed, then hard to follow (loss).
pub(super) fn quality(stats: &Stats) -> Quality {
    if stats.recv_bps == 0 && stats.rtt_ms.is_none() {
        return Quality::Unknown;
    }
    let loss = stats.recv_loss.max(stats.send_loss);
    let rtt_ms = stats.rtt_ms.unwrap_or(0.0);
    let concealed = stats.audio_recv.concealed;
    if loss > 0.15 || rtt_ms > 600.0 || concealed > 0.10 {
        Quality::Poor
    } else if loss > 0.03 || rtt_ms > 250.0 || concealed > 0.02 {
        Quality::Fair
    } else {
        Quality::Good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_follows_the_worst_of_loss_delay_and_concealment() {
        let good = Stats { recv_bps: 1, rtt_ms: Some(20.0), ..Stats::default() };
        assert_eq!(quality(&good), Quality::Good);
        assert_eq!(quality(&Stats::default()), Quality::Unknown);
        assert_eq!(quality(&Stats { send_loss: 0.05, ..good.clone() }), Quality::Fair);
        assert_eq!(quality(&Stats { rtt_ms: Some(700.0), ..good.clone() }), Quality::Poor);
        let mut concealed = good;
        concealed.audio_recv.concealed = 0.2;
        assert_eq!(quality(&concealed), Quality::Poor);
    }
}
