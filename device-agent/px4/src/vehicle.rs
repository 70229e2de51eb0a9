//! One vehicle, as it was last heard.

use wasmbed_abi::{
    ARMED, BATTERY_STALE_MS, BatteryStatus, Errno, LocalPosition, POSITION_STALE_MS, STALE, STATUS_STALE_MS,
    UNKNOWN, UNKNOWN_PERCENT, VehicleStatus,
};
use wasmbed_wire::message::HeardVehicle;

use crate::messages::{
    BATTERY_STATUS, EXTENDED_SYS_STATE, Fields, GLOBAL_POSITION_INT, HEARTBEAT, LOCAL_POSITION_NED,
    SYS_STATUS,
};

/// `MAV_AUTOPILOT_ARDUPILOTMEGA`.
const ARDUPILOT: u8 = 3;
/// `MAV_MODE_FLAG_SAFETY_ARMED`.
const SAFETY_ARMED: u8 = 128;
/// The battery that a vehicle has which numbers none.
const UNNUMBERED: u8 = u8::MAX;
/// Time between two requests for a message that does not come, in milliseconds.
const ASK_EVERY_MS: u64 = 5_000;

/// A message that a vehicle is asked to send by itself.
struct Stream {
    id: u32,
    /// How often, in microseconds.
    interval_us: u32,
    /// It is asked for again after so much time without it, in milliseconds.
    missed_ms: u64,
}

/// What is asked for; heartbeats come unasked.
const STREAMS: [Stream; 5] = [
    Stream { id: EXTENDED_SYS_STATE, interval_us: 1_000_000, missed_ms: 5_000 },
    Stream { id: SYS_STATUS, interval_us: 1_000_000, missed_ms: 5_000 },
    Stream { id: BATTERY_STATUS, interval_us: 1_000_000, missed_ms: 5_000 },
    Stream { id: GLOBAL_POSITION_INT, interval_us: 1_000_000, missed_ms: 5_000 },
    Stream { id: LOCAL_POSITION_NED, interval_us: 100_000, missed_ms: 2_000 },
];

#[derive(Debug)]
pub(crate) struct Vehicle {
    pub(crate) system: u8,
    status: VehicleStatus,
    heartbeat_ms: u64,
    battery: Option<(u64, BatteryStatus)>,
    position: Option<(u64, LocalPosition)>,
    /// Above mean sea level, in metres: where it started.
    home_m: Option<f32>,
    /// When each stream was last heard or asked for.
    heard_ms: [Option<u64>; STREAMS.len()],
    asked_ms: [Option<u64>; STREAMS.len()],
}

impl Vehicle {
    /// One whose first heartbeat this is.
    pub(crate) fn new(now: u64, system: u8, heartbeat: Fields<'_>) -> Self {
        let mut vehicle = Vehicle {
            system,
            status: VehicleStatus::default(),
            heartbeat_ms: now,
            battery: None,
            position: None,
            home_m: None,
            heard_ms: Default::default(),
            asked_ms: Default::default(),
        };
        vehicle.on_message(now, HEARTBEAT, heartbeat);
        vehicle
    }

    pub(crate) fn is_stale(&self, now: u64) -> bool {
        age(now, self.heartbeat_ms) >= STATUS_STALE_MS
    }

    /// Whether it says whole numbers that are parameters as `f32`.
    pub(crate) const fn sends_floats(&self) -> bool {
        self.status.autopilot == ARDUPILOT
    }

    /// When its last heartbeat was heard.
    pub(crate) fn heartbeat_ms(&self) -> u64 {
        self.heartbeat_ms
    }

    pub(crate) fn on_message(&mut self, now: u64, id: u32, fields: Fields<'_>) {
        if let Some(nth) = STREAMS.iter().position(|stream| stream.id == id)
            && let Some(heard_ms) = self.heard_ms.get_mut(nth)
        {
            *heard_ms = Some(now);
        }
        match id {
            HEARTBEAT => self.on_heartbeat(now, fields),
            EXTENDED_SYS_STATE => {
                (self.status.vtol_state, self.status.landed_state) = (fields.u8(0), fields.u8(1));
            }
            SYS_STATUS => self.on_sys_status(now, fields),
            BATTERY_STATUS => self.on_battery(now, fields),
            GLOBAL_POSITION_INT => {
                // Both are millimetres; a float holds them to less than a millimetre up to 8 km.
                self.home_m = Some((fields.i32(12).saturating_sub(fields.i32(16))) as f32 / 1_000.0);
            }
            LOCAL_POSITION_NED => {
                let [x, y, z, vx, vy, vz] = [4, 8, 12, 16, 20, 24].map(|at| fields.f32(at));
                let time_boot_ms = fields.u32(0);
                let position =
                    LocalPosition { time_boot_ms, x, y, z, vx, vy, vz, ..LocalPosition::default() };
                self.position = Some((now, position));
            }
            _ => {}
        }
    }

    fn on_heartbeat(&mut self, now: u64, fields: Fields<'_>) {
        if self.is_stale(now) {
            // It may have started afresh, and send nothing unasked.
            self.asked_ms = Default::default();
        }
        self.heartbeat_ms = now;
        let base_mode = fields.u8(6);
        self.status = VehicleStatus {
            flags: if base_mode & SAFETY_ARMED != 0 { ARMED } else { 0 },
            vehicle: self.system,
            custom_mode: fields.u32(0),
            kind: fields.u8(4),
            autopilot: fields.u8(5),
            base_mode,
            system_status: fields.u8(7),
            ..self.status
        };
    }

    fn on_sys_status(&mut self, now: u64, fields: Fields<'_>) {
        self.status = VehicleStatus {
            sensors_present: fields.u32(0),
            sensors_enabled: fields.u32(4),
            sensors_health: fields.u32(8),
            load: fields.u16(12),
            drop_rate: fields.u16(18),
            ..self.status
        };
        let has_better = self.heard(BATTERY_STATUS).is_some_and(|at| age(now, at) < BATTERY_STALE_MS);
        if !has_better {
            let battery = BatteryStatus {
                id: UNNUMBERED,
                voltage: known(fields.u16(14).into(), u16::MAX.into(), 1),
                current: known(fields.i16(16).into(), -1, 10),
                remaining: percent(fields.i8(30)),
                consumed: UNKNOWN,
                temperature: UNKNOWN,
                time_remaining: UNKNOWN,
                ..BatteryStatus::default()
            };
            self.battery = Some((now, battery));
        }
    }

    fn on_battery(&mut self, now: u64, fields: Fields<'_>) {
        let id = fields.u8(32);
        let is_other =
            |(heard, battery): &(u64, BatteryStatus)| battery.id < id && age(now, *heard) < BATTERY_STALE_MS;
        if self.battery.as_ref().is_some_and(is_other) {
            return;
        }
        let cells = (0..10).map(|cell| fields.u16(10 + 2 * cell)).filter(|mv| *mv != u16::MAX);
        // An extension: what is not there is 0, and no cell.
        let more = (0..4).map(|cell| fields.u16(41 + 2 * cell));
        let voltage: i32 = cells.chain(more).map(i32::from).sum();
        let battery = BatteryStatus {
            id,
            voltage: known(voltage, 0, 1),
            current: known(fields.i16(30).into(), -1, 10),
            consumed: known(fields.i32(0), -1, 1),
            temperature: known(fields.i16(8).into(), i16::MAX.into(), 10),
            remaining: percent(fields.i8(35)),
            time_remaining: known(fields.i32(36), 0, 1),
            charge_state: fields.u8(40),
            faults: fields.u32(50),
            ..BatteryStatus::default()
        };
        self.battery = Some((now, battery));
    }

    pub(crate) fn status(&self, now: u64) -> VehicleStatus {
        let age_ms = age(now, self.heartbeat_ms);
        VehicleStatus { age_ms, flags: self.status.flags | stale(age_ms, STATUS_STALE_MS), ..self.status }
    }

    /// How it is, in short.
    pub(crate) fn heard_as(&self, now: u64) -> HeardVehicle {
        let VehicleStatus { kind, base_mode, landed_state, age_ms, .. } = self.status(now);
        let battery = self.battery(now).ok().filter(|battery| battery.flags & STALE == 0);
        let percent = battery.map(|battery| battery.remaining).filter(|percent| *percent != UNKNOWN_PERCENT);
        HeardVehicle { system: self.system, kind, base_mode, landed: landed_state, battery: percent, age_ms }
    }

    pub(crate) fn battery(&self, now: u64) -> Result<BatteryStatus, Errno> {
        let (heard, battery) = self.battery.ok_or(Errno::NotFound)?;
        let age_ms = age(now, heard);
        Ok(BatteryStatus { age_ms, flags: stale(age_ms, BATTERY_STALE_MS), ..battery })
    }

    pub(crate) fn position(&self, now: u64) -> Result<LocalPosition, Errno> {
        let (heard, position) = self.position.ok_or(Errno::NotFound)?;
        let age_ms = age(now, heard);
        Ok(LocalPosition { age_ms, flags: stale(age_ms, POSITION_STALE_MS), ..position })
    }

    /// Above mean sea level, in metres: so many metres above the place where it started; none if it does not know.
    pub(crate) fn above_home(&self, altitude: f32) -> Option<f32> {
        self.home_m.map(|home_m| home_m + altitude)
    }

    fn heard(&self, id: u32) -> Option<u64> {
        let nth = STREAMS.iter().position(|stream| stream.id == id)?;
        self.heard_ms.get(nth).copied().flatten()
    }

    /// A message that it is to send, as `SET_MESSAGE_INTERVAL` wants it: number and interval.
    pub(crate) fn next_request(&mut self, now: u64) -> Option<(u32, u32)> {
        if self.is_stale(now) {
            return None;
        }
        let nth = (0..STREAMS.len()).find(|nth| self.request_due(*nth) <= now)?;
        *self.asked_ms.get_mut(nth)? = Some(now);
        STREAMS.get(nth).map(|stream| (stream.id, stream.interval_us))
    }

    /// When it is to be asked next, as long as it is there.
    pub(crate) fn next_deadline(&self) -> u64 {
        (0..STREAMS.len()).map(|nth| self.request_due(nth)).min().unwrap_or(u64::MAX)
    }

    fn request_due(&self, nth: usize) -> u64 {
        let at = |times: &[Option<u64>]| times.get(nth).copied().flatten();
        let Some(asked) = at(&self.asked_ms) else { return 0 };
        let missed_ms = STREAMS.get(nth).map_or(0, |stream| stream.missed_ms);
        let missed = at(&self.heard_ms).map_or(0, |heard| heard + missed_ms);
        missed.max(asked + ASK_EVERY_MS)
    }
}

fn age(now: u64, then: u64) -> u32 {
    u32::try_from(now.saturating_sub(then)).unwrap_or(u32::MAX)
}

fn stale(age_ms: u32, limit_ms: u32) -> u8 {
    if age_ms >= limit_ms { STALE } else { 0 }
}

/// A number in a smaller unit, unless it stands for one that is unknown.
fn known(value: i32, unknown: i32, factor: i32) -> i32 {
    if value == unknown { UNKNOWN } else { value.saturating_mul(factor) }
}

fn percent(value: i8) -> u8 {
    u8::try_from(value).unwrap_or(UNKNOWN_PERCENT)
}
