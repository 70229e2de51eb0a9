//! Chips on buses, made up from a file: what they answer to what is written to them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use wasmbed_abi::{Errno, I2C_ADDRESSES, MAX_BUS_BYTES};

use super::script::{Course, Values};

/// Chips as written: `BUS.ADDRESS` or `BUS.CHIP_SELECT`, then bytes in hexadecimal and what they are answered with.
pub(super) type Config = BTreeMap<String, BTreeMap<String, Values<String>>>;

/// Chips by bus and address, and by bus and chip select.
#[derive(Debug, Default)]
pub(super) struct Buses {
    i2c: BTreeMap<(u32, u32), Chip>,
    spi: BTreeMap<(u32, u32), Chip>,
}

/// What is written to a chip, and what it answers.
#[derive(Debug)]
struct Chip(BTreeMap<Vec<u8>, Course<Vec<u8>>>);

impl Buses {
    pub(super) fn new(i2c: Config, spi: Config) -> Result<Self> {
        let buses = Buses { i2c: chips(i2c).context("i2c")?, spi: chips(spi).context("spi")? };
        for (bus, address) in buses.i2c.keys() {
            let is_address = u8::try_from(*address).is_ok_and(|address| I2C_ADDRESSES.contains(&address));
            ensure!(is_address, "i2c: {address:#04x} on bus {bus} is no address of a chip; use 0x08 to 0x77");
        }
        Ok(buses)
    }

    /// A chip that is written to acknowledges whatever it is; what is read was said for exactly these bytes, with
    /// 0xFF after it.
    pub(super) fn i2c(
        &self,
        (bus, address): (u32, u8),
        write: &[u8],
        read: &mut [u8],
        now_ms: u64,
    ) -> Result<(), Errno> {
        if !self.i2c.keys().any(|(known, _)| *known == bus) {
            return Err(Errno::NotFound);
        }
        let chip = self.i2c.get(&(bus, address.into())).ok_or(Errno::Io)?;
        let Some(course) = chip.0.get(write) else {
            return if read.is_empty() { Ok(()) } else { Err(Errno::Io) };
        };
        put(&course.at(now_ms).map_err(|_| Errno::Io)?, read, 0xff);
        Ok(())
    }

    /// The answer is the one for the longest bytes that the transfer begins with, and zeros after it.
    pub(super) fn spi(&self, place: (u32, u32), bytes: &mut [u8], now_ms: u64) -> Result<(), Errno> {
        let chip = self.spi.get(&place).ok_or(Errno::NotFound)?;
        let fitting = chip.0.iter().filter(|(written, _)| bytes.starts_with(written));
        let (_, course) = fitting.max_by_key(|(written, _)| written.len()).ok_or(Errno::Io)?;
        put(&course.at(now_ms).map_err(|_| Errno::Io)?, bytes, 0);
        Ok(())
    }
}

fn put(answer: &[u8], out: &mut [u8], rest: u8) {
    out.fill(rest);
    out.iter_mut().zip(answer).for_each(|(out, byte)| *out = *byte);
}

fn chips(config: Config) -> Result<BTreeMap<(u32, u32), Chip>> {
    let chips = config.into_iter().map(|(place, answers)| {
        let numbers = place.split_once('.').and_then(|(bus, chip)| Some((number(bus)?, number(chip)?)));
        let numbers =
            numbers.with_context(|| format!("{place:?} is no chip; write BUS.NUMBER, such as 1.0x48"))?;
        let answers = answers.into_iter().map(|(written, answers)| {
            let course = Course::new(answers, |answer| bytes(&answer))
                .with_context(|| format!("{place}: {written}"))?;
            Ok((bytes(&written)?, course))
        });
        Ok((numbers, Chip(answers.collect::<Result<_>>()?)))
    });
    chips.collect()
}

fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// Bytes of hexadecimal digits, which spaces may separate.
fn bytes(text: &str) -> Result<Vec<u8>> {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b' ').collect();
    let nibble = |digit: u8| char::from(digit).to_digit(16).and_then(|nibble| u8::try_from(nibble).ok());
    let (pairs, rest) = digits.as_chunks::<2>();
    let read = pairs
        .iter()
        .map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?))
        .collect::<Option<Vec<u8>>>();
    match read {
        Some(bytes) if rest.is_empty() && bytes.len() <= MAX_BUS_BYTES => Ok(bytes),
        _ => bail!(
            "{text:?} is not bytes; write two hexadecimal digits for each, at most {MAX_BUS_BYTES} of them"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buses(i2c: &str, spi: &str) -> Result<Buses> {
        Buses::new(toml::from_str(i2c)?, toml::from_str(spi)?)
    }

    #[test]
    fn a_chip_answers_what_was_said() {
        let buses = buses(
            "[\"1.0x48\"]\n00 = \"19 00\"\n01 = [{ at_ms = 10, value = \"60\" }, { at_ms = 20, fault = true }]",
            "[\"3.0\"]\n9f = \"00ef4014\"\n9f01 = \"0001\"",
        )
        .expect("chips");
        let i2c = |address, write: &[u8], now_ms| {
            let mut read = [0; 3];
            buses.i2c((1, address), write, &mut read, now_ms).map(|()| read)
        };
        assert_eq!(i2c(0x48, &[0], 0), Ok([0x19, 0, 0xff]));
        assert_eq!(i2c(0x48, &[1], 0), Err(Errno::Io));
        assert_eq!(i2c(0x48, &[1], 10), Ok([0x60, 0xff, 0xff]));
        assert_eq!(i2c(0x48, &[1], 20), Err(Errno::Io));
        assert_eq!(i2c(0x48, &[2], 0), Err(Errno::Io));
        assert_eq!(i2c(0x49, &[0], 0), Err(Errno::Io));
        assert_eq!(buses.i2c((1, 0x48), &[2, 3], &mut [], 0), Ok(()), "it acknowledges");
        assert_eq!(buses.i2c((2, 0x48), &[0], &mut [], 0), Err(Errno::NotFound));
        let spi = |place, mut bytes: [u8; 5]| buses.spi(place, &mut bytes, 0).map(|()| bytes);
        assert_eq!(spi((3, 0), [0x9f, 0, 0, 0, 0]), Ok([0, 0xef, 0x40, 0x14, 0]));
        assert_eq!(spi((3, 0), [0x9f, 1, 0, 0, 0]), Ok([0, 1, 0, 0, 0]));
        assert_eq!(spi((3, 0), [0; 5]), Err(Errno::Io));
        assert_eq!(spi((3, 1), [0x9f, 0, 0, 0, 0]), Err(Errno::NotFound));
    }

    #[test]
    fn mistakes_are_named() {
        for (i2c, expected) in [
            ("[\"1\"]", "write BUS.NUMBER"),
            ("[\"1.x\"]", "write BUS.NUMBER"),
            ("[\"1.0x80\"]", "0x80 on bus 1 is no address"),
            ("[\"1.0x48\"]\n0 = \"00\"", "\"0\" is not bytes"),
            ("[\"1.0x48\"]\n00 = \"0g\"", "\"0g\" is not bytes"),
        ] {
            let error = format!("{:#}", buses(i2c, "").expect_err(i2c));
            assert!(error.contains(expected), "{i2c}: {error}");
        }
    }
}
