//! I2C and SPI buses of this machine that modules may use: those that the configuration names, and no others.
//!
//! ```toml
//! [[i2c]]
//! bus = 1                             # the number that modules use
//! device = "/dev/i2c-1"
//!
//! [[spi]]
//! bus = 0
//! chip_select = 0
//! device = "/dev/spidev0.0"
//! mode = 0                            # 0 to 3, 0 if absent
//! speed_hz = 1_000_000                # if absent
//! ```
//!
//! A device is opened for each transaction: it may come and go, and transactions of several modules take turns in the
//! kernel.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::ensure;
use i2cdev::{
    core::{I2CMessage as _, I2CTransfer as _},
    linux::{LinuxI2CBus, LinuxI2CError, LinuxI2CMessage},
};
use serde::Deserialize;
use spidev::{SpiModeFlags, Spidev, SpidevOptions, SpidevTransfer};
use wasmbed_abi::Errno;

/// Speed of an SPI bus that is not configured otherwise, in hertz.
const SPI_HZ: u32 = 1_000_000;

/// An I2C bus as configured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct I2cConfig {
    bus: u32,
    device: PathBuf,
}

/// A chip on an SPI bus as configured.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpiConfig {
    bus: u32,
    chip_select: u32,
    device: PathBuf,
    #[serde(default)]
    mode: u8,
    #[serde(default = "spi_hz")]
    speed_hz: u32,
}

/// The buses that modules may use; clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buses(Arc<Tables>);

#[derive(Debug, Default)]
struct Tables {
    i2c: BTreeMap<u32, PathBuf>,
    spi: BTreeMap<(u32, u32), SpiConfig>,
}

impl Buses {
    /// Checks the configuration; the devices themselves may come later.
    pub(crate) fn new(i2c: Vec<I2cConfig>, spi: Vec<SpiConfig>) -> anyhow::Result<Self> {
        let mut tables = Tables::default();
        for I2cConfig { bus, device } in i2c {
            let is_new = tables.i2c.insert(bus, device).is_none();
            ensure!(is_new, "i2c has bus {bus} twice; give each device a number of its own");
        }
        for chip in spi {
            let (bus, chip_select) = (chip.bus, chip.chip_select);
            ensure!(chip.mode <= 3, "spi has mode {} for bus {bus}; use 0 to 3", chip.mode);
            ensure!(chip.speed_hz > 0, "spi has speed_hz 0 for bus {bus}; use 1 or more");
            let is_new = tables.spi.insert((bus, chip_select), chip).is_none();
            ensure!(is_new, "spi has chip select {chip_select} of bus {bus} twice; give each device its own");
        }
        Ok(Buses(Arc::new(tables)))
    }

    /// Writes to a chip and then reads from it, with a repeated start between.
    ///
    /// # Errors
    /// [`Errno::Unsupported`] if modules have no I2C bus, [`Errno::NotFound`] if they do not have this one,
    /// [`Errno::Io`] if it does not work.
    pub(crate) fn i2c(&self, bus: u32, address: u8, write: &[u8], read: &mut [u8]) -> Result<(), Errno> {
        let device = find(&self.0.i2c, &bus)?;
        i2c_transfer(device, address.into(), write, read).map_err(|error| failed(device, &error))
    }

    /// Exchanges bytes with a chip, in place.
    ///
    /// # Errors
    /// As for [`i2c`](Buses::i2c).
    pub(crate) fn spi(&self, bus: u32, chip_select: u32, bytes: &mut [u8]) -> Result<(), Errno> {
        let chip = find(&self.0.spi, &(bus, chip_select))?;
        spi_transfer(chip, bytes).map_err(|error| failed(&chip.device, &error))
    }
}

fn spi_hz() -> u32 {
    SPI_HZ
}

fn find<'t, K: Ord, V>(table: &'t BTreeMap<K, V>, key: &K) -> Result<&'t V, Errno> {
    if table.is_empty() { Err(Errno::Unsupported) } else { table.get(key).ok_or(Errno::NotFound) }
}

fn i2c_transfer(device: &Path, address: u16, write: &[u8], read: &mut [u8]) -> Result<(), LinuxI2CError> {
    let mut messages = Vec::with_capacity(2);
    if !write.is_empty() {
        messages.push(LinuxI2CMessage::write(write).with_address(address));
    }
    if !read.is_empty() {
        messages.push(LinuxI2CMessage::read(read).with_address(address));
    }
    LinuxI2CBus::new(device)?.transfer(&mut messages).map(drop)
}

fn spi_transfer(chip: &SpiConfig, bytes: &mut [u8]) -> std::io::Result<()> {
    let mut spi = Spidev::open(&chip.device)?;
    let mode = SpiModeFlags::from_bits_truncate(chip.mode.into());
    let options = SpidevOptions::new().bits_per_word(8).max_speed_hz(chip.speed_hz).mode(mode).build();
    spi.configure(&options)?;
    let write = bytes.to_vec();
    spi.transfer(&mut SpidevTransfer::read_write(&write, bytes))
}

fn failed(device: &Path, why: &dyn fmt::Display) -> Errno {
    // Not an error of this program: a module may look for chips that are not there.
    tracing::debug!("{}: {why}", device.display());
    Errno::Io
}

#[cfg(test)]
mod tests {
    use super::*;

    fn i2c(bus: u32, device: &str) -> I2cConfig {
        I2cConfig { bus, device: device.into() }
    }

    fn spi(bus: u32, chip_select: u32, device: &str) -> SpiConfig {
        SpiConfig { bus, chip_select, device: device.into(), mode: 3, speed_hz: SPI_HZ }
    }

    #[test]
    fn what_is_not_configured_is_not_there() {
        let none = Buses::default();
        assert_eq!(none.i2c(1, 0x48, b"x", &mut []), Err(Errno::Unsupported));
        assert_eq!(none.spi(0, 0, &mut [0]), Err(Errno::Unsupported));
        let buses = Buses::new(vec![i2c(1, "/dev/null")], vec![spi(0, 1, "/dev/null")]).expect("buses");
        assert_eq!(buses.i2c(2, 0x48, b"x", &mut []), Err(Errno::NotFound));
        assert_eq!(buses.spi(0, 0, &mut [0]), Err(Errno::NotFound));
        assert_eq!(buses.spi(1, 1, &mut [0]), Err(Errno::NotFound));
    }

    #[test]
    fn a_device_that_is_absent_or_no_bus_is_a_failure() {
        for device in ["/dev/null", "/dev/no-such-device"] {
            let buses = Buses::new(vec![i2c(1, device)], vec![spi(0, 0, device)]).expect("buses");
            let mut out = [7; 2];
            for (write, read) in [(&b"x"[..], &mut out[..]), (b"x", &mut []), (b"", &mut [0; 1])] {
                assert_eq!(buses.i2c(1, 0x48, write, read), Err(Errno::Io), "{device}");
            }
            assert_eq!(buses.spi(0, 0, &mut out), Err(Errno::Io), "{device}");
            assert_eq!(out, [7; 2], "nothing was read");
        }
    }

    #[test]
    fn each_number_stands_for_one_device() {
        let said = |i2c, spi| Buses::new(i2c, spi).expect_err("a mistake").to_string();
        assert!(said(vec![i2c(1, "a"), i2c(1, "b")], vec![]).contains("bus 1 twice"));
        assert!(said(vec![], vec![spi(0, 2, "a"), spi(0, 2, "b")]).contains("chip select 2 of bus 0 twice"));
        assert!(said(vec![], vec![SpiConfig { mode: 4, ..spi(0, 0, "a") }]).contains("use 0 to 3"));
        assert!(said(vec![], vec![SpiConfig { speed_hz: 0, ..spi(0, 0, "a") }]).contains("use 1 or more"));
    }
}
