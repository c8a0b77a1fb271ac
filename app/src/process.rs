//! What this process uses of the machine.

/// What this process uses of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system time since the start, seconds.
    pub cpu_s: f64,
    /// Resident memory, bytes.
    pub rss_bytes: u64,
}

/// Reads the usage so far; `None` where the system does not tell (it is read from `/proc`).
pub fn usage() -> Option<Usage> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    Some(Usage { cpu_s: cpu_s(&stat)?, rss_bytes: rss_bytes(&status)? })
}

/// Linux counts these in hundredths of a second on every architecture, whatever its own tick is.
const USER_HZ: f64 = 100.0;

/// proc_pid_stat(5): after the command in parentheses, utime and stime are the 12th and 13th field.
fn cpu_s(stat: &str) -> Option<f64> {
    let (_, after_command) = stat.rsplit_once(')')?;
    let mut fields = after_command.split_ascii_whitespace();
    let user: u64 = fields.nth(11)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / USER_HZ)
}

/// proc_pid_status(5): `VmRSS:   25 kB`.
fn rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_with_a_strange_command_is_read() {
        let stat = "12 (a) b) S 1 2 3 0 -1 4 5 6 7 8 150 50 0 0 20 0 9 0 77 1000000 25 18446744073709551615 1";
        assert_eq!(cpu_s(stat), Some(2.0));
        assert_eq!(cpu_s(""), None);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(rss_bytes("VmSize:\t 9 kB\nVmRSS:\t   25 kB\n"), Some(25 * 1024));
        assert_eq!(rss_bytes(""), None);
    }
}
