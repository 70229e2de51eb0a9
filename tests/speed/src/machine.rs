//! Engines on this machine.

use std::time::Instant;

use wasmbed_engines::{Bare, Ours, Wasmi};
use wasmbed_runtime::{Module, Runtime, Target, bytecode as board_settings, compile};
use wasmbed_wire::limits::Class;
use wasmtime::{Config, Engine, Result};

/// The class whose bytecode is measured: the one of the larger boards.
const BOARD: Class = Class::Riscv;

/// The runtime of a Linux device.
pub(crate) fn linux() -> Result<Runtime> {
    Ok(Runtime::new(Class::Mpu)?)
}

/// The runtime of a board.
pub(crate) fn board() -> Result<Runtime> {
    let runtime = Runtime::bytecode(BOARD, BOARD.limits().stack_bytes as usize)?;
    let start = Instant::now();
    runtime.calibrate(|| start.elapsed().as_micros() as u64)?;
    Ok(runtime)
}

/// What the fleet sends to a board, for this machine.
pub(crate) fn bytecode(wasm: &[u8]) -> Result<Vec<u8>> {
    Ok(compile(wasm, Target::HERE, BOARD)?)
}

/// Takes what [`bytecode`] made.
pub(crate) fn load(runtime: &Runtime, bytecode: &[u8]) -> Result<Module> {
    #[allow(unsafe_code, reason = "the contract is kept: `bytecode` made the bytes in this program")]
    // SAFETY: see above.
    let module = unsafe { runtime.load_copied(bytecode, 0) };
    Ok(module?)
}

/// Our runtime as Linux devices have it.
pub(crate) fn ours_linux(wasm: &[u8]) -> Result<Ours> {
    let runtime = linux()?;
    let module = runtime.load_wasm(wasm)?;
    Ours::new(runtime, &module)
}

/// Our runtime as boards have it.
pub(crate) fn ours_pulley(wasm: &[u8]) -> Result<Ours> {
    let runtime = board()?;
    let module = load(&runtime, &bytecode(wasm)?)?;
    Ours::new(runtime, &module)
}

/// The engine of Linux devices.
pub(crate) fn bare_linux(wasm: &[u8]) -> Result<Bare> {
    bare(linux()?.engine(), wasm)
}

/// The engine of boards.
pub(crate) fn bare_pulley(wasm: &[u8]) -> Result<Bare> {
    bare(board()?.engine(), wasm)
}

/// Native code that does not look whether its time is over.
pub(crate) fn linux_unlimited(wasm: &[u8]) -> Result<Bare> {
    let mut config = Config::new();
    bare(&Engine::new(config.wasm_custom_page_sizes(true))?, wasm)
}

/// Bytecode that does not count.
pub(crate) fn pulley_unlimited(wasm: &[u8]) -> Result<Bare> {
    bare(&Engine::new(&uncounted(BOARD, Target::HERE)?)?, wasm)
}

/// The settings of a board's engine that does not count.
pub(crate) fn uncounted(class: Class, target: Target) -> Result<Config> {
    let mut config = board_settings(class, class.limits().stack_bytes as usize);
    config.target(target.name())?.consume_fuel(false);
    Ok(config)
}

fn bare(engine: &Engine, wasm: &[u8]) -> Result<Bare> {
    Bare::new(engine, &wasmtime::Module::from_binary(engine, wasm)?)
}

/// Another interpreter, as fast as it is: without limits.
pub(crate) fn wasmi(wasm: &[u8]) -> Result<Wasmi> {
    Wasmi::new(&Wasmi::engine(false), wasm)
}

/// With its own count of fuel.
pub(crate) fn wasmi_metered(wasm: &[u8]) -> Result<Wasmi> {
    Wasmi::new(&Wasmi::engine(true), wasm)
}
