//! Who gets what of the bitrate: the voice first, always; then repairs, and then the pictures: while a screen is shared,
//! most of it, and the camera a small part.

use super::Bitrate;

/// Bitrates of the voice, without headers, the best first. With less than the last the voice can't be understood.
const VOICE: [Bitrate; 3] = [Bitrate::from_bps(32_000), Bitrate::from_bps(24_000), Bitrate::from_bps(16_000)];
/// On a path that loses more than this, packets of the voice repeat those before them (RFC 2198): beside pictures it may
/// take this part of the total, alone nearly all, and at most so much.
const LOSSY: f32 = 0.008;
/// Until the path loses less than this: of a few packets a second it seems to lose none at times.
const LOSSY_NO_MORE: f32 = 0.002;
const COPIES_SHARE: f32 = 0.25;
const COPIES_SHARE_ALONE: f32 = 0.8;
const VOICE_WITH_COPIES: Bitrate = Bitrate::from_bps(160_000);
/// Packets of the voice in a second. A voice without pictures on a path that loses nothing and has so much to give sends
/// twice as many, half as late.
const PACKETS: u32 = 50;
const MANY_PACKETS: u32 = 100;
/// As good in packets of half the length.
const VOICE_IN_MANY: Bitrate = Bitrate::from_bps(48_000);
const PLENTY: Bitrate = Bitrate::from_bps(250_000);
const PLENTY_NO_MORE: Bitrate = Bitrate::from_bps(180_000);
/// On thin paths the headers of so many would cost as much as the voice: there are fewer from the first total down, until
/// there is as much as the second again. Where copies have to fit in, that is sooner.
const FEW_PACKETS: u32 = 25;
const THIN: [Bitrate; 2] = [Bitrate::from_bps(54_000), Bitrate::from_bps(62_000)];
const THIN_AND_LOSSY: [Bitrate; 2] = [Bitrate::from_bps(115_000), Bitrate::from_bps(150_000)];
/// There the best voice takes no more than this part: what else goes over the path comes in bursts, and the fuller the path
/// is, the later the voice behind them.
const BEST_SHARE: f32 = 0.8;
/// Reports and requests of ours take this part.
const REPORTS: f32 = 0.04;
/// A picture with less than this is paused; it goes on when it can have as much as the second.
const LEAST_PICTURE: Bitrate = Bitrate::from_bps(24_000);
const PICTURE_AGAIN: Bitrate = Bitrate::from_bps(36_000);
/// While a screen is shared, the camera's picture gets this part, and what the screen has no use for.
const CAMERA_BESIDE_SCREEN: f32 = 0.2;
/// But so much, if that is not more than a part: a face that stands still is worse than a screen that comes later.
const CAMERA_FLOOR: Bitrate = Bitrate::from_bps(38_000);
const FLOOR_SHARE: f32 = 0.4;
const ENOUGH_FOR_SCREEN: Bitrate = Bitrate::from_bps(3_000_000);
/// How much more there has to be for something better than before.
const HYSTERESIS: f32 = 1.08;
/// Repairs never take more than this part of what the picture and they have.
const MAX_REPAIR: f32 = 0.5;

/// Headers of a packet below the payload: RTP with extensions, SRTP's tag, UDP and IPv4.
pub(crate) const HEADERS: u32 = 70;

/// Who gets what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allocation {
    /// For the voice with all its redundancy: without headers.
    pub(crate) voice: Bitrate,
    /// The voice's packets in a second.
    pub(crate) voice_packets: u32,
    /// For retransmissions and what is sent ahead of losses, with headers.
    pub(crate) repair: Bitrate,
    /// For the picture's encoder; `None`: it pauses.
    pub(crate) picture: Option<Bitrate>,
    /// For the encoder of the shared screen; `None`: it pauses, or nothing is shared.
    pub(crate) screen: Option<Bitrate>,
}

/// What is to be sent, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// There is a picture to send.
    pub(crate) with_picture: bool,
    /// A screen is shared.
    pub(crate) with_screen: bool,
    /// Part of packets that is lost, 0 to 1.
    pub(crate) loss: f32,
    /// What repairs take, as a part of what they repair.
    pub(crate) repair: f32,
}

impl Allocation {
    /// What a call begins with.
    pub(crate) const fn full(picture: Bitrate) -> Self {
        let repair = Bitrate::from_bps(0);
        Self { voice: VOICE[0], voice_packets: PACKETS, repair, picture: Some(picture), screen: None }
    }

    /// Divides the total anew. `self` is how it was divided before.
    pub(crate) fn divide(self, total: Bitrate, demand: Demand) -> Self {
        let loss = if demand.loss.is_finite() { demand.loss.clamp(0.0, MAX_REPAIR) } else { 0.0 };
        let has_copies = self.voice > VOICE[0] && self.voice_packets != MANY_PACKETS;
        let is_lossy = loss > if has_copies { LOSSY_NO_MORE } else { LOSSY };
        let is_alone = !demand.with_picture && !demand.with_screen;
        let [thin, thin_no_more] = if is_lossy { THIN_AND_LOSSY } else { THIN };
        let voice_packets = if total < if self.voice_packets == FEW_PACKETS { thin_no_more } else { thin } {
            FEW_PACKETS
        } else if is_alone
            && !is_lossy
            && total >= if self.voice_packets == MANY_PACKETS { PLENTY_NO_MORE } else { PLENTY }
        {
            MANY_PACKETS
        } else {
            PACKETS
        };
        let total = total.scaled(1.0 - REPORTS);
        let headers = HEADERS * 8 * voice_packets;
        let fits = |voice: &Bitrate| {
            let needed = Bitrate::from_bps(voice.as_bps() + headers);
            let is_tight = voice_packets == FEW_PACKETS && *voice == VOICE[0];
            let needed = if is_tight { needed.scaled(1.0 / BEST_SHARE) } else { needed };
            total >= if *voice > self.voice { needed.scaled(HYSTERESIS) } else { needed }
        };
        let alone = VOICE.into_iter().find(fits).unwrap_or(VOICE[VOICE.len() - 1]);
        let copies = if is_alone {
            total.saturating_sub(Bitrate::from_bps(headers)).scaled(COPIES_SHARE_ALONE)
        } else {
            total.scaled(COPIES_SHARE)
        };
        let voice = match voice_packets {
            MANY_PACKETS => VOICE_IN_MANY,
            _ if is_lossy => alone.max(copies.min(VOICE_WITH_COPIES)),
            _ => alone,
        };
        let rest = total.saturating_sub(Bitrate::from_bps(voice.as_bps() + headers));
        if is_alone {
            return Self { voice, voice_packets, repair: Bitrate::default(), picture: None, screen: None };
        }
        let ratio = if demand.repair.is_finite() { demand.repair.max(loss) } else { loss };
        let repair = rest.scaled((ratio / (1.0 + ratio)).clamp(0.0, MAX_REPAIR));
        let pictures = without_headers(rest.saturating_sub(repair));
        let enough = |part: Bitrate, before: Option<Bitrate>| {
            let least = if before.is_some() { LEAST_PICTURE } else { PICTURE_AGAIN };
            Some(part).filter(|part| *part >= least)
        };
        let (picture, screen) = match (demand.with_picture, demand.with_screen) {
            (true, true) => {
                let floor = CAMERA_FLOOR.min(pictures.scaled(FLOOR_SHARE));
                let part = pictures.scaled(CAMERA_BESIDE_SCREEN).max(floor);
                let part = part.max(pictures.saturating_sub(ENOUGH_FOR_SCREEN));
                let picture = enough(part, self.picture);
                (picture, enough(pictures.saturating_sub(picture.unwrap_or_default()), self.screen))
            }
            (true, false) => (enough(pictures, self.picture), None),
            (false, _) => (None, enough(pictures, self.screen)),
        };
        Self { voice, voice_packets, repair, picture, screen }
    }
}

/// The most bytes of the picture in a packet: small ones on thin paths, where a large one holds up the voice behind it.
pub(crate) fn packet_size(total: Bitrate) -> usize {
    // 30 ms of the path.
    (total.as_bps() as usize * 30 / 8_000).clamp(350, 1_200)
}

fn without_headers(wire: Bitrate) -> Bitrate {
    let payload = packet_size(wire.scaled(1.3)) as f32;
    wire.scaled(payload / (payload + HEADERS as f32))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAMERA: Demand = Demand { with_picture: true, with_screen: false, loss: 0.0, repair: 0.0 };
    const BOTH: Demand = Demand { with_screen: true, ..CAMERA };

    fn of(kbps: u32, demand: Demand) -> Allocation {
        Allocation::full(Bitrate::from_bps(1)).divide(Bitrate::from_bps(kbps * 1_000), demand)
    }

    #[test]
    fn the_voice_comes_first_and_the_picture_yields() {
        let voices = [3_000, 300, 100, 64, 52, 48, 40, 30, 0].map(|kbps| of(kbps, CAMERA).voice.as_bps() / 1_000);
        assert_eq!(voices, [32, 32, 32, 32, 24, 24, 24, 16, 16]);
        assert!(of(3_000, CAMERA).picture.is_some_and(|picture| picture.as_bps() > 2_500_000));
        assert!(of(100, CAMERA).picture.is_some());
        assert_eq!(of(64, CAMERA).picture, None);
    }

    #[test]
    fn nobody_gets_more_than_there_is() {
        for kbps in (40..4_000).step_by(7) {
            for loss in [0.0, 0.1, 0.5, 7.0, -1.0, f32::NAN] {
                let parts = of(kbps, Demand { loss, repair: loss * 2.0, ..CAMERA });
                let picture = parts.picture.unwrap_or_default().as_bps();
                let sum = parts.voice.as_bps() + parts.repair.as_bps() + picture;
                assert!(sum <= (kbps * 1_000).max(16_000), "{kbps} kbit/s: {parts:?}");
                let parts = of(kbps, Demand { loss, ..BOTH });
                let pictures = parts.picture.unwrap_or_default().as_bps() + parts.screen.unwrap_or_default().as_bps();
                let sum = parts.voice.as_bps() + parts.repair.as_bps() + pictures;
                assert!(sum <= (kbps * 1_000).max(16_000), "{kbps} kbit/s with a screen: {parts:?}");
            }
        }
    }

    #[test]
    fn a_shared_screen_gets_most_and_the_camera_yields_before_it() {
        let parts = |kbps| {
            let Allocation { picture, screen, .. } = of(kbps, BOTH);
            [picture, screen].map(|part| part.unwrap_or_default().as_bps() / 1_000)
        };
        let [camera, screen] = parts(1_000);
        assert!((150..220).contains(&camera) && (600..850).contains(&screen), "{camera}, {screen}");
        let [camera, screen] = parts(200);
        assert!((36..=38).contains(&camera) && screen > 60, "{camera}, {screen}");
        let [camera, screen] = parts(120);
        assert!(camera == 0 && screen > 30, "{camera}, {screen}");
        let [camera, screen] = parts(6_000);
        assert!(camera > 2_000 && (2_900..=3_000).contains(&screen), "{camera}, {screen}");
        assert_eq!(parts(64), [0, 0]);
        let alone = of(1_000, Demand { with_picture: false, ..BOTH });
        assert_eq!((alone.picture, alone.screen), (None, of(1_000, CAMERA).picture));
        assert_eq!(of(1_000, BOTH).voice, of(1_000, CAMERA).voice, "the voice loses nothing");
    }

    #[test]
    fn repairs_are_paid_for_by_the_picture() {
        let (clean, lossy) = (of(1_000, CAMERA), of(1_000, Demand { loss: 0.2, ..CAMERA }));
        assert_eq!((clean.voice.as_bps(), lossy.voice.as_bps()), (32_000, 160_000));
        assert!(lossy.picture < clean.picture && lossy.repair.as_bps() > 120_000);
        let copied = of(1_000, Demand { loss: 0.2, repair: 0.6, ..CAMERA });
        assert!(copied.picture < lossy.picture && copied.repair.as_bps() > 280_000);
    }

    #[test]
    fn a_voice_without_pictures_may_repeat_itself_as_often_as_there_is_room() {
        let voice = |kbps, loss| of(kbps, Demand { with_picture: false, loss, ..CAMERA }).voice.as_bps() / 1_000;
        assert_eq!([3_000, 140, 64].map(|kbps| voice(kbps, 0.0)), [48, 32, 32]);
        assert_eq!([3_000, 400, 140, 64].map(|kbps| voice(kbps, 0.2)), [160, 160, 85, 37]);
    }

    #[test]
    fn a_voice_without_pictures_hurries_where_nothing_is_lost_and_bits_are_plenty() {
        let alone = Demand { with_picture: false, ..CAMERA };
        let packets = |kbps, demand| of(kbps, demand).voice_packets;
        assert_eq!([3_000, 200, 80, 50].map(|kbps| packets(kbps, alone)), [100, 50, 50, 25]);
        assert_eq!((packets(3_000, Demand { loss: 0.05, ..alone }), packets(3_000, CAMERA)), (50, 50));
        let hurried = of(300, alone);
        assert_eq!(hurried.divide(Bitrate::from_bps(200_000), alone).voice_packets, 100);
        assert_eq!(hurried.divide(Bitrate::from_bps(170_000), alone).voice_packets, 50);
    }

    #[test]
    fn a_total_that_wavers_changes_nothing_back_and_forth() {
        for around in [70, 80, 115, 130] {
            let mut parts = of(around, CAMERA);
            let mut changes = 0;
            for off in [-4, 4, -5, 5, -6, 4, -4].repeat(5) {
                let next = parts.divide(Bitrate::from_bps((around as i32 + off) as u32 * 1_000), CAMERA);
                let [before, after] = [parts, next].map(|all| (all.picture.is_some(), all.voice, all.voice_packets));
                changes += u32::from(before != after);
                parts = next;
            }
            assert!(changes <= 1, "{around}: {changes}");
        }
    }

    #[test]
    fn a_path_that_seems_to_lose_nothing_for_a_moment_stays_a_lossy_one() {
        let wavers = [0.02, 0.004, 0.03, 0.003, 0.012];
        let mut parts = of(1_000, CAMERA);
        let voices = wavers.map(|loss| {
            parts = parts.divide(Bitrate::from_bps(1_000_000), Demand { loss, ..CAMERA });
            parts.voice.as_bps() / 1_000
        });
        assert_eq!(voices, [160; 5]);
        let clean = parts.divide(Bitrate::from_bps(1_000_000), CAMERA);
        assert_eq!(clean.voice.as_bps(), 32_000);
        assert_eq!(clean.divide(Bitrate::from_bps(1_000_000), Demand { loss: 0.004, ..CAMERA }).voice, clean.voice);
    }

    #[test]
    fn packets_on_thin_paths_are_small() {
        assert_eq!(packet_size(Bitrate::from_bps(2_000_000)), 1_200);
        assert_eq!(packet_size(Bitrate::from_bps(100_000)), 375);
        assert_eq!(packet_size(Bitrate::from_bps(0)), 350);
    }
}
