//! One subscriber's connection to the router, and those not in use.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rumqttd::Notification;
use rumqttd::local::{LinkRx, LinkTx};
use rumqttd::protocol::{
    Filter, Packet, PublishProperties, QoS, RetainForwardRule, Subscribe, SubscribeProperties, Unsubscribe,
};

use super::{Router, RouterStopped, SubscribeError, lock, patiently};
use crate::message::Message;

/// Which subscription of a [`Link`] something came through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Route(usize);

/// What a [`Link`] received.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) route: Route,
    pub(crate) message: Message,
    /// Messages that the router dropped before this one because the link was too slow.
    pub(crate) missed: u64,
}

/// One subscriber's connection to the router.
pub(crate) struct Link {
    router: Arc<Router>,
    /// Gone only while the link is dropped.
    pipe: Option<Pipe>,
    routes: HashMap<Route, Path>,
    by_filter: HashMap<String, Route>,
    /// Came while an acknowledgement was awaited.
    arrived: VecDeque<Arrival>,
}

struct Path {
    filter: String,
    users: usize,
    /// Where the next message is in the router's log.
    expected: Option<u64>,
}

/// What a [`Link`] is made of and what is left of it when it is used again.
pub(super) struct Pipe {
    name: usize,
    tx: LinkTx,
    rx: LinkRx,
    routes_made: usize,
    last_id: u16,
    /// The router paused this link until it is woken.
    wake_due: bool,
}

enum Event {
    Message { cursor: Option<u64>, payload: Bytes, properties: PublishProperties },
    Acknowledged { id: u16 },
    Nothing,
}

impl Link {
    pub(super) fn new(router: Arc<Router>, pipe: Pipe) -> Self {
        let (routes, by_filter, arrived) = Default::default();
        Link { router, pipe: Some(pipe), routes, by_filter, arrived }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Starts to receive what matches `filter`, and perhaps more; compare with [`crate::topic::matches`].
    ///
    /// Every message published after this returns arrives. Filters that fold to the same one share a route.
    pub(crate) async fn subscribe(&mut self, filter: &str) -> Result<Route, SubscribeError> {
        let filter = self.router.folding.filter(filter);
        if let Some(route) = self.by_filter.get(&filter) {
            if let Some(path) = self.routes.get_mut(route) {
                path.users += 1;
            }
            return Ok(*route);
        }
        if !self.router.remember(&filter) {
            return Err(SubscribeError::TooManyFilters);
        }
        // From here to sending nothing is awaited, so that what is noted here is what the router knows.
        self.router.wait_for_room().await?;
        let route = self.pipe()?.new_route();
        self.routes.insert(route, Path { filter: filter.clone(), users: 1, expected: None });
        self.by_filter.insert(filter.clone(), route);
        let options = Filter {
            path: filter,
            qos: QoS::AtMostOnce,
            nolocal: false,
            preserve_retain: false,
            retain_forward_rule: RetainForwardRule::Never,
        };
        let properties = SubscribeProperties { id: Some(route.0), user_properties: Vec::new() };
        let packet = |pkid| Packet::Subscribe(Subscribe { pkid, filters: vec![options] }, Some(properties));
        self.request(packet).await?;
        Ok(route)
    }

    /// Undoes one [`Link::subscribe`].
    pub(crate) async fn unsubscribe(&mut self, route: Route) -> Result<(), RouterStopped> {
        let Some(path) = self.routes.get_mut(&route) else { return Ok(()) };
        if path.users > 1 {
            path.users -= 1;
            return Ok(());
        }
        self.router.wait_for_room().await?;
        let Some(Path { filter, .. }) = self.routes.remove(&route) else { return Ok(()) };
        self.by_filter.remove(&filter);
        let packet = |pkid| Packet::Unsubscribe(Unsubscribe { pkid, filters: vec![filter] }, None);
        self.request(packet).await
    }

    /// The next message; `None` when there was something else. May be cancelled without losing anything.
    pub(crate) async fn next(&mut self) -> Result<Option<Arrival>, RouterStopped> {
        if let Some(arrival) = self.arrived.pop_front() {
            return Ok(Some(arrival));
        }
        match self.pipe()?.event().await? {
            Event::Message { cursor, payload, properties } => Ok(self.arrival(cursor, payload, properties)),
            Event::Acknowledged { .. } | Event::Nothing => Ok(None),
        }
    }

    /// Empties the link and puts it back for the next subscriber.
    pub(crate) async fn close(mut self) {
        let empty = async {
            let routes: Vec<Route> = self.routes.keys().copied().collect();
            for route in routes {
                if let Some(path) = self.routes.get_mut(&route) {
                    path.users = 1;
                }
                self.unsubscribe(route).await?;
            }
            Ok::<(), RouterStopped>(())
        };
        // One that cannot be emptied in time is given up, in `drop`.
        if let Ok(Ok(())) = patiently(empty).await
            && let Some(pipe) = self.pipe.take()
        {
            lock(&self.router.pool).idle.push(pipe);
        }
    }

    /// Sends a packet and waits for its acknowledgement.
    async fn request(&mut self, packet: impl FnOnce(u16) -> Packet) -> Result<(), RouterStopped> {
        let pipe = self.pipe()?;
        let wanted = pipe.new_id();
        // This never waits: there is room, and the function is asynchronous in name only.
        pipe.tx.send(packet(wanted)).await.map_err(|_| RouterStopped)?;
        let answer = async {
            loop {
                match self.pipe()?.event().await? {
                    Event::Message { cursor, payload, properties } => {
                        let arrival = self.arrival(cursor, payload, properties);
                        self.arrived.extend(arrival);
                    }
                    Event::Acknowledged { id } if id == wanted => return Ok(()),
                    Event::Acknowledged { .. } | Event::Nothing => {}
                }
            }
        };
        patiently(answer).await?
    }

    fn pipe(&mut self) -> Result<&mut Pipe, RouterStopped> {
        self.pipe.as_mut().ok_or(RouterStopped)
    }

    /// `None` for what came through a route that is gone.
    fn arrival(
        &mut self,
        cursor: Option<u64>,
        payload: Bytes,
        properties: PublishProperties,
    ) -> Option<Arrival> {
        let route = Route(*properties.subscription_identifiers.last()?);
        let path = self.routes.get_mut(&route)?;
        let missed = match (cursor, path.expected) {
            (Some(offset), Some(expected)) => offset.saturating_sub(expected),
            _ => 0,
        };
        path.expected = cursor.map(|offset| offset + 1);
        let message = Message::from_router(properties.correlation_data?, payload)?;
        Some(Arrival { route, message, missed })
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            // The router drops it when the name is used again.
            tracing::debug!(name = pipe.name, "a link to the router is given up without being emptied");
            lock(&self.router.pool).free_names.push(pipe.name);
        }
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("routes", &self.routes.len()).finish_non_exhaustive()
    }
}

impl Pipe {
    pub(super) fn new(name: usize, tx: LinkTx, rx: LinkRx) -> Self {
        Pipe { name, tx, rx, routes_made: 0, last_id: 0, wake_due: false }
    }

    async fn event(&mut self) -> Result<Event, RouterStopped> {
        if self.wake_due {
            self.rx.wake().await.map_err(|_| RouterStopped)?;
            self.wake_due = false;
        }
        let Some(notification) = self.rx.next().await.map_err(|_| RouterStopped)? else {
            return Ok(Event::Nothing);
        };
        match notification {
            Notification::Forward(forward) => Ok(Event::Message {
                cursor: forward.cursor.map(|(_, offset)| offset),
                payload: forward.publish.payload,
                properties: forward.properties.unwrap_or_default(),
            }),
            Notification::Unschedule => {
                self.wake_due = true;
                Ok(Event::Nothing)
            }
            // The router only does this to a link that broke its rules.
            Notification::Disconnect(..) => Err(RouterStopped),
            other => Ok(match Option::<Packet>::from(other) {
                Some(Packet::SubAck(ack, _)) => Event::Acknowledged { id: ack.pkid },
                Some(Packet::UnsubAck(ack, _)) => Event::Acknowledged { id: ack.pkid },
                _ => Event::Nothing,
            }),
        }
    }

    fn new_route(&mut self) -> Route {
        self.routes_made += 1;
        Route(self.routes_made)
    }

    fn new_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }
}

/// Links not in use.
#[derive(Default)]
pub(super) struct Pool {
    idle: Vec<Pipe>,
    /// Names of links that were given up; the router keeps something for every name it has ever seen.
    free_names: Vec<usize>,
    names_made: usize,
}

impl Pool {
    pub(super) fn take_idle(&mut self) -> Option<Pipe> {
        self.idle.pop()
    }

    #[cfg(test)]
    pub(super) fn names_made(&self) -> usize {
        self.names_made
    }

    pub(super) fn take_name(&mut self) -> usize {
        self.free_names.pop().unwrap_or_else(|| {
            self.names_made += 1;
            self.names_made
        })
    }
}
