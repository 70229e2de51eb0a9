//! Vehicles under an autopilot that speaks MAVLink, such as PX4: what modules say to them, and hear of them.
//!
//! Fields mean what MAVLink's common messages mean by them; PX4 fills those from its `VehicleStatus`, `BatteryStatus`
//! and `VehicleLocalPosition`, and reads commands into its `VehicleCommand`.

use crate::layout::layout;

/// Age from which a vehicle's status is stale, in milliseconds: it says that it is there each second.
pub const STATUS_STALE_MS: u32 = 3_000;
/// Age from which a battery's status is stale, in milliseconds: it is asked for each second.
pub const BATTERY_STALE_MS: u32 = 5_000;
/// Age from which a position is stale, in milliseconds: it is asked for ten times a second.
pub const POSITION_STALE_MS: u32 = 1_000;
/// In `flags`: the age is at or beyond its limit, so the rest is how it was and perhaps not how it is.
pub const STALE: u8 = 1;
/// In a status's `flags`: motors may turn.
pub const ARMED: u8 = 2;
/// Commands of one instance whose answers can be asked for; the answer to an earlier one is forgotten.
pub const MAX_VEHICLE_COMMANDS: usize = 16;
/// Parameters that one instance may have asked for without having fetched the answer.
pub const MAX_VEHICLE_QUESTIONS: usize = 16;
/// Time that a vehicle's answer about a parameter waits to be fetched, in milliseconds; later it is asked for again.
pub const ANSWER_STALE_MS: u32 = 5_000;
/// A number that the vehicle does not know.
pub const UNKNOWN: i32 = i32::MIN;
/// A battery's `remaining` that the vehicle does not know.
pub const UNKNOWN_PERCENT: u8 = u8::MAX;
/// A command's `frame` that has none: its parameters are no position.
pub const NO_FRAME: u8 = u8::MAX;
/// Longest name of a parameter, in bytes.
pub const MAX_PARAMETER_NAME_BYTES: usize = 16;

/// `MAV_CMD_COMPONENT_ARM_DISARM`.
pub const ARM_DISARM: u16 = 400;
/// `MAV_CMD_NAV_TAKEOFF`.
pub const NAV_TAKEOFF: u16 = 22;
/// `MAV_CMD_NAV_LAND`.
pub const NAV_LAND: u16 = 21;

layout! {
    /// A command (MAVLink `COMMAND_LONG` and `COMMAND_INT`, PX4 `VehicleCommand`).
    VehicleCommand, 48 {
        /// `MAV_CMD`, which also says what the parameters are and in which units.
        0 command: u16 U16,
        /// MAVLink system id of the vehicle, 1 to 255; 0 is the only one there is.
        2 vehicle: u8 U8,
        /// MAVLink component id of what is to carry it out; 0 is the autopilot (1).
        3 component: u8 U8,
        /// `MAV_FRAME` of a command about a position: parameters 5 and 6 are degrees of latitude and longitude, or
        /// metres in a local frame, and parameter 7 metres. [`NO_FRAME`] if it is not about one.
        4 frame: u8 U8,
        /// Parameter 1. Not a number stands for what the command leaves to the vehicle, here and below.
        8 param1: f32 F32,
        /// Parameter 2.
        12 param2: f32 F32,
        /// Parameter 3.
        16 param3: f32 F32,
        /// Parameter 4.
        20 param4: f32 F32,
        /// Parameter 5. Without a frame it is carried as `f32`.
        24 param5: f64 F64,
        /// Parameter 6. Without a frame it is carried as `f32`.
        32 param6: f64 F64,
        /// Parameter 7.
        40 param7: f32 F32,
    }
}

layout! {
    /// How a vehicle is (MAVLink `HEARTBEAT`, `EXTENDED_SYS_STATE` and `SYS_STATUS`, PX4 `VehicleStatus`).
    VehicleStatus, 32 {
        /// Time since the heartbeat it is from, in milliseconds.
        0 age_ms: u32 U32,
        /// [`STALE`] from [`STATUS_STALE_MS`] on, [`ARMED`].
        4 flags: u8 U8,
        /// MAVLink system id, 1 to 255.
        5 vehicle: u8 U8,
        /// `MAV_TYPE`: 1 fixed wing, 2 quadrotor, 10 rover, …
        6 kind: u8 U8,
        /// `MAV_AUTOPILOT`: 12 PX4, 3 ArduPilot, …
        7 autopilot: u8 U8,
        /// `MAV_MODE_FLAG`, bits.
        8 base_mode: u8 U8,
        /// `MAV_STATE`: 3 standby, 4 active, 5 critical, 6 emergency, …
        9 system_status: u8 U8,
        /// `MAV_LANDED_STATE`: 0 unknown, 1 on ground, 2 in air, 3 taking off, 4 landing.
        10 landed_state: u8 U8,
        /// `MAV_VTOL_STATE`: 0 no VTOL or unknown, 1 to fixed wing, 2 to multicopter, 3 multicopter, 4 fixed wing.
        11 vtol_state: u8 U8,
        /// The autopilot's own mode. PX4: the main mode in bits 16 to 23 (1 manual, 2 altitude, 3 position, 4 auto,
        /// 5 acro, 6 offboard, 7 stabilized), of auto the sub mode in bits 24 to 31 (2 takeoff, 3 loiter, 4 mission,
        /// 5 return, 6 land).
        12 custom_mode: u32 U32,
        /// `MAV_SYS_STATUS_SENSOR`, bits: what it has; 0 if unknown.
        16 sensors_present: u32 U32,
        /// What of it is in use.
        20 sensors_enabled: u32 U32,
        /// What of it is well.
        24 sensors_health: u32 U32,
        /// How busy the autopilot is, in thousandths.
        28 load: u16 U16,
        /// Messages to it that were lost, in hundredths of a percent.
        30 drop_rate: u16 U16,
    }
}

layout! {
    /// How a vehicle's battery is (MAVLink `BATTERY_STATUS`, PX4 `BatteryStatus`): of several the one with the lowest
    /// number.
    BatteryStatus, 32 {
        /// Time since it was heard, in milliseconds.
        0 age_ms: u32 U32,
        /// [`STALE`] from [`BATTERY_STALE_MS`] on.
        4 flags: u8 U8,
        /// Which battery; 255 if the vehicle does not number them.
        5 id: u8 U8,
        /// What is left, in percent; [`UNKNOWN_PERCENT`].
        6 remaining: u8 U8,
        /// `MAV_BATTERY_CHARGE_STATE`: 0 unknown, 1 good, 2 low, 3 critical, 4 emergency, 5 failed, 6 unhealthy,
        /// 7 charging.
        7 charge_state: u8 U8,
        /// Of all its cells, in millivolts; [`UNKNOWN`].
        8 voltage: i32 I32,
        /// What is drawn, in milliamperes; [`UNKNOWN`].
        12 current: i32 I32,
        /// What was drawn since the start, in milliampere hours; [`UNKNOWN`].
        16 consumed: i32 I32,
        /// In thousandths of a degree Celsius; [`UNKNOWN`].
        20 temperature: i32 I32,
        /// For how long it lasts, in seconds; [`UNKNOWN`].
        24 time_remaining: i32 I32,
        /// `MAV_BATTERY_FAULT`, bits.
        28 faults: u32 U32,
    }
}

layout! {
    /// Where a vehicle is (MAVLink `LOCAL_POSITION_NED`, PX4 `VehicleLocalPosition`): north, east and down of the place
    /// where its estimator started.
    LocalPosition, 36 {
        /// Time since it was heard, in milliseconds.
        0 age_ms: u32 U32,
        /// [`STALE`] from [`POSITION_STALE_MS`] on.
        4 flags: u8 U8,
        /// Since the vehicle started, in milliseconds.
        8 time_boot_ms: u32 U32,
        /// North, in metres.
        12 x: f32 F32,
        /// East, in metres.
        16 y: f32 F32,
        /// Down, in metres: below zero is up.
        20 z: f32 F32,
        /// To the north, in metres per second.
        24 vx: f32 F32,
        /// To the east, in metres per second.
        28 vy: f32 F32,
        /// Downwards, in metres per second.
        32 vz: f32 F32,
    }
}

layout! {
    /// A parameter of a vehicle (MAVLink `PARAM_VALUE`).
    VehicleParameter, 16 {
        /// Its value: whole, if `kind` is that of whole numbers; not a number if it is of another kind than those below.
        0 value: f64 F64,
        /// `MAV_PARAM_TYPE`: 1, 3 and 5 whole numbers of 8, 16 and 32 bits, 2, 4 and 6 those with a sign, 9 `f32`.
        8 kind: u8 U8,
    }
}

/// What a vehicle's parameter is called, such as `MPC_XY_VEL_MAX`: up to [`MAX_PARAMETER_NAME_BYTES`] bytes of printable
/// ASCII, as MAVLink carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParameterName([u8; MAX_PARAMETER_NAME_BYTES]);

impl ParameterName {
    /// None if that is no name.
    pub fn new(name: &[u8]) -> Option<Self> {
        let mut bytes = [0; MAX_PARAMETER_NAME_BYTES];
        bytes.get_mut(..name.len())?.copy_from_slice(name);
        let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
        is_name.then_some(ParameterName(bytes))
    }

    /// With zeros behind it, if it is shorter than that.
    pub const fn bytes(&self) -> &[u8; MAX_PARAMETER_NAME_BYTES] {
        &self.0
    }
}

impl VehicleCommand {
    /// Lets motors turn, or no more. PX4 refuses to disarm in the air.
    pub fn arm(vehicle: u8, arm: bool) -> Self {
        let param1 = if arm { 1.0 } else { 0.0 };
        VehicleCommand { command: ARM_DISARM, vehicle, frame: NO_FRAME, param1, ..VehicleCommand::default() }
    }

    /// Goes up to an altitude above mean sea level, in metres, where it is and as it is turned.
    pub fn takeoff(vehicle: u8, altitude_amsl: f32) -> Self {
        VehicleCommand { command: NAV_TAKEOFF, param7: altitude_amsl, ..VehicleCommand::here(vehicle) }
    }

    /// Lands where it is.
    pub fn land(vehicle: u8) -> Self {
        VehicleCommand { command: NAV_LAND, ..VehicleCommand::here(vehicle) }
    }

    fn here(vehicle: u8) -> Self {
        let (param1, param4) = (f32::NAN, f32::NAN);
        let (param5, param6) = (f64::NAN, f64::NAN);
        VehicleCommand {
            vehicle,
            frame: NO_FRAME,
            param1,
            param4,
            param5,
            param6,
            ..VehicleCommand::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Field;

    #[test]
    fn fields_do_not_overlap_and_are_aligned() {
        for (fields, bytes) in [
            (VehicleCommand::FIELDS, VehicleCommand::BYTES),
            (VehicleStatus::FIELDS, VehicleStatus::BYTES),
            (BatteryStatus::FIELDS, BatteryStatus::BYTES),
            (LocalPosition::FIELDS, LocalPosition::BYTES),
            (VehicleParameter::FIELDS, VehicleParameter::BYTES),
        ] {
            let mut end = 0;
            for Field { name, number, at } in fields {
                assert!(*at >= end && at % number.bytes() == 0, "{name}");
                end = at + number.bytes();
            }
            let align = fields.iter().map(|field| field.number.bytes()).max().unwrap_or(1);
            assert_eq!(end.next_multiple_of(align), bytes);
        }
    }

    #[test]
    fn bytes_are_where_the_layout_says() {
        let command = VehicleCommand { param5: 47.5, component: 7, ..VehicleCommand::arm(9, true) };
        let bytes = command.encode();
        assert_eq!(bytes[..12], [0x90, 0x01, 9, 7, 255, 0, 0, 0, 0, 0, 0x80, 0x3f]);
        assert_eq!(bytes[24..32], 47.5f64.to_le_bytes());
        assert_eq!(VehicleCommand::decode(&bytes), command);
        let status = VehicleStatus { age_ms: 1, drop_rate: 0x0203, ..VehicleStatus::default() };
        assert_eq!(status.encode()[30..], [3, 2]);
        assert_eq!(VehicleStatus::decode(&status.encode()), status);
    }

    #[test]
    fn a_parameter_has_a_name_of_sixteen_bytes_at_most() {
        let name = ParameterName::new(b"SYS_AUTOSTART").expect("a name");
        assert_eq!(name.bytes(), b"SYS_AUTOSTART\0\0\0");
        assert!(ParameterName::new(b"0123456789abcdef").is_some());
        for wrong in [&b""[..], b"0123456789abcdef0", b"A B", b"A\0", "\u{e4}".as_bytes()] {
            assert_eq!(ParameterName::new(wrong), None, "{wrong:?}");
        }
    }
}
