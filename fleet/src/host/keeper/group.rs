//! Control groups (cgroup v2, cgroups(7)): what a device's process may take of the machine, as the kernel holds it.
//!
//! It takes a group that is delegated to this user, as `Delegate=yes` of a systemd service does. The kernel wants no
//! process in a group whose children are bounded, so host and keeper move into a child of it themselves.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
};

use nix::unistd::{AccessFlags, access};
use wasmbed_wire::DeviceId;

use super::protocol::Bounds;

/// Where cgroup v2 is mounted, alone or beside the first version.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
const CONTROLLERS: [&str; 2] = ["memory", "pids"];
/// The child that host and keeper are in.
const OURS: &str = "wasmbed";

/// The group that devices' groups are made in.
pub(super) struct Groups(PathBuf);

impl Groups {
    /// The group that this process is in, made ready for children.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) fn find(members: &[u32]) -> Result<Self, String> {
        let mount =
            MOUNTS.map(Path::new).into_iter().find(|mount| mount.join("cgroup.controllers").is_file());
        let mount = mount.ok_or("no cgroup v2 is mounted at /sys/fs/cgroup")?;
        let known = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = known.lines().find_map(|line| line.strip_prefix("0::/"));
        Self::claim(&mount.join(own.ok_or("this process is in no cgroup v2")?), members)
    }

    /// Makes a group ready in which there may be no other processes than `members`.
    fn claim(own: &Path, members: &[u32]) -> Result<Self, String> {
        // The host that started this keeper has moved already if it had another one before.
        let parent = own.parent().filter(|_| own.file_name().is_some_and(|name| name == OURS));
        let home = parent.unwrap_or(own);
        let read = |name: &str| {
            let path = home.join(name);
            fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        };
        let controllers = read("cgroup.controllers")?;
        let has = |wanted: &str| controllers.split_whitespace().any(|found| found == wanted);
        if let Some(missing) = CONTROLLERS.into_iter().find(|wanted| !has(wanted)) {
            return Err(format!("{} has no controller {missing}", home.display()));
        }
        for name in ["cgroup.procs", "cgroup.subtree_control"] {
            let path = home.join(name);
            access(&path, AccessFlags::W_OK)
                .map_err(|error| format!("{} is not delegated to this user: {error}", path.display()))?;
        }
        let inside: Vec<u32> = read("cgroup.procs")?.lines().filter_map(|pid| pid.parse().ok()).collect();
        if let Some(stranger) = inside.iter().find(|pid| !members.contains(pid)) {
            return Err(format!("{} holds other processes too: {stranger}", home.display()));
        }
        let ready = make(&home.join(OURS)).and_then(|ours| {
            inside.iter().try_for_each(|pid| write(&ours.join("cgroup.procs"), pid))?;
            let enable = CONTROLLERS.map(|controller| format!("+{controller}")).join(" ");
            write(&home.join("cgroup.subtree_control"), enable)
        });
        ready.map_err(|error| format!("{} cannot be divided: {error}", home.display()))?;
        Ok(Groups(home.to_owned()))
    }

    /// Puts a process that was just started into a group of the device's own and returns that.
    pub(super) fn enter(&self, device: &DeviceId, pid: u32, bounds: Bounds) -> io::Result<PathBuf> {
        let group = make(&self.0.join(format!("device-{device}")))?;
        write(&group.join("memory.max"), bounds.memory_bytes)?;
        write(&group.join("pids.max"), bounds.tasks)?;
        write(&group.join("cgroup.procs"), pid)?;
        Ok(group)
    }
}

/// Removes a group whose process has ended.
pub(super) fn remove(group: &Path) {
    if let Err(error) = fs::remove_dir(group) {
        tracing::warn!(group = %group.display(), %error, "could not remove a cgroup");
    }
}

fn make(group: &Path) -> io::Result<PathBuf> {
    match fs::create_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(group.to_owned()),
    }
}

/// Each value is a write of its own.
fn write(file: &Path, value: impl ToString) -> io::Result<()> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .open(file)?
        .write_all(format!("{}\n", value.to_string()).as_bytes())
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// A folder with the files of a group that holds these processes.
    fn group(controllers: &str, inside: &str) -> TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for (name, text) in
            [("cgroup.controllers", controllers), ("cgroup.procs", inside), ("cgroup.subtree_control", "")]
        {
            fs::write(dir.path().join(name), text).expect("a file");
        }
        dir
    }

    fn read(dir: &TempDir, name: &str) -> String {
        fs::read_to_string(dir.path().join(name)).expect(name)
    }

    #[test]
    fn a_delegated_group_is_divided_and_each_device_bounded() {
        let dir = group("cpu memory pids\n", "12\n13\n");
        let groups = Groups::claim(dir.path(), &[13, 12]).expect("groups");
        assert_eq!(read(&dir, "wasmbed/cgroup.procs"), "12\n13\n");
        assert_eq!(read(&dir, "cgroup.subtree_control"), "+memory +pids\n");
        let device = "pump-1".parse().expect("a name");
        let bounds = Bounds { memory_bytes: 1 << 20, tasks: 64 };
        let entered = groups.enter(&device, 99, bounds).expect("a group");
        assert_eq!(entered, dir.path().join("device-pump-1"));
        for (name, text) in [("memory.max", "1048576\n"), ("pids.max", "64\n"), ("cgroup.procs", "99\n")] {
            assert_eq!(read(&dir, &format!("device-pump-1/{name}")), text);
        }
    }

    #[test]
    fn a_keeper_of_a_host_that_has_moved_takes_the_group_above() {
        let dir = group("memory pids\n", "");
        let ours = dir.path().join(OURS);
        fs::create_dir(&ours).expect("a folder");
        assert_eq!(Groups::claim(&ours, &[12, 14]).expect("groups").0, dir.path());
    }

    #[test]
    fn what_is_in_the_way_is_said() {
        let why = |dir: &TempDir| Groups::claim(dir.path(), &[12]).err().expect("a reason");
        assert!(why(&group("cpu memory\n", "12\n")).ends_with("has no controller pids"));
        assert!(why(&group("memory pids\n", "12\n1\n")).ends_with("holds other processes too: 1"));
        assert!(why(&tempfile::tempdir().expect("a folder")).contains("cgroup.controllers: No such file"));
    }

    #[test]
    fn a_group_goes_with_its_process() {
        let dir = tempfile::tempdir().expect("a folder");
        let group = make(&dir.path().join("device-pump-1")).expect("a group");
        remove(&group);
        assert!(!group.exists());
    }
}
