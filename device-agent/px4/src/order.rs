//! What a module has a vehicle do, in words: the trace that is left of who moved one.

use core::fmt;

use wasmbed_abi::{ARM_DISARM, NAV_LAND, NAV_TAKEOFF, VehicleCommand};

/// What a module has a vehicle do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// [`Vehicles::send`](crate::Vehicles::send).
    Command(VehicleCommand),
    /// [`Vehicles::takeoff`](crate::Vehicles::takeoff).
    TakeOff {
        /// MAVLink system id; 0 is the only one there is.
        vehicle: u8,
        /// Above the place where it started, in metres; more than 0.
        altitude: f32,
    },
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Order::Command(VehicleCommand { command, vehicle, param1, .. }) => match command {
                ARM_DISARM if param1 == 1.0 => write!(f, "arms vehicle {vehicle}"),
                ARM_DISARM => write!(f, "disarms vehicle {vehicle}"),
                NAV_LAND => write!(f, "lands vehicle {vehicle}"),
                NAV_TAKEOFF => write!(f, "takes off with vehicle {vehicle}"),
                other => write!(f, "sends command {other} to vehicle {vehicle}"),
            },
            Order::TakeOff { vehicle, altitude } => {
                // What writes floats takes more flash on a board than all of this crate.
                let tenths = (altitude * 10.0 + 0.5) as u32;
                write!(f, "takes off to {}.{} m with vehicle {vehicle}", tenths / 10, tenths % 10)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{format, string::ToString as _};

    use super::*;

    #[test]
    fn an_order_says_what_moves_which_vehicle() {
        let said = |command| Order::Command(command).to_string();
        assert_eq!(said(VehicleCommand::arm(3, true)), "arms vehicle 3");
        assert_eq!(said(VehicleCommand::arm(3, false)), "disarms vehicle 3");
        assert_eq!(said(VehicleCommand::land(0)), "lands vehicle 0");
        assert_eq!(said(VehicleCommand::takeoff(1, 500.0)), "takes off with vehicle 1");
        let other = VehicleCommand { command: 511, vehicle: 2, ..VehicleCommand::default() };
        assert_eq!(said(other), "sends command 511 to vehicle 2");
        for (altitude, written) in [(5.0, "5.0"), (2.25, "2.3"), (0.01, "0.0"), (1e30, "429496729.5")] {
            let order = Order::TakeOff { vehicle: 0, altitude };
            assert_eq!(order.to_string(), format!("takes off to {written} m with vehicle 0"));
        }
    }
}
