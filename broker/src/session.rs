//! What the broker keeps for one client across its connections: subscriptions, messages on their way, and the ids of
//! messages it is receiving exactly once.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::counters::Counters;
use crate::credentials::Role;
use crate::hub::Hub;
use crate::message::Message;
use crate::outbox::{Delivery, Outbox};
use crate::packet::{Qos, Request, RetainHandling, reason};
use crate::router::{Arrival, Link, Route, RouterStopped, SubscribeError};
use crate::shares::{self, Dealt, Group};
use crate::topic;

/// Messages beyond which no more are taken from the router for the time being.
const QUEUE: usize = 256;

#[derive(Debug)]
struct Subscription {
    qos: Qos,
    no_local: bool,
    retain_as_published: bool,
    identifier: Option<u32>,
    /// `None` for a shared subscription.
    route: Option<Route>,
}

/// A message for this session.
#[derive(Debug)]
pub(crate) enum Incoming {
    Routed(Arrival),
    Dealt(Dealt),
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
    /// Where shared subscriptions deliver; made with the first one.
    mailbox: Option<(mpsc::Sender<Dealt>, mpsc::Receiver<Dealt>)>,
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
            mailbox: None,
        }
    }

    /// Grants or refuses one filter; the result is its reason code in SUBACK.
    ///
    /// `kept` says that the session outlives the connection; shared subscriptions are not for those.
    pub(crate) async fn subscribe(
        &mut self,
        hub: &Arc<Hub>,
        request: &Request,
        identifier: Option<u32>,
        kept: bool,
    ) -> Result<u8, RouterStopped> {
        if let Some(reason) = self.refusal(hub, &request.filter, kept) {
            hub.counters.subscribe_refused.add(1);
            tracing::info!(filter = request.filter, reason, "subscription refused");
            return Ok(reason);
        }
        let is_new = !self.subscriptions.contains_key(&request.filter);
        let route = match self.route(hub, &request.filter).await {
            Ok(route) => route,
            Err(SubscribeError::TooManyFilters) => return Ok(reason::QUOTA_EXCEEDED),
            Err(SubscribeError::Stopped(stopped)) => return Err(stopped),
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
            RetainHandling::IfNew => is_new,
            RetainHandling::Never => false,
        };
        if wants_retained && route.is_some() {
            self.queue_retained(hub.router.retained(&request.filter), request.qos, identifier);
        }
        Ok(request.qos as u8)
    }

    fn refusal(&self, hub: &Hub, filter: &str, kept: bool) -> Option<u8> {
        let is_shared = filter.starts_with("$share/");
        let plain = if is_shared { shares::split(filter).map(|(_, filter)| filter) } else { Some(filter) };
        let Some(plain) = plain.filter(|plain| topic::is_filter(plain)) else {
            return Some(reason::BAD_FILTER);
        };
        if is_shared && (kept || !self.role.is_trusted()) {
            Some(reason::NO_SHARED_SUBSCRIPTIONS)
        } else if !self.role.may_subscribe(&hub.prefix, plain) {
            Some(reason::NOT_AUTHORIZED)
        } else if self.subscriptions.len() >= hub.limits.subscriptions
            && !self.subscriptions.contains_key(filter)
        {
            Some(reason::QUOTA_EXCEEDED)
        } else {
            None
        }
    }

    /// Lets messages for `filter` come; does nothing for one that is subscribed already.
    async fn route(&mut self, hub: &Arc<Hub>, filter: &str) -> Result<Option<Route>, SubscribeError> {
        if let Some(subscription) = self.subscriptions.get(filter) {
            return Ok(subscription.route);
        }
        if filter.starts_with("$share/") {
            let (sender, _) = self.mailbox.get_or_insert_with(|| mpsc::channel(shares::MAILBOX));
            hub.shares.join(&hub.router, &hub.counters, filter, self.origin, sender.clone()).await?;
            return Ok(None);
        }
        self.link(hub).await?.subscribe(filter).await.map(Some)
    }

    fn queue_retained(&mut self, messages: Vec<Message>, granted: Qos, identifier: Option<u32>) {
        for message in messages {
            let qos = message.qos().min(granted);
            self.outbox.push(Delivery { message, qos, retain: true, identifier, group: None });
        }
    }

    /// Ends one subscription; the result is its reason code in UNSUBACK.
    pub(crate) async fn unsubscribe(&mut self, hub: &Hub, filter: &str) -> Result<u8, RouterStopped> {
        let Some(subscription) = self.subscriptions.remove(filter) else {
            return Ok(reason::NO_SUBSCRIPTION_EXISTED);
        };
        match (subscription.route, &mut self.link) {
            (Some(route), Some(link)) => link.unsubscribe(route).await?,
            _ => hub.shares.leave(filter, self.origin),
        }
        Ok(reason::SUCCESS)
    }

    async fn link(&mut self, hub: &Arc<Hub>) -> Result<&mut Link, RouterStopped> {
        let link = match self.link.take() {
            Some(link) => link,
            None => hub.router.link().await?,
        };
        Ok(self.link.insert(link))
    }

    /// Whether another message may be taken from the router.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.queued() < QUEUE
    }

    /// Waits for the next message; for ever without subscriptions. May be cancelled.
    pub(crate) async fn next(&mut self) -> Result<Option<Incoming>, RouterStopped> {
        let Session { link, mailbox, .. } = self;
        let routed = async {
            match link {
                Some(link) => link.next().await,
                None => pending().await,
            }
        };
        let dealt = async {
            match mailbox {
                Some((_, mailbox)) => mailbox.recv().await,
                None => pending().await,
            }
        };
        tokio::select! {
            arrival = routed => Ok(arrival?.map(Incoming::Routed)),
            dealt = dealt => Ok(dealt.map(Incoming::Dealt)),
        }
    }

    /// Queues what came for each subscription it matches.
    ///
    /// `connected` says whether messages of [`Qos::AtMostOnce`] make sense now.
    pub(crate) fn take(
        &mut self,
        incoming: Incoming,
        connected: bool,
        counters: &Counters,
    ) -> Result<(), Overrun> {
        match incoming {
            Incoming::Routed(arrival) => self.take_routed(arrival, connected, counters),
            Incoming::Dealt(dealt) => {
                self.take_dealt(dealt);
                Ok(())
            }
        }
    }

    fn take_routed(&mut self, arrival: Arrival, connected: bool, counters: &Counters) -> Result<(), Overrun> {
        let Arrival { route, message, missed } = arrival;
        let mut lossless = false;
        for (filter, subscription) in &self.subscriptions {
            if subscription.route != Some(route) {
                continue;
            }
            lossless |= subscription.qos != Qos::AtMostOnce;
            let own = subscription.no_local && message.origin() == self.origin;
            if own || !topic::matches(filter, message.topic()) {
                continue;
            }
            let delivery = subscription.deliver(message.clone(), None);
            if connected || delivery.qos != Qos::AtMostOnce {
                self.outbox.push(delivery);
            }
        }
        counters.dropped.add(missed);
        if missed > 0 && lossless { Err(Overrun) } else { Ok(()) }
    }

    fn take_dealt(&mut self, Dealt { group, message }: Dealt) {
        match self.subscriptions.get(&group.name) {
            Some(subscription) => self.outbox.push(subscription.deliver(message, Some(group))),
            // Came after the subscription had ended.
            None => group.give_back(message),
        }
    }

    /// Gives back the link, and to the groups what they have to deliver to others.
    pub(crate) async fn close(mut self, hub: &Hub) {
        for filter in self.subscriptions.keys() {
            hub.shares.leave(filter, self.origin);
        }
        for (group, message) in self.outbox.take_dealt() {
            group.give_back(message);
        }
        if let Some((_, mut mailbox)) = self.mailbox.take() {
            mailbox.close();
            while let Some(Dealt { group, message }) = mailbox.recv().await {
                group.give_back(message);
            }
        }
        if let Some(link) = self.link.take() {
            link.close().await;
        }
    }
}

impl Subscription {
    fn deliver(&self, message: Message, group: Option<Arc<Group>>) -> Delivery {
        Delivery {
            qos: message.qos().min(self.qos),
            retain: self.retain_as_published && message.retain(),
            identifier: self.identifier,
            message,
            group,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Parts;
    use bytes::Bytes;

    fn arrival(topic: &str, qos: Qos, missed: u64) -> Incoming {
        let message = Message::new(&Parts {
            topic,
            payload: &Bytes::new(),
            properties: &[],
            qos,
            retain: true,
            origin: 1,
            deadline_ms: None,
        });
        Incoming::Routed(Arrival { route: Route::default(), message, missed })
    }

    fn session(subscriptions: &[(&str, Qos)]) -> Session {
        let mut session = Session::new(Role::Service, 1);
        for (filter, qos) in subscriptions {
            let subscription = Subscription {
                qos: *qos,
                no_local: false,
                retain_as_published: false,
                identifier: None,
                route: Some(Route::default()),
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
