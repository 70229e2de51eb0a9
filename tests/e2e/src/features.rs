//! What boards can do, and what shows it: end-to-end tests take their devices from here, and the table of
//! `docs/boards.md` is written from it.

use std::{
    panic,
    sync::{Mutex, PoisonError},
    thread,
};

use anyhow::{Context, Result};

/// Devices of a test: id and board.
pub type Devices = &'static [(&'static str, &'static str)];

/// How many devices of a test are busy at the same time: one waits while the other computes, and a machine has two
/// processors.
const BUSY: usize = 2;

/// Does the same with every device, two at a time, and fails if that fails with one.
///
/// # Errors
/// Of the first that fails, with the device's name.
pub fn each(devices: &[(&str, &str)], work: impl Fn(&str, &str) -> Result<()> + Sync) -> Result<()> {
    let left = Mutex::new(devices.iter());
    let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
    let worker = || -> Result<()> {
        while let Some((id, board)) = next() {
            work(id, board).with_context(|| String::from(*id))?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..BUSY).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked)))
    })
}

const NETDUINO2: (&str, &str) = ("n2-1", "netduino2");
const MPS2: (&str, &str) = ("mps-1", "mps2-an385");
const RV32: (&str, &str) = ("rv-1", "rv32-virt");
const LX60: (&str, &str) = ("lx-1", "lx60");
const HIFIVE1: (&str, &str) = ("hf-1", "hifive1");
const LINUX: (&str, &str) = ("hub-1", "linux");
const MACHINE: (&str, &str) = ("vm-1", "linux-x86-64");

/// A line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// What it is.
    pub what: &'static str,
    /// The test that shows it, by its path among the end-to-end tests.
    pub test: &'static str,
    /// The devices on which it does.
    pub devices: Devices,
    /// Why it does not on the other boards.
    pub but: &'static [(&'static str, &'static str)],
}

/// Those that run modules.
pub const MODULES: Feature = Feature {
    what: "runs modules, which publish what they measure",
    test: "control::one_command_deploys_to_every_kind_of_device",
    devices: &[NETDUINO2, MPS2, RV32, LX60, LINUX, MACHINE],
    but: &[("hifive1", NO_ROOM)],
};

/// What starts without an argument.
pub const START: Feature = Feature {
    what: "starts and comes online",
    test: "up::up_once_prints_the_default_fleet_online_and_leaves_nothing_behind",
    devices: &[HIFIVE1, LINUX, MACHINE, LX60, MPS2, NETDUINO2, RV32],
    but: &[],
};

/// Connections that are encrypted, with a certificate each.
pub const CERTIFICATES: Feature = Feature {
    what: "connects with TLS and a certificate of its own",
    test: "certificates::everybody_is_known_by_a_certificate_and_who_loses_it_is_out",
    devices: &[NETDUINO2, LX60, LINUX, MACHINE, MPS2, RV32],
    but: &[(
        "hifive1",
        "its host speaks TLS for it, as for every board on a serial line; shown with `netduino2`",
    )],
};

/// Those that speak TLS themselves.
pub const ETHERNET: Feature = Feature {
    what: "speaks TLS 1.3 itself, and not with a broker that is not its own",
    test: "certificates::a_board_keeps_away_from_a_broker_that_is_not_its_own",
    devices: &[MPS2, RV32],
    but: &[
        ("netduino2", SERIAL),
        ("hifive1", SERIAL),
        ("lx60", SERIAL),
        ("linux", RUSTLS),
        ("linux-x86-64", RUSTLS),
    ],
};

/// What modules may call.
pub const CALLS: Feature = Feature {
    what: "answers every host function, as [conformance.md](conformance.md) has it for each",
    test: "survey::every_device_answers_as_the_page_says",
    devices: &[LINUX, MACHINE, NETDUINO2, MPS2, RV32, LX60],
    but: &[("hifive1", NO_ROOM)],
};

/// Keys that never leave the device.
pub const KEYS: Feature = Feature {
    what: "signs with a key that it keeps over power cuts",
    test: "modules::a_module_signs_with_a_key_that_the_device_keeps",
    devices: &[LINUX, RV32, LX60, MACHINE],
    but: &[("netduino2", NO_SECURITY), ("mps2-an385", NO_SECURITY), ("hifive1", NO_ROOM)],
};

/// Several threads of one module.
pub const THREADS: Feature = Feature {
    what: "runs modules with several threads",
    test: "modules::a_module_sums_in_several_threads",
    devices: &[LINUX, MACHINE],
    but: &[
        ("netduino2", ONE_THREAD),
        ("mps2-an385", ONE_THREAD),
        ("rv32-virt", ONE_THREAD),
        ("lx60", ONE_THREAD),
        ("hifive1", NO_ROOM),
    ],
};

/// Nodes of ROS 2 on boards.
pub const ROS: Feature = Feature {
    what: "runs modules that are nodes of ROS 2, through a gateway",
    test: "ros::a_module_on_a_board_is_a_node_of_ros",
    devices: &[RV32, LX60],
    but: &[
        ("netduino2", "class mcu has no ROS 2"),
        ("mps2-an385", "class mcu has no ROS 2"),
        ("hifive1", NO_ROOM),
        ("linux", "it needs no gateway: `device-agent/linux/tests/agent/ros.rs`"),
        ("linux-x86-64", "it needs no gateway: `device-agent/linux/tests/agent/ros.rs`"),
    ],
};

/// Vehicles.
pub const PX4: Feature = Feature {
    what: "runs a module that flies a vehicle, over a serial line",
    test: "vehicles::a_module_on_a_board_flies_a_vehicle",
    devices: &[NETDUINO2],
    but: &[
        ("mps2-an385", "its firmware drives one serial line"),
        ("rv32-virt", "the machine has one serial line"),
        ("lx60", "the machine has one serial line"),
        ("hifive1", NO_ROOM),
        ("linux", "over UDP and TCP: `device-agent/linux/tests/agent/vehicles.rs`"),
        ("linux-x86-64", "over UDP and TCP: `device-agent/linux/tests/agent/vehicles.rs`"),
    ],
};

/// What modules store.
pub const STORE: Feature = Feature {
    what: "keeps what modules store over power cuts",
    test: "modules::a_module_finds_what_it_stored_after_power_cuts",
    devices: MODULES.devices,
    but: MODULES.but,
};

/// Updates and the way back.
pub const UPDATE: Feature = Feature {
    what: "is updated by a patch, and rolled back without a download",
    test: "firmware::a_board_is_updated_and_rolled_back",
    devices: &[NETDUINO2, MPS2, RV32, LX60, HIFIVE1],
    but: &[("linux", AGENTS), ("linux-x86-64", AGENTS)],
};

/// Boards that are sent a whole image, which takes minutes with those that have a larger one.
pub const WHOLE: Feature = Feature {
    what: "is updated by a whole image, and fetches one in recovery",
    test: "firmware::a_board_is_updated_by_a_whole_image",
    devices: &[NETDUINO2, RV32],
    but: &[
        ("mps2-an385", SAME_BANK),
        ("lx60", SAME_BANK),
        ("hifive1", "the flash is that of `netduino2`, whose test this is"),
        ("linux", AGENTS),
        ("linux-x86-64", AGENTS),
    ],
};

/// Images that panic.
pub const PANICS: Feature = Feature {
    what: "gives up an image that panics, and says so",
    test: "firmware::an_image_that_panics_is_given_up",
    devices: &[NETDUINO2, MPS2, RV32, LX60],
    but: &[
        ("hifive1", "its images that hang or stay mute are given up, in the tests of those"),
        ("linux", AGENTS),
        ("linux-x86-64", AGENTS),
    ],
};

/// Images that hang, on a board with a reset of its own and on one without.
pub const HANGS: Feature = Feature {
    what: "gives up an image that hangs or does not reach the broker",
    test: "firmware::an_image_that_hangs_is_given_up",
    devices: &[NETDUINO2, HIFIVE1, MPS2],
    but: &[("rv32-virt", RESET), ("lx60", RESET), ("linux", AGENTS), ("linux-x86-64", AGENTS)],
};

/// Boards whose flash is in the emulator, killed in an update.
pub const KILLED: Feature = Feature {
    what: "goes on with an update when it is killed at any percent of it",
    test: "power_cuts::a_board_killed_at_any_percent_of_an_update_goes_on_with_it",
    devices: &[RV32, MPS2, LX60],
    but: &[
        (
            "netduino2",
            "its power is cut within flash operations, 56 times: `power_cuts_in_the_middle_of_flash_operations_do_no_harm`",
        ),
        (
            "hifive1",
            "its power is cut within flash operations, 28 times: `power_cuts_do_no_harm_to_a_board_with_16_kib_of_memory`",
        ),
        ("linux", AGENTS),
        ("linux-x86-64", AGENTS),
    ],
};

/// Processes that are killed.
pub const DEATHS: Feature = Feature {
    what: "comes back with its modules when its process is killed",
    test: "faults::a_killed_device_of_any_kind_comes_back_with_its_module",
    devices: MODULES.devices,
    but: &[("hifive1", "comes back without: `a_killed_board_without_modules_comes_back`")],
};

/// Processors that stop while nothing is to be done.
pub const SLEEP: Feature = Feature {
    what: "sleeps while there is nothing to do: less than a fifth of a processor of its host",
    test: "faults::a_device_that_has_nothing_to_do_sleeps",
    devices: START.devices,
    but: &[],
};

/// Every line of the table.
pub const ALL: [Feature; 17] = [
    START,
    MODULES,
    CALLS,
    KEYS,
    THREADS,
    ROS,
    PX4,
    STORE,
    CERTIFICATES,
    ETHERNET,
    UPDATE,
    WHOLE,
    PANICS,
    HANGS,
    KILLED,
    DEATHS,
    SLEEP,
];

const NO_ROOM: &str = "it has no memory for modules: [hifive1.md](hifive1.md)";
const SERIAL: &str = "it is on a serial line, whose other end speaks TLS";
const RUSTLS: &str = "shown by the broker's and the agent's own tests";
const NO_SECURITY: &str = "class mcu has no calls for security";
const ONE_THREAD: &str = "modules of its class have one thread";
const AGENTS: &str = "the agent's own tests: `device-agent/linux/tests/agent/firmware.rs`";
const SAME_BANK: &str = "the flash is that of `rv32-virt`, whose test this is";
const RESET: &str = "reset as `hifive1` is";
