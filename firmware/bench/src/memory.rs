//! Heap and stack that engines, modules and instances take, in bytes.

use wasmbed_engines::{Machine as _, Wasmi, start};
use wasmtime::{Result, ensure};

use crate::{
    Board, IS_WASMI,
    modules::{MIXED, SMALL},
    stack::used_by,
};

/// Instances at once; as many as the smallest class allows.
const INSTANCES: i32 = 5;
const TICKS: i32 = 3;
/// WebAssembly stack with which a small module still runs.
const LEAST_STACK_BYTES: usize = 512;

pub(crate) fn measure(board: &Board) -> Result<()> {
    if IS_WASMI {
        board.figure("stack", "wasmi-fuel", used_by(board, wasmi)?);
        return Ok(());
    }
    board.figure("stack", "ours", used_by(board, ours)?);
    board.figure("stack", "least", used_by(board, least)?);
    used_by(board, five).map(drop)
}

fn ours(board: &Board) -> Result<()> {
    board.figure("payload", "ours", MIXED.payload_bytes() as u64);
    let mut growth = Growth::new(board, "ours");
    let runtime = board.runtime(board.stack_bytes())?;
    growth.told("heap-engine");
    let module = MIXED.load(&runtime)?;
    growth.told("heap-module");
    let mut instance = start(&runtime, &module)?;
    instance.tick()?;
    growth.told("heap-instance");
    growth.peak("heap-peak");
    let mut another = start(&runtime, &module)?;
    another.tick()?;
    growth.told("heap-idle");
    Ok(())
}

/// What a board has to have before it can run anything.
fn least(board: &Board) -> Result<()> {
    board.figure("payload", "least", SMALL.payload_bytes() as u64);
    let mut growth = Growth::new(board, "least");
    let runtime = board.runtime(LEAST_STACK_BYTES)?;
    growth.told("heap-engine");
    let module = SMALL.load_within(&runtime)?;
    growth.told("heap-module");
    let mut instance = start(&runtime, &module)?;
    instance.tick()?;
    growth.told("heap-instance");
    growth.peak("heap-peak");
    Ok(())
}

fn wasmi(board: &Board) -> Result<()> {
    board.figure("payload", "wasmi-fuel", MIXED.wasm.len() as u64);
    let mut growth = Growth::new(board, "wasmi-fuel");
    let engine = Wasmi::engine(true);
    growth.told("heap-engine");
    let module = wasmi::Module::new(&engine, MIXED.wasm)?;
    growth.told("heap-module");
    let mut instance = Wasmi::start(&engine, &module)?;
    instance.tick()?;
    growth.told("heap-instance");
    growth.peak("heap-peak");
    let mut another = Wasmi::start(&engine, &module)?;
    another.tick()?;
    growth.told("heap-idle");
    Ok(())
}

/// Several instances of a small module, all alive and ticking.
fn five(board: &Board) -> Result<()> {
    let mut growth = Growth::new(board, "ours");
    let runtime = board.runtime(board.stack_bytes())?;
    let module = SMALL.load(&runtime)?;
    let mut instances = [(); INSTANCES as usize].map(|()| start(&runtime, &module));
    for _ in 0..TICKS {
        for instance in &mut instances {
            instance.as_mut().map_err(|error| wasmtime::format_err!("{error}"))?.tick()?;
        }
    }
    for instance in instances.iter_mut().flatten() {
        let ticks = instance.health()?;
        ensure!(ticks == TICKS, "an instance counts {ticks} ticks instead of {TICKS}");
    }
    growth.peak("heap-five");
    board.figure("payload-five", "ours", SMALL.payload_bytes() as u64);
    Ok(())
}

/// What is allocated, from one step to the next.
struct Growth<'a> {
    board: &'a Board,
    whose: &'static str,
    start: usize,
    last: usize,
}

impl<'a> Growth<'a> {
    fn new(board: &'a Board, whose: &'static str) -> Self {
        board.heap.forget_peak();
        let start = board.heap.usage().used;
        Growth { board, whose, start, last: start }
    }

    /// Tells what came since the last time.
    fn told(&mut self, what: &str) {
        let used = self.board.heap.usage().used;
        self.board.figure(what, self.whose, used.saturating_sub(self.last) as u64);
        self.last = used;
    }

    /// Tells the most there was since the beginning.
    fn peak(&mut self, what: &str) {
        let peak = self.board.heap.usage().peak;
        self.board.figure(what, self.whose, peak.saturating_sub(self.start) as u64);
    }
}
