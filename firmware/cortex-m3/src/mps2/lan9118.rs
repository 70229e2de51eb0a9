//! The Ethernet controller, an SMSC LAN9220 or LAN9118 (datasheet DS00002266, chapters 3 and 5), through its FIFOs.
//!
//! Frames wait in the controller until the loop fetches them: its interrupt only wakes the board and is switched off
//! until the next [`listen`].

use core::sync::atomic::{AtomicBool, Ordering};

use cortex_m::peripheral::NVIC;
use volatile_register::{RO, RW, WO};
use wasmbed_firmware_common::{FRAME_BYTES, Nic};

use super::{ETHERNET, Irq};

static ATTENTION: AtomicBool = AtomicBool::new(false);

/// Looks at a register before the controller is given up.
const PATIENCE: u32 = 100_000;

#[repr(C)]
struct Registers {
    receive_data: RO<u32>,
    _0: [u32; 7],
    send_data: WO<u32>,
    _1: [u32; 7],
    receive_status: RO<u32>,
    _2: u32,
    send_status: RO<u32>,
    _3: [u32; 2],
    interrupt_config: RW<u32>,
    /// Writing a one ends an interrupt.
    interrupt_status: RW<u32>,
    interrupt_enable: RW<u32>,
    _4: u32,
    byte_test: RO<u32>,
    fifo_interrupt: RW<u32>,
    receive_config: RW<u32>,
    send_config: RW<u32>,
    hardware_config: RW<u32>,
    _5: u32,
    receive_fifo: RO<u32>,
    send_fifo: RO<u32>,
    _6: [u32; 8],
    mac_command: RW<u32>,
    mac_data: RW<u32>,
}

fn chip() -> &'static Registers {
    // SAFETY: the registers are at this address on this board, and each access to them is one word.
    unsafe { &*(0x4020_0000 as *const Registers) }
}

const BYTE_TEST: u32 = 0x8765_4321;
const SOFT_RESET: u32 = 1 << 0;
/// 5 KiB of the memory are for sending (HW_CFG), and bit 20 has to be set.
const MEMORY: u32 = 1 << 20 | 5 << 16;
/// An active high push-pull output (IRQ_CFG).
const INTERRUPT_ON: u32 = 1 << 8 | 1 << 4 | 1 << 0;
/// More receive statuses wait than FIFO_INT says, which is none.
const RECEIVED: u32 = 1 << 3;
const SEND_ON: u32 = 1 << 1;

const MAC_BUSY: u32 = 1 << 31;
const MAC_READ: u32 = 1 << 30;
const MAC_CONTROL: u32 = 1;
const MAC_ADDRESS_HIGH: u32 = 2;
const MAC_ADDRESS_LOW: u32 = 3;
/// Full duplex, transmitter, receiver (MAC_CR).
const MAC_ON: u32 = 1 << 20 | 1 << 3 | 1 << 2;

/// A frame in one piece (TX command A).
const WHOLE_FRAME: u32 = 1 << 13 | 1 << 12;
const CHECKSUM_BYTES: usize = 4;
const STATUS_ERROR: u32 = 1 << 15;

/// The controller.
pub struct Lan9118 {
    mac: [u8; 6],
}

impl Lan9118 {
    /// Resets the controller and switches it on, with the address that its EEPROM has given it; `None` if it does
    /// not answer.
    pub fn start() -> Option<Self> {
        let answers = |test: fn() -> bool| (0..PATIENCE).any(|_| test()).then_some(());
        answers(|| chip().byte_test.read() == BYTE_TEST)?;
        write(&chip().hardware_config, SOFT_RESET);
        answers(|| chip().hardware_config.read() & SOFT_RESET == 0)?;
        write(&chip().hardware_config, MEMORY);
        let [low, high] = [MAC_ADDRESS_LOW, MAC_ADDRESS_HIGH].map(mac_read);
        let ([a, b, c, d], [e, f, ..]) = (low?.to_le_bytes(), high?.to_le_bytes());
        write(&chip().fifo_interrupt, 0);
        write(&chip().interrupt_config, INTERRUPT_ON);
        write(&chip().send_config, SEND_ON);
        write(&chip().mac_data, MAC_ON);
        write(&chip().mac_command, MAC_BUSY | MAC_CONTROL);
        // SAFETY: the handler is static and ready.
        unsafe { NVIC::unmask(Irq(ETHERNET)) };
        Some(Lan9118 { mac: [a, b, c, d, e, f] })
    }
}

fn mac_read(register: u32) -> Option<u32> {
    write(&chip().mac_command, MAC_BUSY | MAC_READ | register);
    let is_done = (0..PATIENCE).any(|_| chip().mac_command.read() & MAC_BUSY == 0);
    is_done.then(|| chip().mac_data.read())
}

impl Nic for Lan9118 {
    fn mac(&self) -> [u8; 6] {
        self.mac
    }

    fn receive(&mut self, frame: &mut [u8; FRAME_BYTES]) -> Option<usize> {
        if !has_received() {
            return None;
        }
        let status = chip().receive_status.read();
        let bytes = (status >> 16 & 0x3fff) as usize;
        let mut places = frame.iter_mut();
        for _ in 0..bytes.div_ceil(size_of::<u32>()) {
            let word = chip().receive_data.read().to_le_bytes();
            // What is behind the largest frame is its checksum, or dropped.
            word.into_iter().zip(&mut places).for_each(|(byte, place)| *place = byte);
        }
        let len = bytes.saturating_sub(CHECKSUM_BYTES);
        (status & STATUS_ERROR == 0 && len <= FRAME_BYTES).then_some(len)
    }

    fn can_send(&self) -> bool {
        chip().send_fifo.read() & 0xffff > FRAME_BYTES as u32 + 16
    }

    fn send(&mut self, frame: &[u8]) {
        let len = frame.len() as u32;
        put(WHOLE_FRAME | len);
        put(len);
        for piece in frame.chunks(size_of::<u32>()) {
            let mut word = [0; size_of::<u32>()];
            word.iter_mut().zip(piece).for_each(|(place, byte)| *place = *byte);
            put(u32::from_le_bytes(word));
        }
        // How it went is nobody's business here, but has to be fetched.
        while chip().send_fifo.read() >> 16 & 0xff != 0 {
            chip().send_status.read();
        }
    }
}

/// Lets the next frame wake the board, or the one that is there.
pub(super) fn listen() {
    write(&chip().interrupt_status, RECEIVED);
    write(&chip().interrupt_enable, RECEIVED);
    if has_received() {
        ATTENTION.store(true, Ordering::Relaxed);
    }
}

/// Whether a frame was received since [`listen`].
pub(super) fn take_attention() -> bool {
    ATTENTION.swap(false, Ordering::Relaxed)
}

/// To be called by the handler of the Ethernet interrupt.
pub fn on_interrupt() {
    write(&chip().interrupt_enable, 0);
    ATTENTION.store(true, Ordering::Relaxed);
}

fn has_received() -> bool {
    chip().receive_fifo.read() >> 16 & 0xff != 0
}

fn put(word: u32) {
    // SAFETY: words of frames and their commands; the controller does not touch memory.
    unsafe { chip().send_data.write(word) };
}

fn write(register: &RW<u32>, value: u32) {
    // SAFETY: this module alone uses the registers, and the controller does not touch memory.
    unsafe { register.write(value) };
}
