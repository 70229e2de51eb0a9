//! Verbs about keys.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use wasmbed_plan::Time;
use wasmbed_wire::{
    PublicKey, Seq, keyring,
    keyring::{Role, Roles, TrustedKey},
    limits::{MAX_KEYRING_BYTES, MAX_KEYS},
    sign1::Sign1,
};

use super::{Outcome, with};
use crate::{
    api::{self, Code, KeyAdd, KeyName, KeyRetire, KeyState, KeyringImport, Problem},
    artifacts::{Trust, key_id},
    service::{
        change::Change,
        fleet::Fleet,
        keys::{read_keyring, seconds},
    },
    store::{KeyRow, KeyringRow, NewEvent, Severity},
};

/// How far ahead of this clock a keyring may have been made, in seconds: devices would take that for the
/// time and could find every key expired.
const MAX_AHEAD_S: u32 = 3600;
/// What to do where the service cannot sign.
const OFFLINE: &str = "make the keyring where a root key is: `wasmbed keys keyring --sign ROOTKEY …`, then `wasmbed \
                       keys import FILE`";

impl Fleet {
    pub(super) fn key_list(&self, now: Time) -> api::Keys {
        self.listed(now, &self.keys, self.keyrings.last())
    }

    pub(super) fn key_add(&self, now: Time, add: &KeyAdd) -> Result<Outcome, Problem> {
        let KeyAdd { name, key, roles, not_after } = add;
        self.check_new_key(now, add)?;
        let roles: Roles = roles.iter().copied().collect();
        let row = KeyRow { name: name.clone(), key: *key, roles, not_after_s: *not_after, retired: false };
        if self.keys.contains(&row) {
            return with(self.key_list(now), Change::default());
        }
        let mut keys = self.keys.clone();
        keys.retain(|known| known.name != *name);
        keys.push(row);
        let until = not_after.map_or("for ever".to_owned(), |until| format!("until {until} s of Unix time"));
        let reason = format!("{name} ({}) may sign {}, {until}", key_id(key), names(roles));
        self.change_keys(now, keys, NewEvent::new(Severity::Info, "key-added", reason))
    }

    pub(super) fn key_retire(&self, now: Time, retire: &KeyRetire) -> Result<Outcome, Problem> {
        let mut keys = self.keys.clone();
        let Some(row) = keys.iter_mut().find(|key| key.name == retire.name) else {
            return Err(Problem::new(Code::NotFound, format!("there is no key {:?}", retire.name.as_str()))
                .hint("see `wasmbed keys list`"));
        };
        if row.retired {
            return with(self.key_list(now), Change::default());
        }
        row.retired = true;
        let reason = format!("{} ({}) is no longer trusted", row.name, key_id(&row.key));
        self.change_keys(now, keys, NewEvent::new(Severity::Warning, "key-retired", reason))
    }

    pub(super) fn keyring_import(&self, now: Time, import: &KeyringImport) -> Result<Outcome, Problem> {
        let bad = |message: String| Problem::new(Code::BadRequest, message);
        let signed = decode(&import.keyring)
            .ok_or_else(|| bad("the keyring is neither hexadecimal nor base64".into()))?;
        if signed.len() > MAX_KEYRING_BYTES {
            let message = format!("the keyring has {} bytes; at most {MAX_KEYRING_BYTES}", signed.len());
            return Err(Problem::new(Code::TooLarge, message));
        }
        let refused =
            |message: String| Problem::new(Code::Refused, format!("the keyring is refused: {message}"));
        let trust = self.trust(now);
        let (key, _) = trust.verify(Role::Root, &signed).map_err(|error| {
            refused(error.to_string()).hint("a trusted key with the role root must sign it")
        })?;
        let keyring = read_keyring(&signed).ok_or_else(|| refused("it cannot be read".into()))?;
        let newest = self.keyrings.last();
        if newest.is_some_and(|newest| newest.signed == signed) {
            return with(self.key_list(now), Change::default());
        }
        let last = newest.map_or(0, |newest| newest.version);
        if keyring.version <= last {
            return Err(refused(format!("it has version {}, devices have {last}", keyring.version))
                .hint(format!("sign it with --version {}", last.saturating_add(1))));
        }
        let (earliest, latest) =
            (newest.map_or(0, |newest| newest.issued_s), trust.now_s.saturating_add(MAX_AHEAD_S));
        if !(earliest..=latest).contains(&keyring.issued_s) {
            let issued = keyring.issued_s;
            return Err(refused(format!(
                "it was made at {issued} s of Unix time, it is {} now",
                trust.now_s
            ))
            .hint("set the clock of the machine that signs"));
        }
        let keys = self.keys_of(&keyring);
        check_keys(&keys, keyring.issued_s)?;
        let mut events = self.events_of(&keys);
        events.extend(self.loss_of_control(now, &keys));
        let (version, issued_s) = (keyring.version, keyring.issued_s);
        let row = KeyringRow { version, issued_s, key, signed: signed.clone() };
        let shown = self.listed(now, &keys, Some(&row));
        with(shown, Change { keys: Some((keys, Some(row))), events, ..Change::default() })
    }

    fn check_new_key(&self, now: Time, add: &KeyAdd) -> Result<(), Problem> {
        let KeyAdd { name, key, roles, not_after } = add;
        if roles.is_empty() {
            return Err(Problem::new(Code::BadRequest, "a key needs at least one role")
                .hint("roles are root, firmware, module, patch and control"));
        }
        if let Some(until) = not_after.filter(|until| *until <= seconds(now)) {
            return Err(Problem::new(Code::BadRequest, format!("{until} s of Unix time is past"))
                .hint("leave not_after out, or give a moment that is to come"));
        }
        let clash = self.keys.iter().find(|known| (known.name == *name) != (known.key == *key));
        if let Some(known) = clash {
            return Err(Problem::new(
                Code::Conflict,
                format!("the key {} is known as {}", key_id(&known.key), known.name),
            )
            .hint("a key keeps its name, and a name its key; choose another name"));
        }
        Ok(())
    }

    /// Makes and signs the keyring that says so.
    fn change_keys(&self, now: Time, mut keys: Vec<KeyRow>, event: NewEvent) -> Result<Outcome, Problem> {
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        let trust = self.trust(now);
        check_keys(&keys, trust.now_s)?;
        let signer = &self.options.signer;
        trust.permits(Role::Root, signer.id()).map_err(|error| {
            Problem::new(Code::Refused, format!("the service may not change keys: {error}")).hint(OFFLINE)
        })?;
        let newest = self.keyrings.last();
        // Above what any device has, should this store be older than they are.
        let versions = self.records.values().filter_map(|record| record.row.memory.keyring);
        let last = versions.chain(newest.map(|newest| newest.version)).max().unwrap_or(0);
        let trusted: Vec<TrustedKey> = keys.iter().filter_map(KeyRow::trusted).collect();
        let keyring = keyring::Keyring {
            version: last.saturating_add(1),
            issued_s: trust.now_s.max(newest.map_or(0, |newest| newest.issued_s)),
            keys: Seq::new(&trusted),
        };
        let signed = signer.sign_keyring(&keyring).map_err(|error| {
            Problem::new(Code::TooLarge, format!("the keyring cannot be signed: {error}"))
        })?;
        let (version, issued_s) = (keyring.version, keyring.issued_s);
        let row = KeyringRow { version, issued_s, key: signer.id(), signed };
        let shown = self.listed(now, &keys, Some(&row));
        let events = [event].into_iter().chain(self.loss_of_control(now, &keys)).collect();
        with(shown, Change { keys: Some((keys, Some(row))), events, ..Change::default() })
    }

    /// The keys of a keyring under the names they have here, and those it no longer has.
    fn keys_of(&self, keyring: &keyring::Keyring<'_>) -> Vec<KeyRow> {
        let mut rows: Vec<KeyRow> =
            self.keys.iter().map(|key| KeyRow { retired: true, ..key.clone() }).collect();
        let mut taken: BTreeSet<KeyName> = rows.iter().map(|row| row.name.clone()).collect();
        for TrustedKey { key, roles, not_after_s } in keyring.keys.iter() {
            match rows.iter_mut().find(|row| row.key == key) {
                Some(row) => {
                    (row.roles, row.not_after_s, row.retired) = (roles, not_after_s, false);
                }
                None => {
                    let name = unnamed(&key, &taken);
                    taken.extend(name.clone());
                    rows.extend(name.map(|name| KeyRow { name, key, roles, not_after_s, retired: false }));
                }
            }
        }
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        rows
    }

    /// What there is to say where these keys take this service's say away.
    fn loss_of_control(&self, now: Time, keys: &[KeyRow]) -> Option<NewEvent> {
        self.may_control(&self.keys, now).ok()?;
        let error = self.may_control(keys, now).err()?;
        let reason = format!(
            "devices take no desired state and no command from this service any more: {error}; give its key the role \
             control"
        );
        Some(NewEvent::new(Severity::Alert, "key-without-control", reason))
    }

    fn events_of(&self, keys: &[KeyRow]) -> Vec<NewEvent> {
        let mut events = Vec::new();
        for key in keys {
            let before = self.keys.iter().find(|known| known.key == key.key);
            let (kind, severity, what) = match (before.is_some_and(|known| !known.retired), !key.retired) {
                (false, true) => ("key-added", Severity::Info, format!("may sign {}", names(key.roles))),
                (true, false) => ("key-retired", Severity::Warning, "is no longer trusted".to_owned()),
                _ => continue,
            };
            let reason = format!("{} ({}) {what}, by an imported keyring", key.name, key_id(&key.key));
            events.push(NewEvent::new(severity, kind, reason));
        }
        events
    }

    fn listed(&self, now: Time, keys: &[KeyRow], keyring: Option<&KeyringRow>) -> api::Keys {
        let now_s = seconds(now);
        let trust = Trust { keys: keys.iter().filter_map(KeyRow::trusted).collect(), now_s };
        let own = self.options.signer.public();
        let shown = keys.iter().map(|key| api::Key {
            name: key.name.clone(),
            id: key_id(&key.key),
            key: key.key,
            roles: key.roles.iter().collect(),
            not_after: key.not_after_s,
            state: match key.not_after_s {
                _ if key.retired => KeyState::Retired,
                Some(until) if now_s > until => KeyState::Expired,
                _ => KeyState::Trusted,
            },
            own: key.key == own,
        });
        api::Keys {
            version: keyring.map(|keyring| keyring.version),
            issued_s: keyring.map(|keyring| keyring.issued_s),
            can_sign: trust.permits(Role::Root, self.options.signer.id()).is_ok(),
            keys: shown.collect(),
        }
    }
}

/// A keyring must fit devices, and leave a way to the next one.
fn check_keys(keys: &[KeyRow], now_s: u32) -> Result<(), Problem> {
    let trusted = || keys.iter().filter(|key| !key.retired);
    let found = trusted().count();
    if found > MAX_KEYS {
        return Err(Problem::new(
            Code::Conflict,
            format!("{found} keys would be trusted; at most {MAX_KEYS}"),
        )
        .hint("retire a key first"));
    }
    let is_good = |key: &KeyRow| key.not_after_s.is_none_or(|until| until >= now_s);
    if !trusted().any(|key| key.roles.contains(Role::Root) && is_good(key)) {
        return Err(Problem::new(
            Code::Conflict,
            "no root key would be left: devices could never be given other keys",
        )
        .hint("add another key with the role root first"));
    }
    Ok(())
}

/// A name for a key that came without one.
fn unnamed(key: &PublicKey, taken: &BTreeSet<KeyName>) -> Option<KeyName> {
    let id = key_id(key).to_string();
    let short = id.get(..8).unwrap_or(&id);
    let names = [format!("key-{short}"), format!("key-{id}")];
    names.iter().filter_map(|name| name.parse().ok()).find(|name| !taken.contains(name))
}

fn names(roles: Roles) -> String {
    let names: Vec<&str> = roles.iter().map(Role::name).collect();
    names.join(", ")
}

/// Bytes written in hexadecimal or base64. No message of this system can be taken for the other: a
/// COSE_Sign1 begins with `d2` in the one and `0o` in the other.
fn decode(text: &str) -> Option<Bytes> {
    let text: String = text.split_whitespace().collect();
    let pair = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let hex: Option<Vec<u8>> = (0..text.len()).step_by(2).map(pair).collect();
    let bytes = hex.or_else(|| STANDARD.decode(&text).ok())?;
    Sign1::decode(&bytes).is_ok().then(|| bytes.into())
}
