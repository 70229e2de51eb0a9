//! USART3 with a ring in each direction: the line to an autopilot.

use core::{
    cell::RefCell,
    sync::atomic::{AtomicBool, Ordering},
};

use critical_section::Mutex;
use stm32f2::stm32f215::{Interrupt, NVIC, USART3};
use wasmbed_firmware_common::{Serial, ring::Ring};
use wasmbed_px4::Ends;

/// Holds what a vehicle says while a module runs for as long as it may: some tens of messages, of which the longest have
/// 280 bytes.
const RX_BYTES: usize = 1024;
/// Holds what is said at once: a command, and what a vehicle is asked for when it is met.
const TX_BYTES: usize = 256;

static RX: Ring<RX_BYTES> = Ring::new();
static TX: Ring<TX_BYTES> = Ring::new();
static ATTENTION: AtomicBool = AtomicBool::new(false);
static ENDS: Mutex<RefCell<Ends>> = Mutex::new(RefCell::new(Ends::new()));

/// The line.
pub struct Usart3 {
    usart: USART3,
}

impl Usart3 {
    /// Switches transmitter, receiver and receive interrupt on.
    pub fn start(usart: USART3, baud_divisor: u16) -> Self {
        // SAFETY: every value of 16 bits is a divisor.
        usart.brr().write(|w| unsafe { w.bits(baud_divisor) });
        usart.cr1().write(|w| w.ue().set_bit().te().set_bit().re().set_bit().rxneie().set_bit());
        // SAFETY: the handler and its rings are static and ready.
        unsafe { NVIC::unmask(Interrupt::USART3) };
        Usart3 { usart }
    }

    /// Leaves everything as it is after a reset. What is queued is lost.
    pub fn stop(&mut self) {
        self.usart.cr1().reset();
        self.usart.brr().reset();
        NVIC::mask(Interrupt::USART3);
        NVIC::unpend(Interrupt::USART3);
    }
}

impl Serial for Usart3 {
    fn read(&mut self, out: &mut [u8]) -> usize {
        RX.read(out)
    }

    fn room(&self) -> usize {
        TX.room()
    }

    fn write(&mut self, bytes: &[u8]) {
        TX.write(bytes);
        critical_section::with(|_| pump(&self.usart));
    }
}

/// Whether something worth waking up for was received since the last call: the end of a frame, or more than half of the
/// ring.
pub fn take_attention() -> bool {
    ATTENTION.swap(false, Ordering::Relaxed)
}

/// To be called by the USART3 interrupt handler.
pub fn on_interrupt() {
    // SAFETY: handler and critical sections, which alone use the registers of a line that was started, exclude each
    // other.
    let usart = unsafe { USART3::steal() };
    // Each look at the registers costs an emulator dear, so there is one for each byte.
    let status = usart.sr().read();
    if status.rxne().bit_is_set() {
        let byte = usart.dr().read().dr().bits() as u8;
        RX.push(byte);
        let is_end = critical_section::with(|cs| ENDS.borrow_ref_mut(cs).is_end(byte));
        if is_end || RX.room() < RX_BYTES / 2 {
            ATTENTION.store(true, Ordering::Relaxed);
        }
    }
    if status.txe().bit_is_set() && !TX.is_empty() {
        pump(&usart);
    }
}

fn pump(usart: &USART3) {
    while usart.sr().read().txe().bit_is_set() {
        let Some(byte) = TX.pop() else { break };
        // SAFETY: a byte is data to send.
        usart.dr().write(|w| unsafe { w.bits(byte.into()) });
    }
    let more = !TX.is_empty();
    usart.cr1().modify(|_, w| w.txeie().bit(more));
}
