//! The same fleet on a broker that speaks MQTT 3.1.1 only and knows no retained messages below a wildcard.

use anyhow::Result;
use wasmbed_e2e::{BrokerKind, Fleet, Limit};

use crate::{control::thermo_runs_everywhere, faults::a_killed_board_comes_back, ros::a_node_says_and_hears};

/// Boards with a line of their own and with Ethernet, and Linux.
const DEVICES: &[(&str, &str)] = &[("n2-1", "netduino2"), ("rv-1", "rv32-virt"), ("hub-1", "linux")];

#[test]
fn everything_works_with_rabbitmq_instead() -> Result<()> {
    let mut fleet = Fleet::start_with(BrokerKind::RabbitMq, DEVICES)?;
    thermo_runs_everywhere(&fleet)?;
    a_killed_board_comes_back(&fleet, "n2-1")?;
    // What devices said before is not said to it again: it hears of them as they go on.
    fleet.kill_service()?;
    fleet.start_service()?;
    fleet.wait("the service to be there", Limit::seconds(60), || Ok(fleet.device("hub-1").is_ok()))?;
    for id in fleet.devices() {
        fleet.wait_running(&id, "thermo", Limit::seconds(60))?;
    }
    // The broker keeps nothing that matters.
    fleet.kill_broker()?;
    fleet.start_broker()?;
    // A question asked before the service is back is lost with its answer.
    fleet.wait("the service to be back", Limit::seconds(60), || Ok(fleet.device("hub-1").is_ok()))?;
    for id in fleet.devices() {
        fleet.wait_fresh_heartbeat(&id, Limit::seconds(60))?;
        fleet.wait_running(&id, "thermo", Limit::seconds(60))?;
    }
    a_node_says_and_hears(&mut fleet, "rv-1")
}
