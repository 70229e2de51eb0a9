//! Requests of people and programs.

mod deploy;
mod devices;
mod firmware;
mod grants;
mod hosts;
mod keys;
mod modules;
mod rollouts;
mod update;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use wasmbed_plan::Time;
use wasmbed_wire::{CommandId, Digest};

use super::{
    change::{Change, RememberedAnswer},
    fleet::Fleet,
};
use crate::{
    api::{Answer, Code, Order, Problem, Request},
    store::StoreError,
};

/// What a request leads to: an answer, and what must be durable before it is given; or an order that a host answers.
struct Outcome {
    result: Value,
    change: Change,
    order: Option<Order>,
}

/// What a request leads to, seen from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Reaction {
    /// This answer.
    Answer(Answer),
    /// A host carries it out; [`Fleet::poll_relayed`] gives the answer under this number.
    Relayed(CommandId),
}

/// A request that asked to be carried out once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Once {
    pub(super) id: CommandId,
    pub(super) digest: Digest,
}

impl Fleet {
    /// Carries out a request, or has a host do so. The payload is a JSON object of the verb's fields with an
    /// optional `id`; nothing at all stands for an object without fields.
    pub fn on_request(&mut self, now: Time, verb: &str, payload: &[u8]) -> Reaction {
        let (id, fields) = match envelope(payload) {
            Ok(read) => read,
            Err(problem) => return Reaction::Answer(Answer::new(None, Err(problem))),
        };
        let once = id.map(|id| Once { id, digest: digest(verb, &fields) });
        match self.remembered(once.as_ref()) {
            Ok(None) => {}
            Ok(Some(answer)) => return Reaction::Answer(answer),
            Err(problem) => return Reaction::Answer(Answer::new(id, Err(problem))),
        }
        let done = match Request::parse(verb, fields).and_then(|request| self.carry_out(now, request)) {
            Ok(Outcome { order: Some(order), .. }) => match self.relay(now, id, once, &order) {
                Ok(number) => return Reaction::Relayed(number),
                Err(problem) => Err(problem),
            },
            Ok(outcome) => self.conclude(now, once, outcome),
            Err(problem) => Err(problem),
        };
        self.on_tick(now);
        Reaction::Answer(Answer::new(id, done))
    }

    /// The answer already given to this very request.
    fn remembered(&self, once: Option<&Once>) -> Result<Option<Answer>, Problem> {
        let Some(once) = once else { return Ok(None) };
        let Some((digest, text)) = self.store.answer(once.id.as_str()).map_err(internal)? else {
            return Ok(None);
        };
        if digest != once.digest {
            return Err(Problem::new(
                Code::Conflict,
                format!("the id {} was used for another request", once.id),
            )
            .hint("give every request an id of its own, and the same one only to repeat it"));
        }
        serde_json::from_str(&text).map(Some).map_err(|error| Problem::new(Code::Internal, error.to_string()))
    }

    /// Makes an outcome durable together with its answer.
    fn conclude(&mut self, now: Time, once: Option<Once>, outcome: Outcome) -> Result<Value, Problem> {
        let Outcome { result, mut change, .. } = outcome;
        if let Some(Once { id, digest }) = once
            && !change.is_nothing()
        {
            let answer = Answer::new(Some(id), Ok(result.clone()));
            let text = serde_json::to_string(&answer)
                .map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
            change.answer = Some(RememberedAnswer { id, request: digest, text });
        }
        self.commit(now, change).map_err(internal)?;
        Ok(result)
    }

    fn carry_out(&mut self, now: Time, request: Request) -> Result<Outcome, Problem> {
        match request {
            Request::DeviceList(list) => self.device_list(&list).and_then(only),
            Request::DeviceShow(id) => self.device_show(&id).and_then(only),
            Request::DeviceAdd(add) => self.device_add(now, &add),
            Request::DeviceRemove(id) => self.device_remove(&id),
            Request::DeviceRestart(targets) => self.device_restart(now, &targets.to),
            Request::DeviceStop(targets) => self.device_power(&targets.to, false),
            Request::DeviceStart(targets) => self.device_power(&targets.to, true),
            Request::DeviceClear(targets) => self.device_clear(now, &targets.to),
            Request::DeviceLogs(logs) => self.device_logs(&logs).and_then(only),
            Request::DeviceToken(token) => self.device_token(&token).and_then(only),
            Request::DeviceControl(order) => {
                Ok(Outcome { result: Value::Null, change: Change::default(), order: Some(order) })
            }
            Request::HostList => only(self.host_list()),
            Request::ModuleList => self.module_list().and_then(only),
            Request::ModuleRemove(remove) => self.module_remove(&remove),
            Request::ModuleGrant(change) => self.module_grant(&change),
            Request::ModuleRevoke(change) => self.module_revoke(&change),
            Request::GrantList => only(self.grant_list()),
            Request::Deploy(deploy) => self.deploy(&deploy),
            Request::Undeploy(undeploy) => self.undeploy(&undeploy),
            Request::FirmwareList => self.firmware_list(now).and_then(only),
            Request::FirmwareShow(named) => self.firmware_show(now, &named).and_then(only),
            Request::FirmwareVerify(named) => self.firmware_verify(now, &named).and_then(only),
            Request::FirmwareRemove(remove) => self.firmware_remove(&remove),
            Request::FirmwareDeploy(deploy) => self.firmware_deploy(now, &deploy),
            Request::FirmwareCancel(targets) => self.firmware_cancel(&targets.to),
            Request::FirmwareRollback(targets) => self.firmware_rollback(now, &targets.to),
            Request::FirmwareClear(targets) => self.firmware_clear(now, &targets.to),
            Request::FirmwareStatus(of) => self.firmware_status(&of).and_then(only),
            Request::KeyList => only(self.key_list(now)),
            Request::KeyAdd(add) => self.key_add(now, &add),
            Request::KeyRetire(retire) => self.key_retire(now, &retire),
            Request::KeyringImport(import) => self.keyring_import(now, &import),
            Request::RolloutCreate(create) => self.rollout_create(now, &create),
            Request::RolloutList => self.rollout_list(now).and_then(only),
            Request::RolloutShow(named) => self.rollout_show(now, &named).and_then(only),
            Request::RolloutPause(named) => self.rollout_pause(now, &named),
            Request::RolloutResume(named) => self.rollout_resume(now, &named),
            Request::RolloutCancel(named) => self.rollout_cancel(now, &named),
            Request::RolloutRollback(named) => self.rollout_rollback(now, &named),
            Request::EventList(filter) => self.store.events(&filter).map_err(internal).and_then(only),
        }
    }
}

/// An answer that changes nothing.
fn only(result: impl serde::Serialize) -> Result<Outcome, Problem> {
    with(result, Change::default())
}

fn with(result: impl serde::Serialize, change: Change) -> Result<Outcome, Problem> {
    let result =
        serde_json::to_value(result).map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
    Ok(Outcome { result, change, order: None })
}

fn internal(error: StoreError) -> Problem {
    let mut message = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(error) = source {
        message.push_str(&format!(": {error}"));
        source = error.source();
    }
    tracing::error!("{message}");
    Problem::new(Code::Internal, message).hint("nothing was changed; look at the service's log and its disk")
}

fn envelope(payload: &[u8]) -> Result<(Option<CommandId>, Value), Problem> {
    let bad = |message: String| Problem::new(Code::BadRequest, message);
    let text = if payload.trim_ascii().is_empty() { b"{}" } else { payload };
    let value: Value = serde_json::from_slice(text)
        .map_err(|error| bad(format!("the request is not JSON: {error}")).hint("send a JSON object"))?;
    let Value::Object(mut fields) = value else {
        return Err(bad("the request is not a JSON object".into()).hint("send {} for a verb without fields"));
    };
    let id = fields.remove("id").map(serde_json::from_value).transpose();
    let id = id.map_err(|error| bad(format!("the request's id cannot be used: {error}")))?;
    Ok((id, Value::Object(fields)))
}

fn digest(verb: &str, fields: &Value) -> Digest {
    let mut hash = Sha256::new();
    hash.update(verb.as_bytes());
    hash.update([0]);
    // Objects are sorted maps here, so equal requests have equal texts.
    hash.update(fields.to_string().as_bytes());
    Digest(hash.finalize().into())
}
