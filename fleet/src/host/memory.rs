//! How much memory is left for more devices.

use std::{fs, path::Path};

/// Where the kernel shows a process the group it is bounded by, as containers are (cgroups(7)).
const GROUPS: &str = "/sys/fs/cgroup";

/// What the kernel says is available, or what is left of the limit of this process' group if that is less; 0 if it
/// does not say.
pub(super) fn free_bytes() -> u64 {
    let machine = of_machine().unwrap_or(0);
    of_group(Path::new(GROUPS)).map_or(machine, |group| group.min(machine))
}

fn of_machine() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = field(&meminfo, "MemAvailable:")?.strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// Nothing if the group has no limit.
fn of_group(groups: &Path) -> Option<u64> {
    let second = [groups.join("memory.max"), groups.join("memory.current"), groups.join("memory.stat")];
    let memory = groups.join("memory");
    let first =
        ["memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"].map(|name| memory.join(name));
    [second, first].iter().find_map(|[limit, used, details]| {
        // Without a limit it says `max`, or what no machine has.
        let limit: u64 = fs::read_to_string(limit).ok()?.trim().parse().ok()?;
        let used: u64 = fs::read_to_string(used).ok()?.trim().parse().ok()?;
        // Files that are cached count as used, and make room when it is needed.
        let details = fs::read_to_string(details).unwrap_or_default();
        let cached = ["total_inactive_file ", "inactive_file "].iter().find_map(|name| field(&details, name));
        let cached: u64 = cached.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    })
}

fn field<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(files: &[(&str, &str)]) -> Option<u64> {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder above")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        of_group(dir.path())
    }

    #[test]
    fn this_machine_has_memory() {
        assert!(free_bytes() > 0);
    }

    #[test]
    fn a_limit_counts_and_cached_files_do_not() {
        let stat = "anon 300\ninactive_file 100\n";
        let second = [("memory.max", "1000\n"), ("memory.current", "400\n"), ("memory.stat", stat)];
        assert_eq!(group(&second), Some(700));
        let first = [
            ("memory/memory.limit_in_bytes", "1000\n"),
            ("memory/memory.usage_in_bytes", "400\n"),
            ("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 50\n"),
        ];
        assert_eq!(group(&first), Some(650));
        assert_eq!(group(&[("memory.max", "max\n"), ("memory.current", "400\n")]), None);
        assert_eq!(group(&[]), None);
    }
}
