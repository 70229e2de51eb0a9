//! `cargo xtask bench ota`: what an update of firmware costs, measured from outside on running fleets.
//!
//! Each line is: board, what, figure, unit, and where there is one the aim with the share of it that was used,
//! or by how much it was missed. What is compared was measured in the same run.
//!
//! The names of parts on the command line run these alone.

mod goodput;
mod link;
mod sizes;
mod swarm;
mod update;
mod wire;

use std::env;

use anyhow::{Result, bail};

/// A part of the benchmark and its name.
type Part = (&'static str, fn() -> Result<()>);

/// What is measured, in this order.
const PARTS: [Part; 4] =
    [("sizes", sizes::print), ("boards", update::boards), ("linux", wire::linux), ("swarm", swarm::print)];

fn main() -> Result<()> {
    let wanted: Vec<String> = env::args().skip(1).collect();
    if let Some(unknown) = wanted.iter().find(|name| PARTS.iter().all(|(part, _)| part != name)) {
        bail!("there is no part {unknown}; parts are: {}", PARTS.map(|(part, _)| part).join(", "));
    }
    for (part, print) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|name| name == part) {
            print()?;
        }
    }
    Ok(())
}
