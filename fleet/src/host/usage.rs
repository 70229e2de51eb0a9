//! What processes take of the host, as the kernel says in `/proc` (proc(5)).

use std::{collections::BTreeMap, fs};

use nix::unistd::{SysconfVar, sysconf};
use tokio::time::Instant;

use crate::host_api::ProcessUse;

/// Looks at processes now and then.
pub(super) struct Gauge {
    ticks_per_second: u64,
    page_bytes: u64,
    /// Processor time by process at the last look.
    before: BTreeMap<u32, (Instant, u64)>,
}

impl Gauge {
    /// A gauge that has not looked yet.
    pub(super) fn new() -> Self {
        let ask = |what, otherwise| {
            let value = sysconf(what).ok().flatten().and_then(|value| u64::try_from(value).ok());
            value.unwrap_or(otherwise)
        };
        Gauge {
            ticks_per_second: ask(SysconfVar::CLK_TCK, 100),
            page_bytes: ask(SysconfVar::PAGE_SIZE, 4096),
            before: BTreeMap::new(),
        }
    }

    /// What each of these processes takes; nothing of those that are gone. The others are forgotten.
    pub(super) fn look(&mut self, processes: impl Iterator<Item = u32>) -> BTreeMap<u32, ProcessUse> {
        let before = std::mem::take(&mut self.before);
        let mut used = BTreeMap::new();
        for process in processes {
            let Some((cpu_ticks, pages)) = read(process) else { continue };
            let now = Instant::now();
            let cpu_permille = before.get(&process).map_or(0, |(then, ticks)| {
                let passed_ms = now.duration_since(*then).as_millis().max(1) as u64;
                let cpu_ms = cpu_ticks.saturating_sub(*ticks) * 1000 / self.ticks_per_second;
                u32::try_from(cpu_ms * 1000 / passed_ms).unwrap_or(u32::MAX)
            });
            self.before.insert(process, (now, cpu_ticks));
            used.insert(process, ProcessUse { memory_bytes: pages * self.page_bytes, cpu_permille });
        }
        used
    }
}

/// Processor time of a process, in ticks, and its pages in RAM.
fn read(process: u32) -> Option<(u64, u64)> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    // Fields 14, 15 and 24 of the line, of which two are left of what is split here.
    let number = |field: usize| fields.get(field - 3).and_then(|text| text.parse::<u64>().ok());
    Some((number(14)? + number(15)?, number(24)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_works_is_seen_and_one_that_is_gone_is_not() {
        let (me, mut gauge) = (std::process::id(), Gauge::new());
        assert_eq!(gauge.look([me].into_iter())[&me].cpu_permille, 0);
        let start = Instant::now();
        let mut sum = 0u64;
        while start.elapsed().as_millis() < 200 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let used = gauge.look([me, u32::MAX].into_iter());
        assert_eq!(used.keys().collect::<Vec<_>>(), [&me]);
        assert!(used[&me].cpu_permille > 0 && used[&me].memory_bytes > 100_000, "{used:?}");
    }
}
