//! How much fuel a millisecond is.
//!
//! A loop that never ends is given fuel until using it up takes long enough to be timed. It is the loop in
//! which fuel lasts longest, so that a limit holds for every module; one that does more between two checks
//! of its fuel is stopped earlier, at about half of its time.

use wasmtime::{Engine, Instance, Store, Trap, TypedFunc};

use crate::{CalibrateError, meter::burn};

#[cfg_attr(feature = "compile", path = "calibrate/compiled_here.rs")]
mod precompiled;

#[cfg(feature = "compile")]
pub use precompiled::measuring_loop;

/// Long enough that a clock of one millisecond and a busy emulator do not matter much.
const MEASURE_US: u64 = 20_000;
/// Takes less than a millisecond on any machine of ours.
const FIRST_FUEL: u64 = 1_000;
/// Four times what the fastest machine of ours uses in that time: a clock that shows less stands still.
const MAX_FUEL: u64 = 1 << 26;
/// The fastest of them is the one that was disturbed least.
const ROUNDS: u32 = 3;

/// Fuel used in one millisecond, at least 1.
pub(crate) fn measure(engine: &Engine, mut now_us: impl FnMut() -> u64) -> Result<u32, CalibrateError> {
    let (mut store, tick) = instantiate(engine).map_err(|_| CalibrateError::LoopFailed)?;
    let mut fuel = FIRST_FUEL;
    let mut elapsed_us = time(&mut store, &tick, fuel, &mut now_us)?;
    while elapsed_us < MEASURE_US {
        fuel *= 2;
        if fuel > MAX_FUEL {
            return Err(CalibrateError::ClockStandsStill);
        }
        elapsed_us = time(&mut store, &tick, fuel, &mut now_us)?;
    }
    for _ in 1..ROUNDS {
        elapsed_us = elapsed_us.min(time(&mut store, &tick, fuel, &mut now_us)?.max(1));
    }
    Ok(u32::try_from(fuel * 1000 / elapsed_us).unwrap_or(u32::MAX).max(1))
}

fn instantiate(engine: &Engine) -> wasmtime::Result<(Store<()>, TypedFunc<(), ()>)> {
    let module = precompiled::module(engine)?;
    let mut store = Store::try_new(engine, ())?;
    store.set_fuel(FIRST_FUEL)?;
    let instance = Instance::new(&mut store, &module, &[])?;
    let tick = instance.get_typed_func(&mut store, "tick")?;
    Ok((store, tick))
}

/// Time the loop takes to use up this much fuel, in microseconds.
fn time(
    store: &mut Store<()>,
    tick: &TypedFunc<(), ()>,
    fuel: u64,
    now_us: &mut impl FnMut() -> u64,
) -> Result<u64, CalibrateError> {
    let start = now_us();
    let (result, _) = burn(store, fuel, |store| tick.call(store, ()));
    let elapsed_us = now_us().saturating_sub(start);
    match result.map_err(|error| error.downcast_ref::<Trap>().copied()) {
        Err(Some(Trap::OutOfFuel)) => Ok(elapsed_us),
        _ => Err(CalibrateError::LoopFailed),
    }
}
