//! LEDs and buttons (Arm DAI 0385, section 4.5): pins 0 and 1 are the LEDs, pins 2 and 3 the buttons.

use volatile_register::{RO, RW};
use wasmbed_abi::Errno;

const LEDS: u32 = 2;
const BUTTONS: u32 = 2;

#[repr(C)]
struct Registers {
    leds: RW<u32>,
    _0: u32,
    buttons: RO<u32>,
}

fn registers() -> &'static Registers {
    // SAFETY: the registers are at this address on this board, and each access to them is one word.
    unsafe { &*(0x4002_8000 as *const Registers) }
}

/// Switches an LED.
pub(super) fn write(pin: u32, high: bool) -> Result<(), Errno> {
    if pin >= LEDS {
        return Err(Errno::NotFound);
    }
    let mask = 1 << pin;
    // SAFETY: this function alone writes to the register, which touches no memory.
    unsafe { registers().leds.modify(|leds| if high { leds | mask } else { leds & !mask }) };
    Ok(())
}

/// Reads a button, or what an LED was set to.
pub(super) fn read(pin: u32) -> Result<bool, Errno> {
    match pin {
        ..LEDS => Ok(registers().leds.read() >> pin & 1 == 1),
        _ if pin < LEDS + BUTTONS => Ok(registers().buttons.read() >> (pin - LEDS) & 1 == 1),
        _ => Err(Errno::NotFound),
    }
}
