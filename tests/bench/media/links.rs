//! The links on which calls are measured.

use parlor_tests::Impairment;

/// Settling, in seconds: left out of every figure.
pub(crate) const SETTLING_S: u64 = 12;

/// A link between two people, both ways alike.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// For `--only`, and names of files.
    pub(crate) name: &'static str,
    /// Whether there is a picture.
    pub(crate) video: bool,
    /// What the link does from so many seconds of the call on.
    pub(crate) steps: Vec<(u64, Impairment)>,
    /// Length of the call, with settling.
    pub(crate) seconds: u64,
    /// Who else is on the link.
    pub(crate) beside: Beside,
}

/// What shares the bottleneck with the call that is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beside {
    Nothing,
    /// A second call of the same kind between two further hosts.
    Call,
    /// A download by TCP from Bob's side of the link to Ann's, with the kernel's congestion control.
    Download,
}

impl Beside {
    /// For the score.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Call => "call",
            Self::Download => "download",
        }
    }
}

/// All of them, in the order of the table.
pub(crate) fn all() -> Vec<Link> {
    let clean = Impairment::default();
    let far = Impairment { delay_ms: 25, ..clean };
    let losing = |loss_percent| Impairment { loss_percent, ..far };
    let bursts = Impairment { loss_percent: 10.0, mean_burst: 5.0, ..far };
    let narrow = |rate_kbps| Impairment { rate_kbps, queue_ms: 300, ..far };
    let nervous = Impairment { jitter_ms: 40, ..far };
    let nervous_and_losing = Impairment { loss_percent: 10.0, ..nervous };
    let overtaking = Impairment { reorder_percent: 1.0, reorder_ms: 20, ..far };
    let steady = |name, video, impairment| Link {
        name,
        video,
        steps: vec![(0, impairment)],
        seconds: SETTLING_S + 28,
        beside: Beside::Nothing,
    };
    vec![
        steady("clean", true, clean),
        steady("25ms", true, far),
        steady("loss2", true, losing(2.0)),
        steady("loss5", true, losing(5.0)),
        steady("loss10", true, losing(10.0)),
        steady("loss20", true, losing(20.0)),
        steady("loss30", true, losing(30.0)),
        steady("bursts", true, bursts),
        steady("1M", true, narrow(1000)),
        steady("300k", true, narrow(300)),
        steady("100k", true, narrow(100)),
        steady("64k", true, narrow(64)),
        Link {
            name: "step",
            video: true,
            steps: vec![(0, narrow(3000)), (22, narrow(500)), (47, narrow(3000))],
            seconds: 72,
            beside: Beside::Nothing,
        },
        Link {
            name: "detour",
            steps: vec![(0, losing(5.0)), (22, Impairment { delay_ms: 85, ..losing(5.0) })],
            ..steady("", true, far)
        },
        Link { seconds: SETTLING_S + 48, beside: Beside::Call, ..steady("beside-call", true, narrow(3000)) },
        Link { seconds: SETTLING_S + 48, beside: Beside::Download, ..steady("beside-tcp", true, narrow(3000)) },
        steady("jitter", true, nervous),
        steady("jitter-loss10", true, nervous_and_losing),
        steady("reorder", true, overtaking),
        steady("voice-clean", false, clean),
        steady("voice", false, far),
        steady("voice-loss10", false, losing(10.0)),
        steady("voice-loss20", false, losing(20.0)),
        steady("voice-loss30", false, losing(30.0)),
        steady("voice-bursts", false, bursts),
        steady("voice-64k", false, narrow(64)),
        steady("voice-jitter", false, nervous),
        steady("voice-jitter-loss10", false, nervous_and_losing),
        steady("voice-reorder", false, overtaking),
    ]
}
