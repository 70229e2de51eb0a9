//! One module's place in ROS 2.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    sync::Arc,
};

use ros2_client::RmwRequestId;
use tokio::{
    sync::{Semaphore, mpsc, mpsc::error::TrySendError},
    time::Instant,
};
use wasmbed_abi::{Errno, MAX_SERVICE_CALLS, MAX_SERVICE_CLIENTS, MAX_SERVICES, NodeInfo, RosName, Typed};

use crate::{
    calls::Calls,
    codec::{Body, Refused},
    config::{ServiceSettings, TopicSettings},
    endpoints::{Outgoing, Request},
    graph::{NameAndType, Topic},
    mailbox::Event,
    participant::{Member, Order, Shared},
};

/// What a module may have on its way out, in bytes.
const MAX_OUTGOING_BYTES: usize = 16 * 1024 * 1024;

/// What a module may use: patterns separated by spaces, see [`RosName::is_allowed_by`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Topics that it may publish on.
    pub publish: String,
    /// Topics that it may subscribe to.
    pub subscribe: String,
    /// Services that it may call.
    pub call: String,
    /// Services that it may offer.
    pub serve: String,
}

/// One module's place in ROS 2. What it has there goes with it.
#[derive(Debug)]
pub struct Station {
    member: Member,
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
    allowed: Allowed,
    room: Arc<Semaphore>,
    publishers: BTreeMap<String, Way<TopicSettings, ()>>,
    /// Topics that were ever subscribed to: an endpoint stays until the module ends.
    subscriptions: BTreeMap<String, Arc<TopicSettings>>,
    clients: Vec<Way<ServiceSettings, Request>>,
    calls: Calls,
    services: Vec<Way<ServiceSettings, RmwRequestId>>,
    /// As they were when the first one was asked for.
    topics: Vec<Topic>,
}

/// The way to an endpoint.
#[derive(Debug)]
struct Way<S, T> {
    settings: Arc<S>,
    outgoing: mpsc::Sender<Outgoing<T>>,
}

impl<S, T> Way<S, T> {
    fn send(&self, room: &Arc<Semaphore>, content: T, body: Body) -> Result<(), Errno> {
        let bytes = u32::try_from(body.0.len()).map_err(|_| Errno::TooLong)?;
        let room = Arc::clone(room).try_acquire_many_owned(bytes).map_err(|_| Errno::Busy)?;
        let outgoing = Outgoing { content, body, _room: room };
        self.outgoing.try_send(outgoing).map_err(|error| match error {
            TrySendError::Full(_) => Errno::Busy,
            // The endpoint could not be made, which was told; or the device leaves.
            TrySendError::Closed(_) => Errno::Io,
        })
    }
}

impl Station {
    pub(crate) fn new(
        member: Member,
        shared: Arc<Shared>,
        orders: mpsc::UnboundedSender<Order>,
        allowed: Allowed,
        calls: Calls,
    ) -> Self {
        Station {
            member,
            shared,
            orders,
            allowed,
            room: Arc::new(Semaphore::new(MAX_OUTGOING_BYTES)),
            publishers: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            clients: Vec::new(),
            calls,
            services: Vec::new(),
            topics: Vec::new(),
        }
    }

    /// The oldest that is to be told, and whether there is more.
    pub fn next(&self) -> Option<(Event, bool)> {
        self.member.mailbox.next()
    }

    /// Publishes a message.
    ///
    /// # Errors
    /// If it may not, or cannot now.
    pub fn publish(&mut self, topic: RosName<'_>, message: &[u8]) -> Result<(), Refused> {
        let name = topic.as_str();
        let Station { publishers, shared, orders, member, allowed, room, .. } = self;
        let way = match publishers.entry(name.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                allow(topic, &allowed.publish)?;
                let settings = configured(shared.settings.topics.get(name), name)?;
                if !settings.may_publish {
                    return Err(wrong_way(name, "publish"));
                }
                let (outgoing, sent) = mpsc::channel(settings.depth);
                // Fails only when the device leaves, as in `order`.
                let _ = orders.send(Order::Publish(member.clone(), Arc::clone(&settings), sent));
                place.insert(Way { settings, outgoing })
            }
        };
        let body = way.settings.codec.outward(message)?;
        let listeners = shared.listeners(name);
        let told = if listeners.is_empty() { None } else { way.settings.codec.inward(&body).ok() };
        way.send(room, (), body).map_err(plain)?;
        if let Some(bytes) = told {
            listeners.iter().for_each(|listener| listener.message(&way.settings, bytes.clone()));
        }
        Ok(())
    }

    /// Listens to a topic.
    ///
    /// # Errors
    /// If it may not.
    pub fn subscribe(&mut self, topic: RosName<'_>) -> Result<(), Refused> {
        let name = topic.as_str();
        allow(topic, &self.allowed.subscribe)?;
        let settings = configured(self.shared.settings.topics.get(name), name)?;
        if !settings.may_subscribe {
            return Err(wrong_way(name, "subscribe"));
        }
        self.member.mailbox.listen(name);
        if self.subscriptions.insert(name.to_owned(), Arc::clone(&settings)).is_none() {
            self.order(Order::Subscribe(self.member.clone(), settings));
        }
        Ok(())
    }

    /// Listens to it no longer.
    pub fn unsubscribe(&mut self, topic: RosName<'_>) {
        self.member.mailbox.listen_no_longer(topic.as_str());
    }

    /// The number of a client of a service.
    ///
    /// # Errors
    /// If it may not, or has too many.
    pub fn client(&mut self, service: RosName<'_>) -> Result<u32, Refused> {
        if let Some(known) = number_of(&self.clients, service) {
            return Ok(known);
        }
        let settings = self.service(service, &self.allowed.call, self.clients.len(), MAX_SERVICE_CLIENTS)?;
        let (outgoing, sent) = mpsc::channel(MAX_SERVICE_CALLS);
        self.order(Order::Call(self.member.clone(), Arc::clone(&settings), sent, self.calls.clone()));
        self.clients.push(Way { settings, outgoing });
        number_of(&self.clients, service).ok_or_else(|| plain(Errno::NoSpace))
    }

    /// Sends a request; the ticket is for its response.
    ///
    /// # Errors
    /// If there is no such client, the request is none, or too many are under way.
    pub fn call(&mut self, client: u32, request: &[u8]) -> Result<u32, Refused> {
        let way = nth(&self.clients, client)?;
        let body = way.settings.request.outward(request)?;
        let ticket = self.calls.begin().map_err(plain)?;
        let content = Request { ticket, deadline: Instant::now() + way.settings.timeout };
        match way.send(&self.room, content, body) {
            Ok(()) => Ok(ticket),
            Err(errno) => {
                self.calls.forget(ticket);
                Err(plain(errno))
            }
        }
    }

    /// Copies the response to the start of `out` and returns its length.
    ///
    /// # Errors
    /// [`Errno::Busy`] while there is none, [`Errno::TimedOut`] if none came, [`Errno::Io`] if it is of no use,
    /// [`Errno::NoSpace`] if it does not fit, [`Errno::NotFound`] if there is no such ticket any more.
    pub fn response(&self, ticket: u32, out: &mut [u8]) -> Result<usize, Errno> {
        self.calls.response(ticket, out)
    }

    /// Offers a service; its number is in the requests to it.
    ///
    /// # Errors
    /// If it may not, or offers too many.
    pub fn offer(&mut self, service: RosName<'_>) -> Result<u32, Refused> {
        if let Some(known) = number_of(&self.services, service) {
            return Ok(known);
        }
        let settings = self.service(service, &self.allowed.serve, self.services.len(), MAX_SERVICES)?;
        let (outgoing, sent) = mpsc::channel(MAX_SERVICE_CALLS);
        let number = u32::try_from(self.services.len()).map_err(|_| plain(Errno::NoSpace))?;
        self.order(Order::Serve(self.member.clone(), Arc::clone(&settings), number, sent));
        self.services.push(Way { settings, outgoing });
        Ok(number)
    }

    /// Answers a request, once.
    ///
    /// # Errors
    /// If there is no such request any more, the response is none, or cannot be sent now.
    pub fn respond(&mut self, ticket: u32, response: &[u8]) -> Result<(), Refused> {
        let (service, id) = self.member.mailbox.asked(ticket).map_err(plain)?;
        let way = nth(&self.services, service)?;
        let body = way.settings.response.outward(response)?;
        way.send(&self.room, id, body).map_err(plain)?;
        self.member.mailbox.answered(ticket);
        Ok(())
    }

    /// Writes topic number `nth` of those that it may subscribe to, in the order of their names.
    ///
    /// # Errors
    /// [`Errno::NotFound`] after the last one, [`Errno::NoSpace`].
    pub fn topic(&mut self, nth: u32, out: &mut [u8]) -> Result<usize, Errno> {
        if nth == 0 {
            let allowed = &self.allowed.subscribe;
            self.topics = self.shared.graph.topics(|name| is_allowed(name, &[allowed]));
        }
        let topic = usize::try_from(nth).ok().and_then(|nth| self.topics.get(nth)).ok_or(Errno::NotFound)?;
        topic.info.write(Typed { name: &topic.name, ty: &topic.ty }, out)
    }

    /// Writes what a node has of what the module may use.
    ///
    /// # Errors
    /// [`Errno::NotFound`] if there is no such node, [`Errno::NoSpace`].
    pub fn node(&self, name: RosName<'_>, out: &mut [u8]) -> Result<usize, Errno> {
        let node = self.shared.graph.node(name.as_str()).ok_or(Errno::NotFound)?;
        let Allowed { publish, subscribe, call, serve } = &self.allowed;
        let lists = [
            (&node.publishers, [publish, subscribe]),
            (&node.subscribers, [publish, subscribe]),
            (&node.services, [call, serve]),
            (&node.clients, [call, serve]),
        ]
        .map(|(list, patterns)| {
            let allowed = list.iter().filter(|(name, _)| is_allowed(name, &patterns));
            allowed.map(|(name, ty): &NameAndType| Typed { name, ty }).collect::<Vec<_>>()
        });
        NodeInfo::write(lists.each_ref().map(Vec::as_slice), out)
    }

    fn service(
        &self,
        service: RosName<'_>,
        patterns: &str,
        there_are: usize,
        at_most: usize,
    ) -> Result<Arc<ServiceSettings>, Refused> {
        allow(service, patterns)?;
        let settings = configured(self.shared.settings.services.get(service.as_str()), service.as_str())?;
        if there_are >= at_most {
            return Err(Refused::new(Errno::NoSpace, format!("the module has {at_most} already")));
        }
        Ok(settings)
    }

    fn order(&self, order: Order) {
        // Fails only when the device leaves; then nothing is carried either.
        let _ = self.orders.send(order);
    }
}

impl Drop for Station {
    fn drop(&mut self) {
        self.order(Order::Leave(self.member.id));
    }
}

fn number_of<T>(ways: &[Way<ServiceSettings, T>], service: RosName<'_>) -> Option<u32> {
    let nth = ways.iter().position(|way| way.settings.name == service.as_str())?;
    u32::try_from(nth).ok()
}

fn nth<S, T>(ways: &[Way<S, T>], number: u32) -> Result<&Way<S, T>, Refused> {
    let way = usize::try_from(number).ok().and_then(|nth| ways.get(nth));
    way.ok_or_else(|| plain(Errno::NotFound))
}

fn allow(name: RosName<'_>, patterns: &str) -> Result<(), Refused> {
    match name.is_allowed_by(patterns) {
        true => Ok(()),
        false => Err(Refused::new(Errno::Denied, format!("{} is not granted", name.as_str()))),
    }
}

fn is_allowed(name: &str, patterns: &[&String]) -> bool {
    RosName::parse(name.as_bytes())
        .is_ok_and(|name| patterns.iter().any(|patterns| name.is_allowed_by(patterns)))
}

fn configured<S>(settings: Option<&Arc<S>>, name: &str) -> Result<Arc<S>, Refused> {
    settings.cloned().ok_or_else(|| {
        Refused::new(Errno::NotFound, format!("the device's configuration has no type for {name}"))
    })
}

fn wrong_way(name: &str, verb: &str) -> Refused {
    Refused::new(Errno::Denied, format!("the device's configuration does not let modules {verb} {name}"))
}

fn plain(errno: Errno) -> Refused {
    Refused::new(errno, errno.to_string())
}
