//! The messages of MAVLink's common dialect that are spoken here, as they are laid out.
//!
//! Fields lie in the order of their size, extensions behind them (MAVLink guide, Serialization). What a sender cut off at
//! the end is zero, so that a field that is absent reads as 0.

use wasmbed_abi::{MAX_PARAMETER_NAME_BYTES, NO_FRAME, ParameterName, VehicleCommand, VehicleParameter};

/// Longest payload, in bytes.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 255;

pub(crate) const HEARTBEAT: u32 = 0;
pub(crate) const SYS_STATUS: u32 = 1;
pub(crate) const PARAM_REQUEST_READ: u32 = 20;
pub(crate) const PARAM_VALUE: u32 = 22;
pub(crate) const LOCAL_POSITION_NED: u32 = 32;
pub(crate) const GLOBAL_POSITION_INT: u32 = 33;
pub(crate) const COMMAND_INT: u32 = 75;
pub(crate) const COMMAND_LONG: u32 = 76;
pub(crate) const COMMAND_ACK: u32 = 77;
pub(crate) const BATTERY_STATUS: u32 = 147;
pub(crate) const EXTENDED_SYS_STATE: u32 = 245;
pub(crate) const PARAM_ERROR: u32 = 345;

/// `MAV_TYPE_ONBOARD_CONTROLLER`.
const ONBOARD_CONTROLLER: u8 = 18;
/// `MAV_AUTOPILOT_INVALID`: who says so is no vehicle.
pub(crate) const NO_AUTOPILOT: u8 = 8;
/// `MAV_STATE_ACTIVE`.
const ACTIVE: u8 = 4;
/// What a heartbeat has for MAVLink's version, whichever frames are.
const MAVLINK_VERSION: u8 = 3;
/// `MAV_CMD_SET_MESSAGE_INTERVAL`.
pub(crate) const SET_MESSAGE_INTERVAL: u16 = 511;

/// The checksum seed of a message that is spoken here; none for another.
pub(crate) const fn extra_crc(id: u32) -> Option<u8> {
    Some(match id {
        HEARTBEAT => 50,
        SYS_STATUS => 124,
        PARAM_REQUEST_READ => 214,
        PARAM_VALUE => 220,
        LOCAL_POSITION_NED => 185,
        GLOBAL_POSITION_INT => 104,
        COMMAND_INT => 158,
        COMMAND_LONG => 152,
        COMMAND_ACK => 143,
        BATTERY_STATUS => 154,
        EXTENDED_SYS_STATE => 130,
        PARAM_ERROR => 209,
        _ => return None,
    })
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The system it is for; 0 is everyone.
    pub to: u8,
    /// Its number.
    pub id: u32,
    payload: [u8; COMMAND_INT_BYTES],
    len: usize,
}

/// A parameter's index, -1: its name counts.
const NOT_BY_INDEX: [u8; 2] = [0xff; 2];

const COMMAND_LONG_BYTES: usize = 33;
/// The longest message that is sent, in bytes.
pub(crate) const COMMAND_INT_BYTES: usize = 35;

impl Message {
    /// Its fields, without frame.
    pub fn payload(&self) -> &[u8] {
        self.payload.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn new(to: u8, id: u32, parts: &[&[u8]]) -> Self {
        let mut message = Message { to, id, payload: [0; COMMAND_INT_BYTES], len: 0 };
        for byte in parts.iter().copied().flatten() {
            if let Some(place) = message.payload.get_mut(message.len) {
                *place = *byte;
                message.len += 1;
            }
        }
        message
    }

    /// Says that this device is there.
    pub(crate) fn heartbeat() -> Self {
        let custom_mode = 0u32.to_le_bytes();
        let rest = [ONBOARD_CONTROLLER, NO_AUTOPILOT, 0, ACTIVE, MAVLINK_VERSION];
        Message::new(0, HEARTBEAT, &[&custom_mode, &rest])
    }

    /// Asks a component of a vehicle for a parameter by its name.
    pub(crate) fn parameter_request(name: &ParameterName, to: u8, component: u8) -> Self {
        Message::new(to, PARAM_REQUEST_READ, &[&NOT_BY_INDEX, &[to, component], name.bytes()])
    }

    /// A command to a component of a vehicle, sent for the `confirmation`th time after the first.
    pub(crate) fn command(command: &VehicleCommand, to: u8, component: u8, confirmation: u8) -> Self {
        let VehicleCommand { param1, param2, param3, param4, .. } = *command;
        let mut params = [0; 16];
        let (places, _) = params.as_chunks_mut::<4>();
        for (place, param) in places.iter_mut().zip([param1, param2, param3, param4]) {
            *place = param.to_le_bytes();
        }
        let (number, z) = (command.command.to_le_bytes(), command.param7.to_le_bytes());
        if command.frame == NO_FRAME {
            let (x, y) = (command.param5 as f32, command.param6 as f32);
            let parts: [&[u8]; 6] =
                [&params, &x.to_le_bytes(), &y.to_le_bytes(), &z, &number, &[to, component, confirmation]];
            let message = Message::new(to, COMMAND_LONG, &parts);
            debug_assert_eq!(message.len, COMMAND_LONG_BYTES);
            return message;
        }
        let scale = if is_local(command.frame) { 1e4 } else { 1e7 };
        let (x, y) = (scaled(command.param5, scale), scaled(command.param6, scale));
        let parts: [&[u8]; 6] = [
            &params,
            &x.to_le_bytes(),
            &y.to_le_bytes(),
            &z,
            &number,
            // Neither the current item of a mission nor followed by the next one.
            &[to, component, command.frame, 0, 0],
        ];
        Message::new(to, COMMAND_INT, &parts)
    }
}

/// Whether positions in this `MAV_FRAME` are metres and no degrees.
const fn is_local(frame: u8) -> bool {
    matches!(frame, 1 | 4 | 7 | 8 | 9 | 12..=21)
}

/// As COMMAND_INT carries it; what is no number is its largest.
fn scaled(value: f64, scale: f64) -> i32 {
    if value.is_nan() {
        return i32::MAX;
    }
    let scaled = value * scale;
    // The conversion cuts off, and ends at the limits.
    (if scaled < 0.0 { scaled - 0.5 } else { scaled + 0.5 }) as i32
}

/// The fields of a message that was heard.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'p>(pub(crate) &'p [u8]);

impl Fields<'_> {
    /// Bytes at an offset; zeros where it ends.
    fn array<const LEN: usize>(self, at: usize) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let there = self.0.get(at..).unwrap_or_default();
        bytes.iter_mut().zip(there).for_each(|(place, byte)| *place = *byte);
        bytes
    }

    pub(crate) fn u8(self, at: usize) -> u8 {
        u8::from_le_bytes(self.array(at))
    }

    pub(crate) fn i8(self, at: usize) -> i8 {
        i8::from_le_bytes(self.array(at))
    }

    pub(crate) fn u16(self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    pub(crate) fn i16(self, at: usize) -> i16 {
        i16::from_le_bytes(self.array(at))
    }

    pub(crate) fn u32(self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    pub(crate) fn i32(self, at: usize) -> i32 {
        i32::from_le_bytes(self.array(at))
    }

    pub(crate) fn f32(self, at: usize) -> f32 {
        f32::from_le_bytes(self.array(at))
    }

    /// The name of a parameter, which ends at a zero or after its 16 bytes.
    pub(crate) fn parameter_name(self, at: usize) -> Option<ParameterName> {
        let bytes: [u8; MAX_PARAMETER_NAME_BYTES] = self.array(at);
        let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        ParameterName::new(bytes.get(..len)?)
    }

    /// What a `PARAM_VALUE` says. Most autopilots put whole numbers in as they are, and some as `f32` (MAVLink guide,
    /// Parameter protocol, Parameter encoding).
    pub(crate) fn parameter(self, is_float: bool) -> VehicleParameter {
        let kind = self.u8(24);
        let value = match kind {
            1..=6 if is_float => self.f32(0).into(),
            1 => self.u8(0).into(),
            2 => self.i8(0).into(),
            3 => self.u16(0).into(),
            4 => self.i16(0).into(),
            5 => self.u32(0).into(),
            6 => self.i32(0).into(),
            9 => self.f32(0).into(),
            // Four bytes hold none of 64 bits.
            _ => f64::NAN,
        };
        VehicleParameter { value, kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_laid_out_as_the_dialect_says() {
        let command = VehicleCommand { param5: 1.0, param7: -2.0, ..VehicleCommand::arm(0, true) };
        let long = Message::command(&command, 7, 1, 3);
        assert_eq!((long.to, long.id, long.payload().len()), (7, COMMAND_LONG, COMMAND_LONG_BYTES));
        assert_eq!(long.payload()[..4], 1f32.to_le_bytes());
        assert_eq!(long.payload()[16..20], 1f32.to_le_bytes());
        assert_eq!(long.payload()[24..], [0, 0, 0, 0xc0, 0x90, 1, 7, 1, 3]);

        let (param5, param6) = (47.397_742_4, -8.545_593_9);
        let there = VehicleCommand { frame: 3, param5, param6, ..command };
        let int = Message::command(&there, 7, 1, 3);
        assert_eq!((int.id, int.payload().len()), (COMMAND_INT, COMMAND_INT_BYTES));
        assert_eq!(int.payload()[16..20], 473_977_424i32.to_le_bytes());
        assert_eq!(int.payload()[20..24], (-85_455_939i32).to_le_bytes());
        assert_eq!(int.payload()[28..], [0x90, 1, 7, 1, 3, 0, 0]);
        let local =
            Message::command(&VehicleCommand { frame: 1, param5: 1.5, param6: f64::NAN, ..command }, 7, 1, 0);
        assert_eq!(local.payload()[16..20], 15_000i32.to_le_bytes());
        assert_eq!(local.payload()[20..24], i32::MAX.to_le_bytes());
    }

    #[test]
    fn a_parameter_is_asked_for_and_read_as_the_dialect_says() {
        let name = ParameterName::new(b"SYS_AUTOSTART").expect("a name");
        let asked = Message::parameter_request(&name, 7, 1);
        assert_eq!((asked.to, asked.id), (7, PARAM_REQUEST_READ));
        assert_eq!(asked.payload(), b"\xff\xff\x07\x01SYS_AUTOSTART\0\0\0");

        let said = |value: [u8; 4], kind: u8| [&value[..], &[1, 0, 0, 0], name.bytes(), &[kind]].concat();
        let read = |value, kind, is_float| Fields(&said(value, kind)).parameter(is_float).value;
        assert_eq!(Fields(&said([0; 4], 6)).parameter_name(8), Some(name));
        assert_eq!(read(4_001i32.to_le_bytes(), 6, false), 4_001.0);
        assert_eq!(read(4_001f32.to_le_bytes(), 6, true), 4_001.0);
        assert_eq!(read(u32::MAX.to_le_bytes(), 5, false), f64::from(u32::MAX));
        assert_eq!(read([0xff; 4], 6, false), -1.0);
        for (kind, value) in [(1, 254.0), (2, -2.0), (3, 65_534.0), (4, -2.0)] {
            assert_eq!(read([0xfe, 0xff, 0xff, 0xff], kind, false), value, "{kind}");
        }
        assert_eq!(read(2.5f32.to_le_bytes(), 9, false), 2.5);
        assert_eq!(read(2.5f32.to_le_bytes(), 9, true), 2.5);
        for kind in [0, 7, 8, 10, 255] {
            assert!(read([0; 4], kind, false).is_nan(), "{kind}");
        }
    }

    #[test]
    fn what_is_cut_off_reads_as_zero() {
        let fields = Fields(&[1, 2, 3]);
        assert_eq!((fields.u32(0), fields.u16(2), fields.i32(3), fields.u8(200)), (0x03_0201, 3, 0, 0));
    }
}
