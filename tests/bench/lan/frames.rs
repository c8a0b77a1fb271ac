//! The log of marked frames, from which delays are read.

use std::{collections::HashMap, fs, path::Path};

/// Which marked frames one end captured and showed, and when.
#[derive(Debug, Default)]
pub(crate) struct FrameLog {
    /// Mark, and Unix time in microseconds.
    pub(crate) captured: Vec<(u32, u64)>,
    /// As above.
    pub(crate) shown: Vec<(u32, u64)>,
}

impl FrameLog {
    /// What a program wrote for `--frame-log`.
    pub(crate) fn read(file: &Path) -> Self {
        let mut log = Self::default();
        for line in fs::read_to_string(file).unwrap_or_default().lines() {
            let [kind, mark, time] = line.split(',').collect::<Vec<_>>()[..] else { continue };
            let (Ok(mark), Ok(time)) = (mark.parse(), time.parse()) else { continue };
            match kind {
                "captured" => log.captured.push((mark, time)),
                "shown" => log.shown.push((mark, time)),
                _ => {}
            }
        }
        log
    }
}

/// From capture to screen, milliseconds. The clip loops, so a mark comes again: a shown frame is the latest captured one
/// of its mark.
pub(crate) fn latencies(captured: &[(u32, u64)], shown: &[(u32, u64)]) -> Vec<f64> {
    let mut by_mark: HashMap<u32, Vec<u64>> = HashMap::new();
    for (mark, time) in captured {
        by_mark.entry(*mark).or_default().push(*time);
    }
    let latency = |(mark, time): &(u32, u64)| {
        let captured = by_mark.get(mark)?.iter().rfind(|captured| *captured <= time)?;
        Some((time - captured) as f64 / 1e3)
    };
    shown.iter().filter_map(latency).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_looping_clip_gives_each_shown_frame_its_latest_capture() {
        let captured = [(0, 1_000), (1, 34_000), (0, 67_000), (1, 100_000)];
        let shown = [(0, 31_000), (0, 98_000), (1, 129_000), (7, 130_000)];
        assert_eq!(latencies(&captured, &shown), [30.0, 31.0, 29.0]);
    }
}
