//! What a process uses of the machine, as `/proc` tells.

use std::fs;

/// What a process uses of the machine. Zero where it can't be read: the process is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time since the start, seconds.
    pub cpu_s: f64,
    /// Resident memory, MiB.
    pub rss_mib: f64,
    /// Resident memory, what is shared counted by its share, MiB.
    pub pss_mib: f64,
    /// Open file descriptors.
    pub fds: usize,
    /// Threads.
    pub threads: usize,
}

impl Usage {
    /// Of a process.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let entries = |dir: &str| fs::read_dir(format!("/proc/{pid}/{dir}")).map_or(0, Iterator::count);
        let rollup = read("smaps_rollup");
        Self {
            cpu_s: cpu_s(&read("stat")),
            rss_mib: kib(&rollup, "Rss:") / 1024.0,
            pss_mib: kib(&rollup, "Pss:") / 1024.0,
            fds: entries("fd"),
            threads: entries("task"),
        }
    }
}

/// proc_pid_stat(5): after the command in parentheses, utime and stime are the 12th and 13th field, in ticks of 10 ms.
fn cpu_s(stat: &str) -> f64 {
    let after_command = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let ticks: u64 =
        after_command.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

fn kib(rollup: &str, key: &str) -> f64 {
    let line = rollup.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_threads_and_files() {
        let usage = Usage::of(std::process::id());
        assert!(usage.rss_mib >= usage.pss_mib && usage.pss_mib > 0.1, "{usage:?}");
        assert!(usage.threads >= 1 && usage.fds >= 3, "{usage:?}");
    }

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        assert_eq!(cpu_s("12 (a) b) S 1 2 3 0 -1 4 5 6 7 8 150 50 0 0 20 0"), 2.0);
        assert_eq!(cpu_s(""), 0.0);
    }
}
