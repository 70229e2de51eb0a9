use serde::{Deserialize, Serialize};

/// How patient the fleet is. All times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// A device is overdue when it was silent for this many tenths of its heartbeat interval.
    pub overdue_tenths: u32,
    /// How long a suspect has to answer a ping.
    pub ping_ms: u64,
    /// How long a device has from power-on to its first sign of life, and a host to appear.
    pub start_ms: u64,
    /// Pause after the first restart that did not help; doubles with each further one.
    pub backoff_ms: u64,
    /// Longest such pause.
    pub backoff_max_ms: u64,
    /// Restarts before the device is quarantined.
    pub restart_budget: u32,
    /// A device that was healthy for this long has its restarts forgotten.
    pub settle_ms: u64,
    /// Restarts by crashes of its own before the device is quarantined.
    pub crash_budget: u32,
    /// A device that did not crash for this long has its crashes forgotten.
    pub crash_window_ms: u64,
    /// How long an online device may lag behind its desired state before that is published again.
    pub resend_ms: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            overdue_tenths: 25,
            ping_ms: 3_000,
            start_ms: 20_000,
            backoff_ms: 2_000,
            backoff_max_ms: 300_000,
            restart_budget: 5,
            settle_ms: 600_000,
            crash_budget: 10,
            crash_window_ms: 60_000,
            resend_ms: 30_000,
        }
    }
}

impl Policy {
    /// How long a device with this heartbeat interval may be silent.
    pub fn overdue_ms(&self, heartbeat_ms: u32) -> u64 {
        u64::from(heartbeat_ms) * u64::from(self.overdue_tenths) / 10
    }

    /// The pause after restart number `attempt`, the first being 1.
    pub fn pause_ms(&self, attempt: u32) -> u64 {
        let doublings = attempt.saturating_sub(1).min(32);
        self.backoff_ms.saturating_mul(1 << doublings).min(self.backoff_max_ms)
    }
}
