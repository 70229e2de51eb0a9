//! How a board is started: program, arguments, files.

mod elf;

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write},
    net::Ipv4Addr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::machine::{Autopilot, Choice, Forward, Machine, Unfit};

/// Memory that a device's process takes of its host where nothing else is said, in bytes.
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;
/// In braces: memory of the machine in MiB, its processors, its ports that are to be reachable, and its autopilot.
const MEMORY: &str = "memory";
const CORES: &str = "cores";
const FORWARDS: &str = "forwards";
const PX4: &str = "px4";
/// A host asks a silent board for a sign of life every two seconds.
const WATCHDOG_LEAST_MS: u32 = 3_000;

/// A program that is, or emulates, a board.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Run {
    /// An emulator runs the board's firmware.
    Qemu {
        /// The emulator, looked up in `PATH`.
        program: String,
        /// The Debian package that has it.
        package: String,
        /// Its arguments with placeholders, see [`Place`]; `{memory}` (MiB) and `{cores}` stand for what is chosen of
        /// `machine`, `{forwards}` in the options of a `-netdev user` for ports that are to be reachable, `{px4}` for the beginning of
        /// the `-chardev` at the end of the line to an autopilot.
        arguments: Vec<String>,
        /// Files it needs in the device's folder.
        files: Vec<DeviceFile>,
        /// The board is reset after this much silence on its link, in milliseconds; absent: never.
        watchdog_ms: Option<u32>,
        /// How long the board may take from power-on to its first sign of life, in milliseconds, on a machine that is
        /// busy; absent: as long as any device.
        start_ms: Option<u32>,
        /// The address at which the board's emulated network has what listens on the host's loopback; absent
        /// where the board has no network.
        loopback: Option<Ipv4Addr>,
        /// Memory that the emulator takes of its host, in bytes; 64 MiB if absent. What `machine` says is added.
        memory_bytes: Option<u64>,
        /// What may be chosen for each device; absent where the board is as the real one.
        machine: Option<Choice>,
    },
    /// The device is a process of its own.
    Process {
        /// Name of the program.
        program: String,
        /// Its arguments with placeholders, see [`Place`].
        arguments: Vec<String>,
    },
}

/// What stands for a path in arguments, in braces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `{dir}`: the device's folder.
    Dir,
    /// `{link}`: the socket of the serial link. The host listens there before it starts the emulator,
    /// which connects: nothing a board says is lost.
    Link,
    /// `{qmp}`: the socket of the emulator's monitor, where the emulator listens.
    Qmp,
    /// `{nor}`: the socket of the flash chip's serial line, like that of the link.
    Nor,
    /// `{boot}`: the file that [`Holds::Boot`].
    Boot,
    /// `{window}`: the file that [`Holds::Window`].
    Window,
    /// `{provision}`: the file that [`Holds::Provision`].
    Provision,
    /// `{console}`: the socket of a machine's console, where it has one beside the link; like that of the link.
    Console,
    /// `{kernel}`: the kernel of a machine with an operating system, [`crate::Board::system_files`].
    Kernel,
    /// `{initramfs}`: the archive that this kernel starts from, there as well.
    Initramfs,
    /// `{disk}`: the file that [`Holds::Disk`].
    Disk,
    /// `{config}`: the configuration file of the agent for Linux.
    Config,
}

impl Place {
    const ALL: [Place; 12] = [
        Place::Dir,
        Place::Link,
        Place::Qmp,
        Place::Nor,
        Place::Boot,
        Place::Window,
        Place::Provision,
        Place::Console,
        Place::Kernel,
        Place::Initramfs,
        Place::Disk,
        Place::Config,
    ];

    /// How it is written in an argument, without braces.
    pub const fn name(self) -> &'static str {
        match self {
            Place::Dir => "dir",
            Place::Link => "link",
            Place::Qmp => "qmp",
            Place::Nor => "nor",
            Place::Boot => "boot",
            Place::Window => "window",
            Place::Provision => "provision",
            Place::Console => "console",
            Place::Kernel => "kernel",
            Place::Initramfs => "initramfs",
            Place::Disk => "disk",
            Place::Config => "config",
        }
    }

    fn find(name: &str) -> Option<Self> {
        Place::ALL.into_iter().find(|place| place.name() == name)
    }
}

/// Where the places are for one device.
pub type Places = BTreeMap<Place, PathBuf>;

/// A file in the folder of an emulated device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceFile {
    /// What is at its beginning.
    pub holds: Holds,
    /// Its name.
    pub name: String,
    /// Its size, in bytes, where that must be exact; what is beyond the contents is not allocated.
    pub size_bytes: Option<u64>,
    /// The address of the contents, for an ELF file with nothing else in it: QEMU's loader takes flat files up to
    /// the size of the board's RAM only.
    pub elf_at: Option<u32>,
    /// Whether what is beyond the contents is the device's own and kept from start to start.
    #[serde(default)]
    pub keep: bool,
}

/// What a host writes into a file before every start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// The flat bootloader, [`crate::Image::bytes`].
    Boot,
    /// What the processor sees of the flash chip at the start.
    Window,
    /// The provisioning blob of `wasmbed_wire::provision`.
    Provision,
    /// Nothing: a disk is the device's own.
    Disk,
}

impl Holds {
    /// How arguments name the file.
    pub const fn place(self) -> Place {
        match self {
            Holds::Boot => Place::Boot,
            Holds::Window => Place::Window,
            Holds::Provision => Place::Provision,
            Holds::Disk => Place::Disk,
        }
    }
}

impl Run {
    /// The program.
    pub fn program(&self) -> &str {
        match self {
            Run::Qemu { program, .. } | Run::Process { program, .. } => program,
        }
    }

    /// The files it needs.
    pub fn files(&self) -> &[DeviceFile] {
        match self {
            Run::Qemu { files, .. } => files,
            Run::Process { .. } => &[],
        }
    }

    /// How long the link may be silent before the board is reset, in milliseconds.
    pub fn watchdog_ms(&self) -> Option<u32> {
        match self {
            Run::Qemu { watchdog_ms, .. } => *watchdog_ms,
            Run::Process { .. } => None,
        }
    }

    /// How long the board may take to start, in milliseconds, if that is longer than for others.
    pub fn start_ms(&self) -> Option<u32> {
        match self {
            Run::Qemu { start_ms, .. } => *start_ms,
            Run::Process { .. } => None,
        }
    }

    /// The address at which the board reaches the host's loopback, if it has a network.
    pub fn loopback(&self) -> Option<Ipv4Addr> {
        match self {
            Run::Qemu { loopback, .. } => *loopback,
            Run::Process { .. } => None,
        }
    }

    /// Memory that the device's process takes of its host, in bytes.
    pub fn memory_bytes(&self, machine: &Machine) -> u64 {
        match self {
            Run::Qemu { memory_bytes, machine: choice, .. } => {
                let own = choice.map_or(0, |choice| machine.memory_mib.unwrap_or(choice.memory_mib.default));
                memory_bytes.unwrap_or(MEMORY_BYTES) + (u64::from(own) << 20)
            }
            Run::Process { .. } => MEMORY_BYTES,
        }
    }

    /// Whether a device of this board can be such a machine.
    ///
    /// # Errors
    /// The first thing that it cannot have.
    pub fn check_machine(&self, machine: &Machine) -> Result<(), Unfit> {
        match self.choice() {
            Some(choice) => {
                choice.memory_mib.check("memory in MiB", machine.memory_mib)?;
                choice.cores.check("the number of cores", machine.cores)?;
            }
            None if machine.memory_mib.is_some() || machine.cores.is_some() => return Err(Unfit::Fixed),
            None => {}
        }
        for (nth, forward) in machine.forwards.iter().enumerate() {
            if !self.uses_name(FORWARDS) {
                return Err(Unfit::NoPorts(*forward));
            }
            let is_same =
                |other: &Forward| (other.listen, other.protocol) == (forward.listen, forward.protocol);
            if machine.forwards.iter().take(nth).any(is_same) {
                return Err(Unfit::Twice(forward.listen));
            }
        }
        match &machine.px4 {
            Some(autopilot) if !self.uses_name(PX4) => Err(Unfit::NoLine(autopilot.clone())),
            _ => Ok(()),
        }
    }

    fn choice(&self) -> Option<Choice> {
        match self {
            Run::Qemu { machine, .. } => *machine,
            Run::Process { .. } => None,
        }
    }

    /// Whether an argument names this place.
    pub fn uses(&self, place: Place) -> bool {
        self.uses_name(place.name())
    }

    fn uses_name(&self, wanted: &str) -> bool {
        let mut pieces = self.patterns().iter().flat_map(|pattern| pieces(pattern));
        pieces.any(|piece| matches!(piece, Piece::Name(name) if name == wanted))
    }

    /// The arguments with every placeholder replaced, for a machine that [`Run::check_machine`] lets pass.
    ///
    /// # Errors
    /// The first place that `places` lacks.
    pub fn arguments(&self, places: &Places, machine: &Machine) -> Result<Vec<String>, Place> {
        let values = self.values(machine);
        // In an emulator's option lists a comma ends the value, unless it is doubled.
        let comma = if matches!(self, Run::Qemu { .. }) { ",," } else { "," };
        let value = |name: &str| -> Result<String, Place> {
            if let Some((_, value)) = values.iter().find(|(known, _)| *known == name) {
                return Ok(value.clone());
            }
            let Some(place) = Place::find(name) else { return Ok(String::new()) };
            Ok(places.get(&place).ok_or(place)?.to_string_lossy().replace(',', comma))
        };
        self.patterns().iter().map(|pattern| fill(pattern, value)).collect()
    }

    /// What stands for the machine in arguments.
    fn values(&self, machine: &Machine) -> Vec<(&'static str, String)> {
        let forwards = machine.forwards.iter().map(|forward| {
            let Forward { listen, to, protocol } = forward;
            format!(",hostfwd={}:{listen}-:{to}", protocol.name())
        });
        let px4 = match &machine.px4 {
            Some(Autopilot { host, port }) => {
                format!("socket,host={host},port={port},nodelay=on,reconnect=1")
            }
            None => "null".to_owned(),
        };
        let mut values = vec![(FORWARDS, forwards.collect()), (PX4, px4)];
        if let Some(Choice { memory_mib, cores }) = self.choice() {
            values.push((MEMORY, machine.memory_mib.unwrap_or(memory_mib.default).to_string()));
            values.push((CORES, machine.cores.unwrap_or(cores.default).to_string()));
        }
        values
    }

    fn patterns(&self) -> &[String] {
        match self {
            Run::Qemu { arguments, .. } | Run::Process { arguments, .. } => arguments,
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        for pattern in self.patterns() {
            for piece in pieces(pattern) {
                let place = match piece {
                    Piece::Text(_) | Piece::Name(FORWARDS | PX4) => continue,
                    Piece::Name(MEMORY | CORES) if self.choice().is_some() => continue,
                    Piece::Name(name @ (MEMORY | CORES)) => {
                        return Err(format!(
                            "run.arguments uses {{{name}}}, but there is no run.machine to choose from"
                        ));
                    }
                    Piece::Name(name) => Place::find(name).ok_or_else(|| unknown_place(name))?,
                };
                let is_file = matches!(place, Place::Boot | Place::Window | Place::Provision | Place::Disk);
                if is_file && !self.files().iter().any(|file| file.holds.place() == place) {
                    return Err(format!(
                        "run.arguments uses {{{0}}}, but no run.files holds it",
                        place.name()
                    ));
                }
            }
        }
        if self.choice().is_some_and(|choice| !choice.memory_mib.is_sound() || !choice.cores.is_sound()) {
            return Err("run.machine needs 1 <= least <= default <= most for memory_mib and cores".into());
        }
        if self.watchdog_ms().is_some_and(|ms| ms < WATCHDOG_LEAST_MS) {
            return Err(format!(
                "run.watchdog_ms is below {WATCHDOG_LEAST_MS}: a board that lives may be silent for that long"
            ));
        }
        if self.watchdog_ms().is_some() && !self.uses(Place::Link) {
            return Err(
                "run.watchdog_ms listens to the link; use {link} in run.arguments, or leave it out".into()
            );
        }
        let is_no_disk =
            |file: &&DeviceFile| file.holds == Holds::Disk && !(file.keep && file.size_bytes.is_some());
        if let Some(file) = self.files().iter().find(is_no_disk) {
            return Err(format!(
                "run.files has the disk {:?}; it needs keep = true and size_bytes",
                file.name
            ));
        }
        if self.files().iter().any(|file| file.elf_at.is_some() && (file.keep || file.size_bytes.is_some())) {
            return Err("run.files has elf_at, which goes with neither keep nor size_bytes".into());
        }
        match self.files().iter().find(|file| Path::new(&file.name).file_name() != Some(file.name.as_ref())) {
            Some(file) => Err(format!("run.files has the name {:?}; use a plain file name", file.name)),
            None => Ok(()),
        }
    }
}

fn unknown_place(name: &str) -> String {
    let known = Place::ALL.map(Place::name).into_iter().chain([MEMORY, CORES, FORWARDS, PX4]);
    let known: Vec<String> = known.map(|name| format!("{{{name}}}")).collect();
    format!("run.arguments has {{{name}}}; known are {}", known.join(" "))
}

enum Piece<'p> {
    Text(&'p str),
    /// What stands in braces.
    Name(&'p str),
}

fn pieces(pattern: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((text, (name, after))) =
        rest.split_once('{').and_then(|(text, after)| Some((text, after.split_once('}')?)))
    {
        pieces.extend([Piece::Text(text), Piece::Name(name)]);
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    pieces
}

fn fill(pattern: &str, value: impl Fn(&str) -> Result<String, Place>) -> Result<String, Place> {
    let mut out = String::new();
    for piece in pieces(pattern) {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Name(name) => out.push_str(&value(name)?),
        }
    }
    Ok(out)
}

impl DeviceFile {
    /// Makes the file in `dir`, for this user alone, with these contents at its beginning and returns its path.
    ///
    /// # Errors
    /// If the contents are larger than the file may be, or it cannot be written.
    pub fn fill(&self, dir: &Path, contents: &[u8]) -> io::Result<PathBuf> {
        let path = dir.join(&self.name);
        if self.size_bytes.is_some_and(|size| size < contents.len() as u64) {
            let found = contents.len();
            return Err(io::Error::other(format!("{found} bytes do not fit into {}", path.display())));
        }
        if !self.keep && path.exists() {
            fs::remove_file(&path)?;
        }
        let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        if let Some(address) = self.elf_at {
            file.write_all(&elf::header(address, contents.len() as u32))?;
        }
        file.write_all(contents)?;
        if let Some(size) = self.size_bytes {
            file.set_len(size)?;
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        [(Place::Link, "/run/a,b".into()), (Place::Dir, "/d".into())].into()
    }

    #[test]
    fn placeholders_are_replaced_and_commas_are_kept() {
        let arguments = vec!["path={link},x={dir}/y".into(), "z".into()];
        let (program, package, files) = ("p".to_owned(), "p".to_owned(), Vec::new());
        let process = Run::Process { program: program.clone(), arguments: arguments.clone() };
        assert_eq!(
            process.arguments(&places(), &Machine::default()),
            Ok(vec!["path=/run/a,b,x=/d/y".into(), "z".into()])
        );
        let qemu = Run::Qemu {
            program,
            package,
            arguments,
            files,
            watchdog_ms: None,
            start_ms: None,
            loopback: None,
            memory_bytes: None,
            machine: None,
        };
        assert_eq!(
            qemu.arguments(&places(), &Machine::default()),
            Ok(vec!["path=/run/a,,b,x=/d/y".into(), "z".into()])
        );
    }

    #[test]
    fn a_missing_place_is_named() {
        let run = Run::Process { program: "p".into(), arguments: vec!["{config}".into()] };
        assert_eq!(run.arguments(&places(), &Machine::default()), Err(Place::Config));
    }

    fn machine_of(text: &str) -> Machine {
        toml::from_str(text).expect("a machine")
    }

    fn open() -> Run {
        toml::from_str(
            "kind = 'qemu'\nprogram = 'p'\npackage = 'p'\nfiles = []\n\
             arguments = ['-m', '{memory}M', '-smp', '{cores}', 'user,id=net{forwards}']\n\
             [machine]\nmemory_mib = { default = 512, least = 256, most = 1024 }\n\
             cores = { default = 1, least = 1, most = 4 }\n",
        )
        .expect("a run")
    }

    #[test]
    fn a_machine_is_what_is_chosen_and_the_boards_own_in_the_rest() {
        let run = open();
        assert_eq!(run.check(), Ok(()));
        let arguments =
            |machine: &Machine| run.arguments(&Places::new(), machine).expect("arguments").join(" ");
        assert_eq!(arguments(&Machine::default()), "-m 512M -smp 1 user,id=net");
        let wanted = machine_of("memory_mib = 1024\nforwards = ['8080:80', '0.0.0.0:53:5353/udp']");
        assert_eq!(run.check_machine(&wanted), Ok(()));
        let ports = "hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:0.0.0.0:53-:5353";
        assert_eq!(arguments(&wanted), format!("-m 1024M -smp 1 user,id=net,{ports}"));
        assert_eq!(run.memory_bytes(&wanted), MEMORY_BYTES + (1024 << 20));
    }

    #[test]
    fn a_line_to_an_autopilot_ends_nowhere_or_at_one() {
        let run: Run = toml::from_str(
            "kind = 'qemu'\nprogram = 'p'\npackage = 'p'\nfiles = []\narguments = ['-chardev', '{px4},id=px4']\n",
        )
        .expect("a run");
        assert_eq!(run.check(), Ok(()));
        for (wanted, argument) in [
            ("", "null,id=px4"),
            ("px4 = 'sitl.lab:5760'", "socket,host=sitl.lab,port=5760,nodelay=on,reconnect=1,id=px4"),
            ("px4 = '[::1]:5760'", "socket,host=::1,port=5760,nodelay=on,reconnect=1,id=px4"),
        ] {
            let machine = machine_of(wanted);
            assert_eq!(run.check_machine(&machine), Ok(()));
            assert_eq!(run.arguments(&Places::new(), &machine), Ok(vec!["-chardev".into(), argument.into()]));
        }
    }

    #[test]
    fn what_a_board_cannot_have_is_refused_with_what_it_can() {
        let refused = |run: &Run, wanted: &str| {
            run.check_machine(&machine_of(wanted)).expect_err("it cannot be had").to_string()
        };
        let run = open();
        assert_eq!(refused(&run, "memory_mib = 64"), "memory in MiB is 64; it can be 256 to 1024");
        assert_eq!(refused(&run, "cores = 5"), "the number of cores is 5; it can be 1 to 4");
        let twice = "forwards = ['80:80', '80:81', '80:80/udp']";
        assert_eq!(refused(&run, twice), "two ports are forwarded from 127.0.0.1:80");
        let fixed = Run::Process { program: "p".into(), arguments: Vec::new() };
        assert!(refused(&fixed, "cores = 1").contains("those of the real board"));
        assert!(refused(&fixed, "forwards = ['80:80']").contains("leave 127.0.0.1:80:80/tcp out"));
        assert!(refused(&run, "px4 = 'a:1'").contains("leave a:1 out"));
    }

    #[test]
    fn a_machine_without_a_choice_is_refused() {
        let run = Run::Process { program: "p".into(), arguments: vec!["{memory}".into()] };
        assert!(run.check().is_err_and(|message| message.contains("no run.machine")));
    }

    #[test]
    fn a_file_without_a_holder_is_refused() {
        let run = Run::Process { program: "p".into(), arguments: vec!["{boot}".into()] };
        assert!(run.check().is_err_and(|message| message.contains("no run.files holds it")));
    }

    #[test]
    fn a_disk_that_is_not_kept_and_a_watchdog_without_a_link_are_refused() {
        let with = |rest: &str| {
            let run = "kind = 'qemu'\nprogram = 'p'\npackage = 'p'\narguments = ['{disk}']\n";
            let disk = "[[files]]\nholds = 'disk'\nname = 'd'\nsize_bytes = 512\n";
            let run: Run = toml::from_str(&rest.replace("RUN", run).replace("DISK", disk)).expect("a run");
            run.check()
        };
        assert!(with("RUN DISK").is_err_and(|message| message.contains("needs keep = true")));
        assert_eq!(with("RUN DISK keep = true"), Ok(()));
        let watched = with("RUN watchdog_ms = 8000\nDISK keep = true");
        assert!(watched.is_err_and(|message| message.contains("use {link}")));
    }

    #[test]
    fn a_kept_file_keeps_what_is_beyond_the_contents() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut file = DeviceFile {
            holds: Holds::Provision,
            name: "f".into(),
            size_bytes: Some(8),
            elf_at: None,
            keep: true,
        };
        let path = file.fill(dir.path(), b"abcdef").expect("a file");
        file.fill(dir.path(), b"12").expect("a file");
        assert_eq!(fs::read(&path).expect("a file"), b"12cdef\0\0");
        file.keep = false;
        file.fill(dir.path(), b"12").expect("a file");
        assert_eq!(fs::read(&path).expect("a file"), b"12\0\0\0\0\0\0");
        assert!(file.fill(dir.path(), b"123456789").is_err());
    }
}
