//! What the fuzz target does with its input, callable from ordinary tests too.

use wasmbed_abi::{Errno, ParameterName, VehicleCommand};
use wasmbed_px4::{
    COMPONENT, Config, Deframer, Framer, Message, Owner, SENT_BYTES, SYSTEM, Source, Vehicles,
};

const OWN: Config = Config { system: SYSTEM, component: COMPONENT, vehicles: 4 };
const OWNER: Owner = Owner(1);
/// Until when every command has an end, in milliseconds: two minutes, and what was repeated before.
const END_MS: u64 = 150_000;
/// Until when every question has one: answers that were not fetched, and four tries.
const QUESTION_MS: u64 = 10_000;
/// Parameters that are asked for.
const NAMES: [&[u8]; 3] = [b"A", b"MPC_XY_VEL_MAX", b"SIXTEEN_LETTERS_"];

fn name(which: u8) -> ParameterName {
    ParameterName::new(NAMES[usize::from(which) % NAMES.len()]).expect("a name")
}

/// A device on a line, under what the input says that happens: bytes from two senders, whole messages, commands of a
/// module, and time that passes. It panics where a promise is broken: bytes are always taken in, what is sent is
/// understood, no more vehicles are remembered than may be, and every command has an end.
pub fn line(data: &[u8]) {
    let mut line = Line {
        vehicles: Vehicles::new(OWN),
        framer: Framer::new(OWN),
        senders: [Deframer::default(), Deframer::default()],
        tickets: Vec::new(),
        now_ms: 0,
    };
    let mut rest = data;
    while let Some((op, tail)) = rest.split_first() {
        let (bytes, next) = tail.split_at(tail.len().min(usize::from(op >> 3) * 2));
        rest = next;
        match op & 7 {
            0 | 1 => line.hear(usize::from(op & 1), bytes),
            2 | 3 => line.hear_message(bytes),
            4 => line.command(bytes),
            5 => line.ask(bytes),
            _ => line.now_ms += (bytes.len() * bytes.len()) as u64,
        }
        line.send();
    }
    let end_ms = line.now_ms + END_MS;
    while line.now_ms < end_ms {
        line.now_ms += 500;
        line.send();
    }
    for ticket in &line.tickets {
        let result = line.vehicles.result(OWNER, *ticket);
        assert_ne!(result, Err(Errno::Busy), "a command is under way for ever");
    }
    for which in 0..NAMES.len() as u8 {
        let end_ms = line.now_ms + QUESTION_MS;
        while line.vehicles.parameter(line.now_ms, OWNER, 1, name(which)) == Err(Errno::Busy) {
            assert!(line.now_ms < end_ms, "a question is under way for ever");
            line.now_ms += 500;
            line.send();
        }
    }
    let known = (1..=u8::MAX).filter(|id| line.vehicles.status(line.now_ms, *id).is_ok()).count();
    assert!(known <= OWN.vehicles, "{known} vehicles");
}

struct Line {
    vehicles: Vehicles,
    framer: Framer,
    senders: [Deframer; 2],
    tickets: Vec<u32>,
    now_ms: u64,
}

impl Line {
    /// Bytes of a sender, which may be frames.
    fn hear(&mut self, sender: usize, bytes: &[u8]) {
        let Line { vehicles, senders, now_ms, .. } = self;
        senders[sender].hear(bytes, |frame| {
            vehicles.on_message(*now_ms, frame.source(), frame.id(), frame.payload());
        });
    }

    /// A message whose frame was in order: who sent it, which it is, and its fields.
    fn hear_message(&mut self, bytes: &[u8]) {
        /// Those that matter.
        const IDS: [u32; 10] = [0, 1, 22, 24, 32, 33, 77, 147, 245, 345];
        let [system, component, id, fields @ ..] = bytes else { return };
        let from = Source { system: system % 8, component: component % 3 };
        let (id, mut fields) = (IDS[usize::from(id % 10)], fields.to_vec());
        // About a parameter that is asked for, mostly.
        let name_at = match id {
            22 => 8,
            345 => 4,
            _ => usize::MAX,
        };
        if let Some(place) = fields.get_mut(name_at..).and_then(|rest| rest.first_chunk_mut()) {
            *place = *name(place[0]).bytes();
        }
        self.vehicles.on_message(self.now_ms, from, id, &fields);
    }

    fn command(&mut self, bytes: &[u8]) {
        let [vehicle, command, altitude, ..] = *bytes else { return };
        let ticket = match command {
            0..64 => self.vehicles.takeoff(OWNER, vehicle % 8, f32::from(altitude)),
            _ => {
                let command =
                    VehicleCommand { command: command.into(), vehicle: vehicle % 8, ..Default::default() };
                self.vehicles.send(OWNER, command)
            }
        };
        // Those before so many are forgotten.
        self.tickets.extend(ticket);
    }

    fn ask(&mut self, bytes: &[u8]) {
        let vehicle = bytes.first().copied().unwrap_or_default();
        let _ = self.vehicles.status(self.now_ms, vehicle);
        let _ = self.vehicles.battery(self.now_ms, vehicle);
        let _ = self.vehicles.position(self.now_ms, vehicle);
        let which = bytes.get(1).copied().unwrap_or_default();
        let _ = self.vehicles.parameter(self.now_ms, OWNER, vehicle, name(which));
        if vehicle == u8::MAX {
            self.vehicles.forget(OWNER);
        }
    }

    /// Whatever is to be said now, which somebody else understands.
    fn send(&mut self) {
        while let Some(message) = self.vehicles.poll_message(self.now_ms) {
            let mut out = [0; SENT_BYTES];
            let frame = self.framer.frame(&message, false, &mut out);
            let mut understood = 0;
            Deframer::default().hear(frame, |heard| {
                understood += 1;
                let own = Source { system: SYSTEM, component: COMPONENT };
                assert_eq!((heard.source(), heard.id()), (own, message.id));
                assert_eq!(heard.payload(), shortened(&message));
            });
            assert_eq!(understood, 1);
        }
    }
}

/// Fields without the zeros at their end, as MAVLink 2 sends them.
fn shortened(message: &Message) -> &[u8] {
    let len = message.payload().iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    &message.payload()[..len]
}
