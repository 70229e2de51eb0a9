//! Requests that a host carries out: passed on, and answered when the host has, or when it has not in time.
//!
//! Nothing of them is stored but the answers to requests with an id: whoever asks again after the service was restarted
//! is told what came of it, or it is done again.

use std::collections::{BTreeMap, VecDeque};

use wasmbed_plan::{Presence, Time};
use wasmbed_wire::{CommandId, HostId};

use super::{
    Publish,
    change::{Change, RememberedAnswer},
    control::Once,
    fleet::Fleet,
};
use crate::{
    api::{Answer, Code, Problem},
    host_api::{self, Down, Order},
};

/// How long a host may take, in milliseconds; a client waits longer.
const ANSWER_MS: u64 = 10_000;
/// How long the broker keeps an order for a host, in seconds: no longer than its answer is waited for.
const EXPIRY_S: u32 = 10;
/// Orders under way.
const MOST: usize = 64;

/// Requests under way at hosts.
#[derive(Debug, Default)]
pub(super) struct Relays {
    under_way: BTreeMap<CommandId, Relay>,
    answers: VecDeque<(CommandId, Answer)>,
    /// Orders given so far.
    given: u64,
}

#[derive(Debug)]
struct Relay {
    host: HostId,
    request: Option<CommandId>,
    once: Option<Once>,
    until: Time,
}

impl Relays {
    /// When the next one has waited long enough.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.under_way.values().map(|relay| relay.until).min()
    }
}

impl Fleet {
    /// What hosts answered, with the numbers that [`Fleet::on_request`] gave.
    pub fn poll_relayed(&mut self) -> Option<(CommandId, Answer)> {
        self.relays.answers.pop_front()
    }

    /// Passes an order on to the host of its device; the request may be one that is under way already.
    pub(super) fn relay(
        &mut self,
        now: Time,
        request: Option<CommandId>,
        once: Option<Once>,
        order: &Order,
    ) -> Result<CommandId, Problem> {
        let same = |relay: &Relay| once.is_some() && relay.once == once;
        if let Some((number, _)) = self.relays.under_way.iter().find(|(_, relay)| same(relay)) {
            return Ok(*number);
        }
        let host = self.host_of(order)?;
        if self.relays.under_way.len() >= MOST {
            return Err(Problem::new(Code::Conflict, format!("{MOST} orders are under way"))
                .hint("wait for their answers"));
        }
        self.relays.given += 1;
        let number: CommandId = format!("{}-{}", now.0, self.relays.given)
            .parse()
            .map_err(|_| Problem::new(Code::Internal, "no number for the order"))?;
        let until = now.after_ms(ANSWER_MS);
        self.relays.under_way.insert(number, Relay { host, request, once, until });
        self.come_back(until);
        let topic = host_api::topic(&self.options.prefix, &host, Down::Order(number));
        self.publish(Publish { expiry_s: Some(EXPIRY_S), ..Publish::json(topic, order, false) });
        Ok(number)
    }

    /// The host that has to carry out an order, if it is there.
    fn host_of(&self, order: &Order) -> Result<HostId, Problem> {
        let conflict = |message: String| Problem::new(Code::Conflict, message);
        let device = &order.device;
        let host = self.record(device)?.row.host.ok_or_else(|| {
            conflict(format!("{device} is real hardware: nobody can do this to it from here"))
                .hint("only devices on a host can be controlled")
        })?;
        match self.view.hosts.get(&host) {
            Some(known) if known.presence == Presence::Online => Ok(host),
            _ => Err(conflict(format!("host {host}, which runs {device}, is not connected"))
                .hint("start it with `wasmbed host`, or wait until it is back")),
        }
    }

    /// A host has answered an order.
    pub(super) fn on_result(&mut self, now: Time, host: HostId, number: CommandId, answer: Answer) {
        if self.relays.under_way.get(&number).is_some_and(|relay| relay.host == host)
            && let Some(relay) = self.relays.under_way.remove(&number)
        {
            self.conclude_relay(now, number, relay, answer);
        }
    }

    /// Answers what no host has answered in time.
    pub(super) fn expire_relays(&mut self, now: Time) {
        let due: Vec<_> = self.relays.under_way.extract_if(.., |_, relay| relay.until <= now).collect();
        for (number, relay) in due {
            let message = format!("host {} has not answered within {} s", relay.host, ANSWER_MS / 1000);
            let problem = Problem::new(Code::NoAnswer, message)
                .hint("whether it was done is not known; look at the device with `wasmbed device show`");
            self.conclude_relay(now, number, relay, Answer::new(None, Err(problem)));
        }
    }

    fn conclude_relay(&mut self, now: Time, number: CommandId, relay: Relay, answer: Answer) {
        let answer = Answer { id: relay.request, ..answer };
        // What was refused may be asked again.
        if let Some(once) = relay.once
            && answer.ok
            && let Ok(text) = serde_json::to_string(&answer)
        {
            let remembered = RememberedAnswer { id: once.id, request: once.digest, text };
            self.commit_or_log(now, Change { answer: Some(remembered), ..Change::default() });
        }
        self.relays.answers.push_back((number, answer));
    }
}
