//! The same fleet on another broker, by configuration alone.

use anyhow::Result;
use wasmbed_e2e::{BrokerKind, Fleet};

use crate::{control::thermo_runs_everywhere, faults::a_killed_board_comes_back, ros::a_node_says_and_hears};

#[test]
fn everything_works_with_mosquitto_instead() -> Result<()> {
    let mut fleet = Fleet::start(BrokerKind::Mosquitto)?;
    thermo_runs_everywhere(&fleet)?;
    a_killed_board_comes_back(&fleet, "n2-1")?;
    a_node_says_and_hears(&mut fleet, "rv-1")
}
