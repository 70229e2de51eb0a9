//! Instructions.

use wasmbed_engines::{Bare, Machine, Native, Ours, Wasmi, start};
use wasmbed_runtime::bytecode;
use wasmbed_workloads as workloads;
use wasmtime::{Engine, Result};

use crate::{
    Board, IS_WASMI,
    modules::{CALLS_PLAIN, CALLS_SLICES, EMPTY, FIR, MIXED, Module},
};

/// Instructions in a microsecond of the clock.
const PER_US: u64 = 1000;
/// Repetitions of what is short beside the clock's steps.
const MANY: u32 = 1000;
/// Repetitions of what takes a while.
const FEW: u32 = 20;

pub(crate) fn measure(board: &Board) -> Result<()> {
    if !IS_WASMI {
        ticks(board, "fir", "native", 1, &mut Native::new(workloads::filter))?;
        ticks(board, "mixed", "native", 1, &mut Native::new(workloads::mixed))?;
    }
    for (what, module, times) in [
        ("fir", &FIR, 1),
        ("mixed", &MIXED, 1),
        ("call-in", &EMPTY, MANY),
        ("calls-plain", &CALLS_PLAIN, 1),
        ("calls-slices", &CALLS_SLICES, 1),
    ] {
        let mut run = |whose: &str, machine: &mut dyn Machine| ticks(board, what, whose, times, machine);
        if IS_WASMI { on_wasmi(module, &mut run)? } else { on_ours(board, module, &mut run)? }
    }
    if IS_WASMI { wasmi_instances(board) } else { our_instances(board) }
}

type Run<'a> = dyn FnMut(&str, &mut dyn Machine) -> Result<()> + 'a;

fn on_ours(board: &Board, module: &Module, run: &mut Run<'_>) -> Result<()> {
    {
        let runtime = board.runtime(board.stack_bytes())?;
        let module = module.load(&runtime)?;
        run("ours", &mut Ours::new(runtime, &module)?)?;
    }
    {
        let runtime = board.runtime(board.stack_bytes())?;
        run("engine", &mut Bare::new(runtime.engine(), &module.load_bare(runtime.engine())?)?)?;
    }
    let mut config = bytecode(board.class, board.class.limits().stack_bytes as usize);
    let engine = Engine::new(config.consume_fuel(false))?;
    run("uncounted", &mut Bare::new(&engine, &module.load_uncounted(&engine)?)?)
}

fn on_wasmi(module: &Module, run: &mut Run<'_>) -> Result<()> {
    run("wasmi", &mut Wasmi::new(&Wasmi::engine(false), module.wasm)?)?;
    run("wasmi-fuel", &mut Wasmi::new(&Wasmi::engine(true), module.wasm)?)
}

/// Instructions of one tick.
fn ticks(board: &Board, what: &str, whose: &str, times: u32, machine: &mut dyn Machine) -> Result<()> {
    // The first one finds nothing where it will be.
    machine.tick()?;
    board.figure(what, whose, count(board, times, || machine.tick())?);
    let result = machine.health()?.cast_unsigned();
    board.line(format_args!("{what}-result {whose} {result}"));
    Ok(())
}

/// Loading the larger of the modules, and making instances of it.
fn our_instances(board: &Board) -> Result<()> {
    let runtime = board.runtime(board.stack_bytes())?;
    board.figure("load", "ours", count(board, FEW, || MIXED.load(&runtime).map(drop))?);
    let module = MIXED.load(&runtime)?;
    board.figure("instantiate", "ours", count(board, FEW, || start(&runtime, &module).map(drop))?);
    Ok(())
}

fn wasmi_instances(board: &Board) -> Result<()> {
    // An engine keeps what it translated; each load has its own, so that memory does not run out.
    let load = || {
        let engine = Wasmi::engine(true);
        wasmi::Module::new(&engine, MIXED.wasm).map(|module| (engine, module))
    };
    board.figure("load", "wasmi-fuel", count(board, FEW, || Ok(load().map(drop)?))?);
    let (engine, module) = load()?;
    board.figure(
        "instantiate",
        "wasmi-fuel",
        count(board, FEW, || Wasmi::start(&engine, &module).map(drop))?,
    );
    Ok(())
}

/// Instructions of each of several repetitions.
fn count(board: &Board, times: u32, mut run: impl FnMut() -> Result<()>) -> Result<u64> {
    let start = (board.now_us)();
    for _ in 0..times {
        run()?;
    }
    let elapsed_us = (board.now_us)().saturating_sub(start);
    Ok(elapsed_us * PER_US / u64::from(times))
}
