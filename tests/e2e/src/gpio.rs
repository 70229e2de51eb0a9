//! A GPIO controller for an emulated machine whose kernel has a driver for it, while QEMU has none: an AMD one, whose
//! registers are memory that this side reads and writes as the controller would, by way of QEMU's protocol for tests.
//!
//! Names of registers and bits are those of Linux' `pinctrl-amd.h`.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use acpi_tables::{
    Aml,
    aml::{Device, Interrupt, Memory32Fixed, Name, Package, ResourceTemplate, Scope, Uuid},
    sdt::Sdt,
};
use anyhow::{Context, Result, bail, ensure};

use crate::{Fleet, images};

/// Where the registers are: memory that the kernel is told to leave alone, far below the initramfs, which QEMU puts at
/// its end, and above the kernel, so that it begins with zeros.
const BASE: u32 = 0x1800_0000;
const SIZE: u32 = 0x400;
/// The input of the machine's interrupt controller that it is wired to.
const INTERRUPT: u32 = 20;
/// QEMU's name for that controller.
const IOAPIC: &str = "/machine/q35/ioapic";
/// Properties of devices in ACPI tables, as Linux reads them.
const PROPERTIES: &str = "daffd814-6eba-4d8c-8a91-bc9bbf4aa301";

/// Each bit stands for four lines of which one may have an interrupt.
const WAKE_INT_STATUS_REG0: u32 = 0x2f8;
const LINES_PER_STATUS_BIT: u32 = 4;
/// Bits of a line's register.
const PIN_STS: u32 = 1 << 16;
const PULL_UP_ENABLE: u32 = 1 << 20;
const OUTPUT_VALUE: u32 = 1 << 22;
const OUTPUT_ENABLE: u32 = 1 << 23;
const INTERRUPT_MASK: u32 = 1 << 12;
const INTERRUPT_STS: u32 = 1 << 28;

/// What the machine's kernel is to find there.
pub struct GpioTable {
    /// The line that has a name, and which.
    pub named: (u32, &'static str),
    /// The line that the kernel itself drives, so that nobody else gets it.
    pub taken: u32,
}

impl GpioTable {
    /// Writes the ACPI table that announces the controller.
    pub fn write(&self, path: &Path) -> Result<()> {
        let (line, name) = self.named;
        let mut names: Vec<&dyn Aml> = vec![&""; usize::try_from(line)?];
        names.push(&name);
        let names = Package::new(names);
        let names = Package::new(vec![&"gpio-line-names", &names]);
        let (uuid, names) = (Uuid::new(PROPERTIES), Package::new(vec![&names]));
        let properties = Package::new(vec![&uuid, &names]);

        let place = Package::new(vec![&self.taken, &0_u32]);
        let (hog, place) = (Package::new(vec![&"gpio-hog", &1_u32]), Package::new(vec![&"gpios", &place]));
        let low = Package::new(vec![&"output-low", &1_u32]);
        let hog = Package::new(vec![&hog, &place, &low]);
        let hog = Package::new(vec![&uuid, &hog]);
        let (address, hog) = (Name::new("_ADR".into(), &0_u32), Name::new("_DSD".into(), &hog));
        let hog = Device::new("HOG0".into(), vec![&address, &hog]);

        let memory = Memory32Fixed::new(true, BASE, SIZE);
        let interrupt = Interrupt::new(true, true, false, false, INTERRUPT);
        let resources = ResourceTemplate::new(vec![&memory, &interrupt]);
        let id = Name::new("_HID".into(), &"AMDI0030");
        let (resources, properties) =
            (Name::new("_CRS".into(), &resources), Name::new("_DSD".into(), &properties));
        let device = Device::new("GPIO".into(), vec![&id, &resources, &properties, &hog]);
        let mut code = Vec::new();
        Scope::new("\\_SB_".into(), vec![&device]).to_aml_bytes(&mut code);
        let mut table = Sdt::new(*b"SSDT", 36, 2, *b"WASMBD", *b"E2E GPIO", 1);
        table.append_slice(&code);
        fs::write(path, table.as_slice()).with_context(|| path.display().to_string())
    }
}

/// The file of the board `linux-x86-64`, altered so that its machine has the controller: with a kernel that knows GPIO,
/// the table, the pins that modules have of it, and a way in for [`GpioChip`].
pub fn with_gpio(board: &str, table: &Path, pins: &str) -> Result<String> {
    let kernel = |extension: &str| -> Result<String> {
        let path = images()?.join("variants").join(format!("linux-x86-64-gpio.{extension}"));
        ensure!(
            path.is_file(),
            "there is no {}; `cargo xtask fw linux-x86-64 --variants` makes it",
            path.display()
        );
        Ok(path.display().to_string())
    };
    let more = format!(
        "arguments = [\n    \"-acpitable\", \"file={}\",\n    \
         \"-qtest\", \"unix:{{dir}}/qtest.sock,server=on,wait=off\", \"-qtest-log\", \"none\",",
        table.display()
    );
    let apart = format!(" memmap=4K${BASE:#x}\"");
    let mut altered = board.to_owned();
    for (from, to) in [
        ("arguments = [", more.as_str()),
        (" cryptomgr.notests\"", &format!(" cryptomgr.notests{apart}")),
        ("{kernel}", &kernel("vmlinuz")?),
        ("{initramfs}", &kernel("initramfs")?),
    ] {
        ensure!(altered.contains(from), "the board's file has no {from:?}");
        altered = altered.replacen(from, to, 1);
    }
    Ok(format!("{altered}\n{pins}"))
}

/// The controller of a running machine.
pub struct GpioChip {
    commands: UnixStream,
    answers: BufReader<UnixStream>,
}

impl GpioChip {
    /// That of a device of the fleet.
    pub fn connect(fleet: &Fleet, device: &str) -> Result<Self> {
        let socket = fleet.dir().join("host/devices").join(device).join("qtest.sock");
        let commands = UnixStream::connect(&socket).with_context(|| socket.display().to_string())?;
        commands.set_read_timeout(Some(Duration::from_secs(20)))?;
        let answers = BufReader::new(commands.try_clone()?);
        Ok(GpioChip { commands, answers })
    }

    /// Changes the level at an input, with an interrupt if the kernel wants one.
    pub fn set_input(&mut self, line: u32, high: bool) -> Result<()> {
        let mut register = self.register(line)?;
        register = if high { register | PIN_STS } else { register & !PIN_STS };
        if register & INTERRUPT_MASK == 0 {
            return self.write(line * 4, register);
        }
        self.write(line * 4, register | INTERRUPT_STS)?;
        self.write(WAKE_INT_STATUS_REG0, 1 << (line / LINES_PER_STATUS_BIT))?;
        for level in [1, 0] {
            self.command(&format!("set_irq_in {IOAPIC} unnamed-gpio-in {INTERRUPT} {level}"))?;
        }
        Ok(())
    }

    /// The level that the kernel drives a line to; `None` if it does not.
    pub fn output(&mut self, line: u32) -> Result<Option<bool>> {
        let register = self.register(line)?;
        Ok((register & OUTPUT_ENABLE != 0).then_some(register & OUTPUT_VALUE != 0))
    }

    /// Whether a line is pulled up.
    pub fn is_pulled_up(&mut self, line: u32) -> Result<bool> {
        Ok(self.register(line)? & PULL_UP_ENABLE != 0)
    }

    /// Whether the kernel waits for edges of a line.
    pub fn is_watched(&mut self, line: u32) -> Result<bool> {
        Ok(self.register(line)? & INTERRUPT_MASK != 0)
    }

    fn register(&mut self, line: u32) -> Result<u32> {
        let answer = self.command(&format!("readl {:#x}", BASE + line * 4))?;
        let value = answer.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let value = value.and_then(|value| u32::try_from(value).ok());
        value.with_context(|| format!("QEMU answered {answer:?} instead of a number of 32 bits"))
    }

    fn write(&mut self, register: u32, value: u32) -> Result<()> {
        self.command(&format!("writel {:#x} {value:#x}", BASE + register)).map(drop)
    }

    fn command(&mut self, command: &str) -> Result<String> {
        writeln!(self.commands, "{command}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim().strip_prefix("OK") {
            Some(rest) => Ok(rest.trim().to_owned()),
            None => bail!("QEMU answered {answer:?} to {command:?}"),
        }
    }
}
