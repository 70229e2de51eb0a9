//! Work inside a module, natively and in every runtime, and what limits add to it.

use wasmbed_engines::Native;
use wasmbed_figures::{Aim, line, plain_ratio, ratio};
use wasmbed_workloads as workloads;
use wasmtime::Result;

use crate::{
    Module,
    machine::{linux_unlimited, ours_linux, ours_pulley, pulley_unlimited, wasmi, wasmi_metered},
    race::Times,
};

/// How much faster than the interpreter Linux devices are to be.
const FASTER: f64 = 10.0;

pub(crate) fn print(fir: &Module, mixed: &Module) -> Result<()> {
    measure("FIR filter", workloads::filter, fir)?;
    measure("mixed integers", workloads::mixed, mixed)
}

fn measure(what: &str, work: fn(u32) -> u32, module: &Module) -> Result<()> {
    let Module { boards, linux } = module;
    let times = Times::of_ticks(vec![
        ("native", Box::new(Native::new(work))),
        ("linux", Box::new(ours_linux(linux)?)),
        ("boards' build", Box::new(ours_linux(boards)?)),
        ("pulley", Box::new(ours_pulley(boards)?)),
        ("wasmi, boards'", Box::new(wasmi(boards)?)),
        ("wasmi, linux'", Box::new(wasmi(linux)?)),
        ("no epochs", Box::new(linux_unlimited(linux)?)),
        ("no fuel", Box::new(pulley_unlimited(boards)?)),
        ("fuel", Box::new(wasmi_metered(boards)?)),
    ])?;
    // The one that suits it better.
    let builds = ["wasmi, boards'", "wasmi, linux'"];
    let other = if times.ratio(builds[0], builds[1]) <= 1.0 { builds[0] } else { builds[1] };
    for (subject, name) in [("native", "native"), ("linux", "linux"), ("pulley", "pulley"), ("wasmi", other)]
    {
        line(subject, what, times.median(name) / 1000.0, "us");
        if name != "native" {
            plain_ratio(subject, &format!("{what}: / native"), times.ratio(name, "native"));
        }
    }
    ratio("linux", &format!("{what}: wasmi / ours"), times.ratio(other, "linux"), Aim::AtLeast(FASTER));
    plain_ratio("linux", &format!("{what}: / boards'"), times.ratio("linux", "boards' build"));
    plain_ratio("pulley", &format!("{what}: wasmi / ours"), times.ratio(other, "pulley"));
    plain_ratio("linux", &format!("{what}: with epochs"), times.ratio("linux", "no epochs"));
    plain_ratio("pulley", &format!("{what}: with fuel"), times.ratio("pulley", "no fuel"));
    plain_ratio("wasmi", &format!("{what}: with fuel"), times.ratio("fuel", builds[0]));
    Ok(())
}
