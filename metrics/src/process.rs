//! What Prometheus' own clients say of every process, under the names they have there.

use std::{
    fs,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::time::{ClockId, clock_gettime};

use crate::Page;

/// What is known of this process since it began to answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Process {
    started: Duration,
}

impl Process {
    /// Of a process that starts now.
    pub(crate) fn starting() -> Self {
        Process { started: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() }
    }

    /// Writes what the kernel says; what it does not say is left out.
    pub(crate) fn write(&self, page: &mut Page) {
        page.gauge("process_start_time_seconds", "When the process started, in Unix time.")
            .set(self.started.as_secs_f64());
        if let Ok(used) = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID) {
            page.counter("process_cpu_seconds_total", "Processor time used, in seconds.")
                .set(Duration::from(used).as_secs_f64());
        }
        if let Some(bytes) = resident_bytes() {
            page.gauge("process_resident_memory_bytes", "Memory in RAM, in bytes.").set(bytes);
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            page.gauge("process_open_fds", "Open file descriptors.").set(open.count());
        }
    }
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}
