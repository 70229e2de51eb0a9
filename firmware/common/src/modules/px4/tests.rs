use std::vec::Vec;

use wasmbed_abi::{ARMED, STALE};

use super::*;

const SECOND_MS: u64 = 1_000;
/// `COMMAND_LONG`, `COMMAND_ACK`, `MAV_CMD_COMPONENT_ARM_DISARM`, `MAV_CMD_SET_MESSAGE_INTERVAL`.
const COMMAND_LONG: u32 = 76;
const COMMAND_ACK: u8 = 77;
const ARM_DISARM: u16 = 400;
const SET_MESSAGE_INTERVAL: u16 = 511;
/// The modules' owner.
const OWNER: Owner = Owner(0);

/// What the board says, and how much of it fits.
#[derive(Default)]
struct Line {
    said: Vec<u8>,
    room: usize,
}

impl Serial for Line {
    fn read(&mut self, _: &mut [u8]) -> usize {
        0
    }

    fn room(&self) -> usize {
        self.room
    }

    fn write(&mut self, bytes: &[u8]) {
        self.room = self.room.checked_sub(bytes.len()).expect("there is room");
        self.said.extend_from_slice(bytes);
    }
}

impl Line {
    /// The numbers of the messages in it, with the command of each that is one.
    fn take(&mut self) -> Vec<(u32, Option<u16>)> {
        let mut messages = Vec::new();
        Deframer::default().hear(&core::mem::take(&mut self.said), |frame| {
            assert_eq!((frame.source().system, frame.source().component), (SYSTEM, COMPONENT));
            let command = (frame.id() == COMMAND_LONG)
                .then(|| u16::from_le_bytes([frame.payload()[28], frame.payload()[29]]));
            messages.push((frame.id(), command));
        });
        self.room = 1_000;
        messages
    }
}

/// A frame of version 1 from vehicle 7.
fn frame(id: u8, payload: &[u8], seed: u8) -> Vec<u8> {
    let mut frame = [&[0xfe, payload.len() as u8, 0, 7, 1, id], payload].concat();
    let crc = frame[1..].iter().chain([&seed]).fold(0xffff, |sum: u16, byte| {
        let low = sum as u8 ^ byte;
        let low = u16::from(low ^ (low << 4));
        (sum >> 8) ^ (low << 8) ^ (low << 3) ^ (low >> 4)
    });
    frame.extend(crc.to_le_bytes());
    frame
}

fn heartbeat() -> Vec<u8> {
    frame(0, &[0, 0, 4, 3, 2, 12, 0x81, 4, 3], 50)
}

fn acknowledged(command: u16) -> Vec<u8> {
    frame(COMMAND_ACK, &[&command.to_le_bytes()[..], &[0]].concat(), 143)
}

#[test]
fn a_vehicle_is_heard_in_pieces_among_noise_and_grows_stale() {
    let mut link = Link::default();
    assert_eq!(link.vehicles.status(0, 0).err(), Some(Errno::NotFound));
    let mut damaged = heartbeat();
    damaged[9] ^= 1;
    let bytes = [b"\xfe\x01noise", &damaged[..], &heartbeat(), &[0; 300]].concat();
    for piece in bytes.chunks(7) {
        link.hear(5, piece);
    }
    let status = link.vehicles.status(5, 0).expect("it was heard");
    assert_eq!((status.vehicle, status.flags), (7, ARMED));
    // The line is unplugged, and plugged in again.
    let stale = link.vehicles.status(5 + 4 * SECOND_MS, 7).expect("it was heard");
    assert_eq!(stale.flags, ARMED | STALE);
    link.hear(9 * SECOND_MS, &heartbeat());
    assert_eq!(link.vehicles.status(9 * SECOND_MS, 7).map(|status| status.flags), Ok(ARMED));
}

#[test]
fn a_command_is_said_again_until_it_is_acknowledged() {
    let (mut link, mut line) = (Link::default(), Line { room: 1_000, ..Line::default() });
    link.hear(0, &heartbeat());
    let ticket = link.vehicles.send(OWNER, VehicleCommand::arm(0, true)).expect("a ticket");
    link.speak(0, &mut line);
    let said = line.take();
    assert_eq!(said[..2], [(0, None), (COMMAND_LONG, Some(ARM_DISARM))], "it is there, and arms");
    let asked = said[2..].iter().all(|said| *said == (COMMAND_LONG, Some(SET_MESSAGE_INTERVAL)));
    assert!(asked && said.len() > 2, "{said:?}");
    assert_eq!(link.vehicles.next_deadline(0), SECOND_MS);
    link.speak(SECOND_MS, &mut line);
    assert!(line.take().contains(&(COMMAND_LONG, Some(ARM_DISARM))));
    assert_eq!(link.vehicles.result(OWNER, ticket), Err(Errno::Busy));
    link.hear(SECOND_MS, &acknowledged(ARM_DISARM));
    assert_eq!(link.vehicles.result(OWNER, ticket), Ok(0));
    link.speak(2 * SECOND_MS, &mut line);
    assert!(!line.take().contains(&(COMMAND_LONG, Some(ARM_DISARM))));
}

#[test]
fn what_has_no_room_on_the_line_waits_for_it() {
    let (mut link, mut line) = (Link::default(), Line { room: SENT_BYTES, ..Line::default() });
    link.hear(0, &heartbeat());
    link.vehicles.send(OWNER, VehicleCommand::arm(0, true)).expect("a ticket");
    link.speak(0, &mut line);
    assert_eq!(line.take(), [(0, None)]);
    link.speak(0, &mut line);
    assert_eq!(line.take().first(), Some(&(COMMAND_LONG, Some(ARM_DISARM))));
}

#[test]
fn a_module_that_ended_says_nothing_more() {
    let autopilot = Autopilot::default();
    let (pilot, other) = (autopilot.pilot(), autopilot.pilot());
    assert_ne!(pilot.owner, other.owner);
    drop(other);
    assert!(autopilot.0.link.borrow().is_none(), "nothing is made for whoever does not ask");
    {
        let mut link = autopilot.0.link.borrow_mut();
        let link = link.get_or_insert_default();
        link.hear(0, &heartbeat());
        link.vehicles.send(pilot.owner, VehicleCommand::arm(0, true)).expect("a ticket");
    }
    drop(pilot);
    let mut line = Line { room: 1_000, ..Line::default() };
    autopilot.0.link.borrow_mut().get_or_insert_default().speak(0, &mut line);
    assert!(!line.take().contains(&(COMMAND_LONG, Some(ARM_DISARM))));
}
