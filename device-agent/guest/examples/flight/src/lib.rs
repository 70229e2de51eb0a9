//! One flight, when it is told `go` on the channel `fly`: arms, takes off, holds, lands, disarms. It says on the channel
//! `stage` what it is at.
//!
//! A start of the module, wanted or not, moves nothing. What goes wrong in the air ends with landing, which is asked for
//! until the vehicle does it.
//!
//! Settings: `vehicle`, its MAVLink system id, 0 for the only one there is; `altitude` in metres, 5 if absent; `hold` in
//! seconds, 5 if absent.
#![no_std]

use wasmbed_guest::{
    Errno, Level, Module, Result, Text, config_number, log,
    messages::{Message, publish, subscribe},
    module, timer_set, uptime_ms,
    vehicle::{self, ARMED, Outcome, STALE, Ticket},
};

const TICK_MS: u32 = 200;
/// Time for getting up, in milliseconds; then it lands.
const CLIMB_MS: u64 = 60_000;
/// Part of the altitude that is high enough.
const UP: f32 = 0.9;
/// `MAV_LANDED_STATE_ON_GROUND`.
const ON_GROUND: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Ground,
    Arm,
    TakeOff,
    /// Until then, in milliseconds since the device started; as below.
    Climb(u64),
    Hold(u64),
    Land,
    Descend,
    Disarm,
}

struct Flight {
    vehicle: u8,
    altitude_m: f32,
    hold_ms: u64,
    stage: Stage,
    /// Of the command that the stage is about.
    ticket: Option<Ticket>,
}

impl Module for Flight {
    fn start() -> Result<Self> {
        subscribe("fly")?;
        timer_set(TICK_MS)?;
        let vehicle = u8::try_from(config_number("vehicle")?.unwrap_or(0)).map_err(|_| Errno::Invalid)?;
        let altitude = u16::try_from(config_number("altitude")?.unwrap_or(5)).map_err(|_| Errno::Invalid)?;
        let hold_ms = u64::from(config_number("hold")?.unwrap_or(5)) * 1000;
        let altitude_m = f32::from(altitude);
        Ok(Flight { vehicle, altitude_m, hold_ms, stage: Stage::Ground, ticket: None })
    }

    fn tick(&mut self) {
        let now = uptime_ms();
        match self.stage {
            Stage::Ground => {}
            Stage::Arm => self.command(vehicle::arm, Stage::TakeOff, Stage::Ground),
            Stage::TakeOff => {
                let altitude_m = self.altitude_m;
                self.command(
                    |vehicle| vehicle::takeoff(vehicle, altitude_m),
                    Stage::Climb(now + CLIMB_MS),
                    Stage::Disarm,
                );
            }
            Stage::Climb(until) => {
                if self.height_m().is_some_and(|height| height >= UP * self.altitude_m) {
                    self.enter(Stage::Hold(now + self.hold_ms));
                } else if now >= until {
                    self.enter(Stage::Land);
                }
            }
            Stage::Hold(until) => {
                if now >= until {
                    self.enter(Stage::Land);
                }
            }
            Stage::Land => self.command(vehicle::land, Stage::Descend, Stage::Land),
            Stage::Descend => {
                if self.status().is_some_and(|status| status.landed_state == ON_GROUND) {
                    self.enter(Stage::Disarm);
                }
            }
            Stage::Disarm => {
                // PX4 disarms by itself a while after it landed.
                if self.status().is_some_and(|status| status.flags & ARMED == 0) {
                    self.enter(Stage::Ground);
                } else {
                    self.command(vehicle::disarm, Stage::Ground, Stage::Disarm);
                }
            }
        }
    }

    fn message(&mut self, message: Message) {
        let is_go = message.read(&mut [0; 2]).is_ok_and(|text| text == b"go");
        if is_go && self.stage == Stage::Ground {
            self.enter(Stage::Arm);
        }
    }
}

module!(Flight, message);

impl Flight {
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.ticket = None;
        // Whoever missed it asks the vehicle.
        publish("stage", name(stage)).ok();
    }

    /// Sends the stage's command, or asks what became of it.
    fn command(&mut self, send: impl FnOnce(u8) -> Result<Ticket>, next: Stage, otherwise: Stage) {
        let failed = match self.ticket {
            None => match send(self.vehicle) {
                Ok(ticket) => {
                    self.ticket = Some(ticket);
                    return;
                }
                Err(Errno::Busy) => return,
                Err(error) => error as i64,
            },
            Some(ticket) => match ticket.result() {
                Ok(Outcome::Accepted) => return self.enter(next),
                Err(Errno::Busy) => return,
                // As PX4 does for a while after its start.
                Ok(Outcome::TemporarilyRejected) => {
                    self.ticket = None;
                    return;
                }
                Ok(Outcome::Denied) => 2,
                Ok(Outcome::Unsupported) => 3,
                Ok(Outcome::Failed) => 4,
                Ok(Outcome::Cancelled) => 6,
                Ok(Outcome::Other(result)) => result.into(),
                Err(error) => error as i64,
            },
        };
        let mut line = Text::<64>::new();
        line.push_str(name(self.stage)).push_str(" failed: ").push_int(failed);
        log(Level::Warn, line.as_str()).ok();
        self.enter(otherwise);
    }

    /// How it is, if that is how it is now.
    fn status(&self) -> Option<vehicle::VehicleStatus> {
        vehicle::status(self.vehicle).ok().filter(|status| status.flags & STALE == 0)
    }

    fn height_m(&self) -> Option<f32> {
        let position = vehicle::local_position(self.vehicle).ok()?;
        (position.flags & STALE == 0).then_some(-position.z)
    }
}

fn name(stage: Stage) -> &'static str {
    match stage {
        Stage::Ground => "ground",
        Stage::Arm => "arm",
        Stage::TakeOff => "takeoff",
        Stage::Climb(_) => "climb",
        Stage::Hold(_) => "hold",
        Stage::Land => "land",
        Stage::Descend => "descend",
        Stage::Disarm => "disarm",
    }
}
