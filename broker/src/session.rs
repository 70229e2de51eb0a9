//! What the broker keeps for one client across its connections: subscriptions, messages on their way, and the ids of
//! messages it is receiving exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::counters::Counters;
use crate::credentials::Role;
use crate::message::Message;
use crate::outbox::{Delivery, Outbox};
use crate::packet::{Qos, Request, RetainHandling, reason};
use crate::router::{Arrival, Link, Route, RouterStopped, SubscribeError};
use crate::shared::Shared;
use crate::topic;

/// Messages beyond which no more are taken from the router for the time being.
const QUEUE: usize = 256;

#[derive(Debug)]
struct Subscription {
    qos: Qos,
    no_local: bool,
    retain_as_published: bool,
    identifier: Option<u32>,
    route: Route,
}

/// The client did not take its messages in time and some are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overrun;

#[derive(Debug)]
pub(crate) struct Session {
    role: Role,
    /// Marks the messages this session publishes.
    pub(crate) origin: u64,
    /// Made with the first subscription.
    link: Option<Link>,
    subscriptions: BTreeMap<String, Subscription>,
    pub(crate) outbox: Outbox,
    /// Messages of [`Qos::ExactlyOnce`] that the client has not released.
    pub(crate) receiving: BTreeSet<u16>,
}

impl Session {
    pub(crate) fn new(role: Role, origin: u64) -> Self {
        Session {
            role,
            origin,
            link: None,
            subscriptions: BTreeMap::new(),
            outbox: Outbox::default(),
            receiving: BTreeSet::new(),
        }
    }

    /// Grants or refuses one filter; the result is its reason code in SUBACK.
    pub(crate) async fn subscribe(
        &mut self,
        shared: &Arc<Shared>,
        request: &Request,
        identifier: Option<u32>,
    ) -> Result<u8, RouterStopped> {
        let refusal = self.refusal(shared, &request.filter);
        if let Some(reason) = refusal {
            shared.counters.subscribe_refused.add(1);
            tracing::debug!(role = %self.role.username(), filter = request.filter, reason, "subscription refused");
            return Ok(reason);
        }
        let old = self.subscriptions.get(&request.filter).map(|subscription| subscription.route);
        let route = match old {
            Some(route) => route,
            None => match self.link(shared).await?.subscribe(&request.filter).await {
                Ok(route) => route,
                Err(SubscribeError::TooManyFilters) => return Ok(reason::QUOTA_EXCEEDED),
                Err(SubscribeError::Stopped(stopped)) => return Err(stopped),
            },
        };
        let subscription = Subscription {
            qos: request.qos,
            no_local: request.no_local,
            retain_as_published: request.retain_as_published,
            identifier,
            route,
        };
        self.subscriptions.insert(request.filter.clone(), subscription);
        let wants_retained = match request.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::IfNew => old.is_none(),
            RetainHandling::Never => false,
        };
        if wants_retained {
            self.queue_retained(shared.router.retained(&request.filter), request.qos, identifier);
        }
        Ok(request.qos as u8)
    }

    fn refusal(&self, shared: &Shared, filter: &str) -> Option<u8> {
        if !topic::is_filter(filter) {
            Some(reason::BAD_FILTER)
        } else if filter.starts_with("$share/") {
            Some(reason::NO_SHARED_SUBSCRIPTIONS)
        } else if !self.role.may_subscribe(&shared.prefix, filter) {
            Some(reason::NOT_AUTHORIZED)
        } else if self.subscriptions.len() >= shared.limits.subscriptions
            && !self.subscriptions.contains_key(filter)
        {
            Some(reason::QUOTA_EXCEEDED)
        } else {
            None
        }
    }

    fn queue_retained(&mut self, messages: Vec<Message>, granted: Qos, identifier: Option<u32>) {
        for message in messages {
            let qos = message.qos().min(granted);
            self.outbox.push(Delivery { message, qos, retain: true, identifier });
        }
    }

    /// Ends one subscription; the result is its reason code in UNSUBACK.
    pub(crate) async fn unsubscribe(&mut self, filter: &str) -> Result<u8, RouterStopped> {
        let Some(subscription) = self.subscriptions.remove(filter) else {
            return Ok(reason::NO_SUBSCRIPTION_EXISTED);
        };
        if let Some(link) = &mut self.link {
            link.unsubscribe(subscription.route).await?;
        }
        Ok(reason::SUCCESS)
    }

    async fn link(&mut self, shared: &Arc<Shared>) -> Result<&mut Link, RouterStopped> {
        let link = match self.link.take() {
            Some(link) => link,
            None => shared.router.link().await?,
        };
        Ok(self.link.insert(link))
    }

    /// Whether another message may be taken from the router.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.queued() < QUEUE
    }

    /// Waits for the next message from the router; for ever without subscriptions. May be cancelled.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrival>, RouterStopped> {
        match &mut self.link {
            Some(link) => link.next().await,
            None => std::future::pending().await,
        }
    }

    /// Queues what arrived for each subscription it matches.
    ///
    /// `connected` says whether messages of [`Qos::AtMostOnce`] make sense now.
    pub(crate) fn take(
        &mut self,
        arrival: Arrival,
        connected: bool,
        counters: &Counters,
    ) -> Result<(), Overrun> {
        let Arrival { route, message, missed } = arrival;
        let mut lossless = false;
        for (filter, subscription) in &self.subscriptions {
            if subscription.route != route {
                continue;
            }
            lossless |= subscription.qos != Qos::AtMostOnce;
            let own = subscription.no_local && message.origin() == self.origin;
            if own || !topic::matches(filter, message.topic()) {
                continue;
            }
            let qos = message.qos().min(subscription.qos);
            if qos == Qos::AtMostOnce && !connected {
                continue;
            }
            self.outbox.push(Delivery {
                message: message.clone(),
                qos,
                retain: subscription.retain_as_published && message.retain(),
                identifier: subscription.identifier,
            });
        }
        counters.dropped.add(missed);
        if missed > 0 && lossless { Err(Overrun) } else { Ok(()) }
    }

    /// Gives the link back.
    pub(crate) async fn close(mut self) {
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Parts;
    use bytes::Bytes;

    fn arrival(topic: &str, qos: Qos, missed: u64) -> Arrival {
        let message = Message::new(&Parts {
            topic,
            payload: &Bytes::new(),
            properties: &[],
            qos,
            retain: true,
            origin: 1,
            deadline_ms: None,
        });
        Arrival { route: Route::default(), message, missed }
    }

    fn session(subscriptions: &[(&str, Qos)]) -> Session {
        let mut session = Session::new(Role::Service, 1);
        for (filter, qos) in subscriptions {
            let subscription = Subscription {
                qos: *qos,
                no_local: false,
                retain_as_published: false,
                identifier: None,
                route: Route::default(),
            };
            session.subscriptions.insert((*filter).to_owned(), subscription);
        }
        session
    }

    #[test]
    fn what_only_looks_alike_after_folding_is_not_delivered() {
        let mut session = session(&[("a/1", Qos::AtMostOnce), ("a/+", Qos::AtMostOnce)]);
        let counters = Counters::default();
        for (topic, copies) in [("a/1", 2), ("a/2", 3), ("b/1", 3)] {
            session.take(arrival(topic, Qos::AtMostOnce, 0), true, &counters).expect("nothing missed");
            assert_eq!(session.outbox.queued(), copies, "{topic}");
        }
    }

    #[test]
    fn at_most_once_is_not_for_those_who_are_away() {
        let mut session = session(&[("a", Qos::AtLeastOnce)]);
        let counters = Counters::default();
        session.take(arrival("a", Qos::AtMostOnce, 0), false, &counters).expect("nothing missed");
        assert_eq!(session.outbox.queued(), 0);
        session.take(arrival("a", Qos::AtLeastOnce, 0), false, &counters).expect("nothing missed");
        assert_eq!(session.outbox.queued(), 1);
    }

    #[test]
    fn missing_messages_matter_to_those_who_asked_for_all() {
        let counters = Counters::default();
        let mut lossless = session(&[("a", Qos::AtLeastOnce)]);
        assert_eq!(lossless.take(arrival("a", Qos::AtMostOnce, 3), true, &counters), Err(Overrun));
        let mut lossy = session(&[("a", Qos::AtMostOnce)]);
        assert_eq!(lossy.take(arrival("a", Qos::AtMostOnce, 3), true, &counters), Ok(()));
        assert_eq!(counters.snapshot().dropped, 6);
    }
}
