//! The same fleet on another broker, by configuration alone.

use anyhow::Result;
use wasmbed_e2e::{BrokerKind, Fleet};

use crate::{control::thermo_runs_everywhere, faults::a_killed_board_comes_back};

#[test]
fn everything_works_with_mosquitto_instead() -> Result<()> {
    let fleet = Fleet::start(BrokerKind::Mosquitto)?;
    thermo_runs_everywhere(&fleet)?;
    a_killed_board_comes_back(&fleet, "n2-1")
}
