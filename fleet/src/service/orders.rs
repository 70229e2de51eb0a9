//! What the service says to devices under its signature, and what they say of others who try.

use wasmbed_plan::Time;
use wasmbed_wire::{
    DeviceId,
    message::{Command, Refusal, Refused, Subject, Verb},
    topic::Down,
};

use super::{
    Publish,
    change::Change,
    fleet::{Fleet, Record},
    keys::seconds,
};
use crate::store::{DeviceRow, NewEvent, Severity};

/// How long a command waits for its device, in seconds.
const COMMAND_EXPIRY_S: u32 = 60;
/// From this protocol on devices believe only what is signed; before, they cannot read it.
const SIGNED_PROTOCOL: u8 = 2;
/// How far revisions may run ahead of the clock: more than that is no revision of a fleet, but somebody's who wants
/// them used up. In seconds.
const MAX_AHEAD_S: u64 = 365 * 86_400;

impl Fleet {
    /// A message for a device as it believes it.
    pub(super) fn signed(&self, record: &Record, down: &Down, payload: Vec<u8>) -> Option<Publish> {
        let id = &record.row.id;
        let knows_no_signatures =
            record.row.memory.info.as_ref().is_some_and(|info| info.protocol < SIGNED_PROTOCOL);
        let payload = match knows_no_signatures {
            true => payload,
            // The topics of this service are short enough.
            false => self.options.signer.sign_order(id, &down.to_string(), &payload).ok()?,
        };
        Some(Publish::cbor(self.device_topic(id, down), payload, down.delivery()))
    }

    pub(super) fn send_command(&mut self, device: DeviceId, verb: Verb, number: u64) {
        let (Ok(id), Some(record)) = (format!("cmd-{number}").parse(), self.records.get(&device)) else {
            return;
        };
        let command = Command { verb, boot: record.row.memory.boot, number };
        let Ok(payload) = minicbor::to_vec(command) else { return };
        let Some(message) = self.signed(record, &Down::Command(id), payload) else { return };
        self.tally.commands += 1;
        self.publish(Publish { expiry_s: Some(COMMAND_EXPIRY_S), ..message });
    }

    /// The revision a new device begins with: the clock, so that a service that lost its data base is above what it
    /// said before.
    pub(super) fn first_revision(now: Time) -> u64 {
        u64::from(seconds(now)).max(1)
    }

    /// Whether a revision that a device names can have been given to it.
    pub(super) fn is_possible(now: Time, record: &Record, revision: u64) -> bool {
        revision <= Self::first_revision(now).max(record.row.revision) + MAX_AHEAD_S
    }

    /// A device was told something that it does not believe: it is told again what is true.
    pub(super) fn on_refused(&mut self, now: Time, id: &DeviceId, refused: &Refused) {
        let Some(record) = self.records.get_mut(id) else { return };
        // Delivered at least once.
        if record.refused == Some(*refused) {
            return;
        }
        record.refused = Some(*refused);
        self.tally.refusals += 1;
        let Some(record) = self.records.get(id) else { return };
        let Refused { count, subject, reason, revision, .. } = *refused;
        let mut change = Change::default();
        let is_behind =
            subject == Subject::Desired && reason == Refusal::Stale && revision > record.row.revision;
        // What this service says is older than what the device was told before: it has an old data base.
        if is_behind && Self::is_possible(now, record, revision) {
            let row = DeviceRow { revision: revision + 1, ..record.row.clone() };
            change.devices.insert(*id, row);
        }
        let what = match subject {
            Subject::Desired => "a desired state",
            Subject::Command => "a command",
            Subject::Keys => "a keyring",
        };
        let text = format!("it refused {what}: {reason}; {count} so far since it started");
        change.events.push(NewEvent::new(severity(reason), "device-refused", text).device(*id));
        self.commit_or_log(now, change);
        self.repeat(id, subject);
    }

    /// Says again what is true: the broker may keep what was refused in its place. Commands are not kept.
    fn repeat(&mut self, id: &DeviceId, subject: Subject) {
        let message = match subject {
            Subject::Desired => self.desired_of_device(id),
            Subject::Keys => self.keys_of_device(id),
            Subject::Command => None,
        };
        message.into_iter().for_each(|message| self.publish(message));
    }
}

/// What is old may come from a broker that was restored; what is forged comes from somebody.
const fn severity(refusal: Refusal) -> Severity {
    match refusal {
        Refusal::Stale | Refusal::Unchecked => Severity::Warning,
        Refusal::Malformed
        | Refusal::UnknownKey
        | Refusal::WrongRole
        | Refusal::KeyExpired
        | Refusal::Forged => Severity::Alert,
    }
}
