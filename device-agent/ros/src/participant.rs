//! The device: its participant, and the thread that owns everything of the middleware.

use std::{
    collections::BTreeMap,
    fmt, io,
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
        mpsc as std_mpsc,
    },
    thread::JoinHandle,
    time::Duration,
};

use futures_util::{StreamExt, pin_mut};
use ros2_client::{
    Context, MessageTypeName, Name, Node, NodeName, NodeOptions, QosProfile, ServiceTypeName, Subscription,
    builtin_topics::ros_discovery,
    qos::{Durability, History, WhenFull},
};
use rustdds::{
    DomainParticipantBuilder, DomainParticipantStatusEvent, GUID, QosPolicies, StatusEvented, TopicKind,
};
use tokio::{
    sync::{Notify, mpsc},
    task::{AbortHandle, LocalSet},
};

use crate::{
    calls::Calls,
    codec::Body,
    config::{ServiceSettings, Settings, TopicSettings, service_qos, token},
    definition::TypeName,
    endpoints::{self, Outgoing, Request, World},
    graph::{self, Graph, Has, ParticipantEntities},
    losses::{Losses, Lost},
    mailbox::{Mailbox, Room},
    station::{Allowed, Station},
};

/// Why a device is no participant.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The middleware does not start.
    #[error("ROS 2 does not start in domain {domain}")]
    Middleware {
        /// Of the configuration.
        domain: u16,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is no thread for it.
    #[error("there is no thread for ROS 2")]
    Thread(#[from] io::Error),
}

/// A device as a participant; clones are the same.
#[derive(Debug, Clone)]
pub struct Ros(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    orders: mpsc::UnboundedSender<Order>,
    thread: Mutex<Option<JoinHandle<()>>>,
    modules: AtomicU64,
}

/// What stations and the thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) graph: Arc<Graph>,
    pub(crate) losses: Losses,
    mailboxes: Mutex<Vec<Weak<Mailbox>>>,
}

impl Shared {
    /// Modules of this device that listen to a topic: the middleware carries to other participants only.
    pub(crate) fn listeners(&self, topic: &str) -> Vec<Arc<Mailbox>> {
        let mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.iter().filter_map(Weak::upgrade).filter(|mailbox| mailbox.listens(topic)).collect()
    }

    fn enter(&self, mailbox: &Arc<Mailbox>) {
        let mut mailboxes = self.mailboxes.lock().unwrap_or_else(PoisonError::into_inner);
        mailboxes.retain(|known| known.strong_count() > 0);
        mailboxes.push(Arc::downgrade(mailbox));
    }
}

/// What the thread is to do. Each module has each endpoint at most once, so that there is an end to them.
#[derive(Debug)]
pub(crate) enum Order {
    Publish(Member, Arc<TopicSettings>, mpsc::Receiver<Outgoing<()>>),
    Subscribe(Member, Arc<TopicSettings>),
    Call(Member, Arc<ServiceSettings>, mpsc::Receiver<Outgoing<Request>>, Calls),
    Serve(Member, Arc<ServiceSettings>, u32, mpsc::Receiver<Outgoing<ros2_client::RmwRequestId>>),
    /// The module is over.
    Leave(u64),
    Stop,
}

/// A module, as the thread knows it.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) id: u64,
    pub(crate) node: NodeName,
    pub(crate) mailbox: Arc<Mailbox>,
}

/// Why a module's place is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// There is something to tell it.
    Told,
    /// A call of its ended.
    Ended,
}

impl Ros {
    /// Joins the domain.
    ///
    /// # Errors
    /// If there is no socket for it, or no thread.
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        let (orders, todo) = mpsc::unbounded_channel();
        let (started, start) = std_mpsc::channel();
        let domain = settings.domain;
        let (losses, copy) = (Losses::default(), settings.clone());
        let thread = std::thread::Builder::new().name("ros".to_owned()).spawn(move || {
            match Driver::new(&copy) {
                Ok(driver) => {
                    // Whoever starts it waits for this.
                    let _ = started.send(Ok(Arc::clone(&driver.graph)));
                    driver.run(todo);
                }
                Err(error) => drop(started.send(Err(error))),
            }
        })?;
        let ended = || Box::<dyn std::error::Error + Send + Sync>::from("its thread ended");
        let graph = start.recv().unwrap_or_else(|_| Err(ended()));
        let graph = graph.map_err(|source| StartError::Middleware { domain, source })?;
        tracing::info!("ROS 2: {} in domain {domain}", settings.node.fully_qualified_name());
        let shared = Arc::new(Shared { settings, graph, losses, mailboxes: Mutex::default() });
        let (thread, modules) = (Mutex::new(Some(thread)), AtomicU64::new(0));
        Ok(Ros(Arc::new(Inner { shared, orders, thread, modules })))
    }

    /// A module's place, by its name. `wake` is called when there is something to tell it, once until all was taken.
    pub fn station(&self, name: &str, allowed: Allowed, wake: impl Fn() + Send + Sync + 'static) -> Station {
        let own = &self.0.shared.settings.node;
        let mut base = token(name);
        if base == own.base_name() {
            base.push('_');
        }
        let wake = move |woken| {
            if woken == Woken::Told {
                wake()
            }
        };
        self.place(own.namespace(), &base, allowed, Room::MOST, wake)
    }

    /// The place of a module of another device, whose namespace is below the own one.
    pub fn station_of(
        &self,
        device: &str,
        name: &str,
        allowed: Allowed,
        room: Room,
        wake: impl Fn(Woken) + Send + Sync + 'static,
    ) -> Station {
        self.place(&self.namespace_of(device), &token(name), allowed, room, wake)
    }

    fn place(
        &self,
        namespace: &str,
        base: &str,
        allowed: Allowed,
        room: Room,
        wake: impl Fn(Woken) + Send + Sync + 'static,
    ) -> Station {
        let Inner { shared, orders, modules, .. } = &*self.0;
        // A name of letters, digits and underscores below a namespace that is one makes a node.
        let node = NodeName::new(namespace, base).unwrap_or_else(|_| shared.settings.node.clone());
        let wake = Arc::new(wake);
        let ended = Arc::clone(&wake);
        let calls = Calls::new(Arc::new(move || ended(Woken::Ended)));
        let told = Box::new(move || wake(Woken::Told));
        let mailbox = Arc::new(Mailbox::new(shared.losses.clone(), room, told));
        shared.enter(&mailbox);
        let member = Member { id: modules.fetch_add(1, Ordering::Relaxed), node, mailbox };
        Station::new(member, Arc::clone(shared), orders.clone(), allowed, calls)
    }

    /// The longest time that one of these services has to answer; those that are not configured have none.
    pub fn longest_timeout<'s>(&self, services: impl IntoIterator<Item = &'s str>) -> Option<Duration> {
        let known = &self.0.shared.settings.services;
        services.into_iter().filter_map(|name| Some(known.get(name)?.timeout)).max()
    }

    /// The nodes of this device's modules that have anything, by fully qualified name.
    pub fn nodes(&self) -> BTreeMap<String, graph::Node> {
        let mut nodes = self.0.shared.graph.own_nodes();
        nodes.remove(&self.0.shared.settings.node.fully_qualified_name());
        nodes
    }

    /// Of all [`nodes`](Ros::nodes) those of another device's modules, which are below that device's namespace.
    pub fn nodes_of(
        &self,
        device: &str,
        all: &BTreeMap<String, graph::Node>,
    ) -> BTreeMap<String, graph::Node> {
        let below = format!("{}/", self.namespace_of(device));
        let from = all.range(below.clone()..).take_while(|(name, _)| name.starts_with(&below));
        from.map(|(name, node)| (name.clone(), node.clone())).collect()
    }

    fn namespace_of(&self, device: &str) -> String {
        let own = self.0.shared.settings.node.namespace();
        format!("{}/{}", own.trim_end_matches('/'), token(device))
    }

    /// What was lost so far.
    pub fn losses(&self) -> Vec<Lost> {
        self.0.shared.losses.all()
    }

    /// Leaves the domain and tells the others so. Nothing is heard or sent any more.
    pub fn stop(&self) {
        let _ = self.0.orders.send(Order::Stop);
        let thread = self.0.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of ROS 2 ended with a panic");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Nobody waits for the end here: it may be in the middle of something else.
        let _ = self.orders.send(Order::Stop);
    }
}

/// Participants that may say at once what they have.
const PARTICIPANTS: usize = 100;

/// In place of a module's number, of which there are never as many.
const DEVICE: u64 = u64::MAX;

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// The thread: endpoints are tasks on it.
struct Driver {
    mapping: ros2_client::ServiceMapping,
    graph: Arc<Graph>,
    changed: Rc<Notify>,
    modules: BTreeMap<u64, Module>,
    /// Whose own endpoints are, and what for.
    owners: Rc<std::cell::RefCell<BTreeMap<GUID, Owner>>>,
    /// The device's own.
    node: Node,
    // Behind everything that is made with it, so that it is dropped last.
    context: Context,
}

/// Whose an endpoint is.
struct Owner {
    mailbox: Arc<Mailbox>,
    topic: String,
}

struct Module {
    node: Node,
    /// Tasks that are not waited for when it is over.
    tasks: Vec<AbortHandle>,
    endpoints: Vec<GUID>,
}

impl Driver {
    fn new(settings: &Settings) -> Result<Self, Failed> {
        let participant = DomainParticipantBuilder::new(settings.domain)
            .with_only_networks(settings.networks.iter().copied())
            .build()?;
        let graph = Arc::new(Graph::new(participant.clone()));
        let context = Context::from_domain_participant(participant)?;
        let node = context.new_node(settings.node.clone(), options())?;
        graph.own_node(DEVICE, &settings.node);
        Ok(Driver {
            mapping: settings.mapping,
            graph,
            changed: Rc::new(Notify::new()),
            modules: BTreeMap::new(),
            owners: Rc::default(),
            node,
            context,
        })
    }

    fn run(mut self, mut todo: mpsc::UnboundedReceiver<Order>) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return tracing::error!("ROS 2 has no runtime: {error}"),
        };
        let tasks = LocalSet::new();
        tasks.block_on(&runtime, async {
            if let Err(error) = self.watch() {
                tracing::error!("ROS 2 does not see who is there: {error}");
            }
            while let Some(order) = todo.recv().await {
                match order {
                    Order::Stop => break,
                    Order::Leave(id) => self.leave(id),
                    order => self.carry_out(order),
                }
            }
        });
        // Endpoints go before what they were made with.
        drop(tasks);
        self.graph.close();
    }

    /// Follows who is there.
    fn watch(&mut self) -> Result<(), Failed> {
        let participant = self.context.domain_participant();
        let topic = participant.create_topic(
            ros_discovery::TOPIC_NAME.to_owned(),
            ros_discovery::TYPE_NAME.to_owned(),
            &ros_discovery::QOS_PUB,
            TopicKind::NoKey,
        )?;
        // A participant says it when something changes, so that whoever comes later asks for what was said last, and has
        // room for what many say at once.
        let qos = QosProfile::default()
            .reliability_reliable(WhenFull::DEFAULT)
            .durability(Durability::TransientLocal)
            .history(History::KeepLast { depth: PARTICIPANTS });
        let nodes = self.node.create_subscription::<ParticipantEntities>(&topic, Some(qos))?;
        tokio::task::spawn_local(watch_nodes(nodes, Arc::clone(&self.graph)));
        let (graph, changed, owners) =
            (Arc::clone(&self.graph), Rc::clone(&self.changed), Rc::clone(&self.owners));
        tokio::task::spawn_local(async move {
            let listener = participant.status_listener();
            // It would keep itself alive.
            drop(participant);
            let mut events = listener.as_async_status_stream();
            while let Some(event) = events.next().await {
                take(&event, &graph, &owners.borrow());
                changed.notify_waiters();
            }
        });
        Ok(())
    }

    fn carry_out(&mut self, order: Order) {
        let (name, mailbox, done) = match order {
            Order::Publish(member, topic, outgoing) => {
                (topic.name.clone(), Arc::clone(&member.mailbox), self.publish(member, topic, outgoing))
            }
            Order::Subscribe(member, topic) => {
                (topic.name.clone(), Arc::clone(&member.mailbox), self.subscribe(member, topic))
            }
            Order::Call(member, service, outgoing, calls) => (
                service.name.clone(),
                Arc::clone(&member.mailbox),
                self.call(member, service, outgoing, calls),
            ),
            Order::Serve(member, service, number, outgoing) => (
                service.name.clone(),
                Arc::clone(&member.mailbox),
                self.serve(member, service, number, outgoing),
            ),
            Order::Leave(_) | Order::Stop => return,
        };
        if let Err(error) = done {
            mailbox.notice(format!("{name} cannot be used: {error}"));
        }
    }

    fn publish(
        &mut self,
        member: Member,
        topic: Arc<TopicSettings>,
        outgoing: mpsc::Receiver<Outgoing<()>>,
    ) -> Result<(), Failed> {
        let module = module(&mut self.modules, &self.context, &self.graph, &member)?;
        let made =
            module.node.create_topic(&Name::parse(&topic.name)?, message_type(&topic.ty), &topic.qos)?;
        let publisher = module.node.create_publisher::<Body>(&made, Some(topic.qos.clone()))?;
        module.endpoints.push(publisher.guid());
        let owner = Owner { mailbox: Arc::clone(&member.mailbox), topic: topic.name.clone() };
        self.owners.borrow_mut().insert(publisher.guid(), owner);
        self.graph.own_has(member.id, Has::Publisher(Arc::clone(&topic)));
        // It ends with the module by itself, after what was published before.
        tokio::task::spawn_local(endpoints::publish(publisher, topic, outgoing, member.mailbox));
        Ok(())
    }

    fn subscribe(&mut self, member: Member, topic: Arc<TopicSettings>) -> Result<(), Failed> {
        let module = module(&mut self.modules, &self.context, &self.graph, &member)?;
        let made =
            module.node.create_topic(&Name::parse(&topic.name)?, message_type(&topic.ty), &topic.qos)?;
        let subscription = module.node.create_subscription::<Body>(&made, Some(topic.qos.clone()))?;
        module.endpoints.push(subscription.guid());
        let owner = Owner { mailbox: Arc::clone(&member.mailbox), topic: topic.name.clone() };
        self.owners.borrow_mut().insert(subscription.guid(), owner);
        self.graph.own_has(member.id, Has::Subscriber(Arc::clone(&topic)));
        let task = tokio::task::spawn_local(endpoints::subscribe(subscription, topic, member.mailbox));
        module.tasks.push(task.abort_handle());
        Ok(())
    }

    fn call(
        &mut self,
        member: Member,
        service: Arc<ServiceSettings>,
        outgoing: mpsc::Receiver<Outgoing<Request>>,
        calls: Calls,
    ) -> Result<(), Failed> {
        let world = self.world();
        let module = module(&mut self.modules, &self.context, &self.graph, &member)?;
        let (name, ty) = (Name::parse(&service.name)?, service_type(&service.ty));
        let client = module.node.create_client(self.mapping, &name, &ty, service_qos(), service_qos())?;
        self.graph.own_has(member.id, Has::Client(Arc::clone(&service)));
        let task = tokio::task::spawn_local(endpoints::call(client, service, world, outgoing, calls));
        module.tasks.push(task.abort_handle());
        Ok(())
    }

    fn serve(
        &mut self,
        member: Member,
        service: Arc<ServiceSettings>,
        number: u32,
        outgoing: mpsc::Receiver<Outgoing<ros2_client::RmwRequestId>>,
    ) -> Result<(), Failed> {
        let world = self.world();
        let module = module(&mut self.modules, &self.context, &self.graph, &member)?;
        let (name, ty) = (Name::parse(&service.name)?, service_type(&service.ty));
        let server = module.node.create_server(self.mapping, &name, &ty, service_qos(), service_qos())?;
        self.graph.own_has(member.id, Has::Service(Arc::clone(&service)));
        let serving = endpoints::serve(server, service, world, number, outgoing, member.mailbox);
        let task = tokio::task::spawn_local(serving);
        module.tasks.push(task.abort_handle());
        Ok(())
    }

    /// As of now, for what is made next.
    fn world(&self) -> World {
        let (graph, changed) = (Arc::clone(&self.graph), Rc::clone(&self.changed));
        World { made: graph.now(), graph, changed }
    }

    fn leave(&mut self, id: u64) {
        let Some(module) = self.modules.remove(&id) else { return };
        module.tasks.iter().for_each(AbortHandle::abort);
        self.graph.own_left(id);
        let mut owners = self.owners.borrow_mut();
        for guid in module.endpoints {
            owners.remove(&guid);
            self.graph.endpoint_lost(guid);
        }
    }
}

/// The module's node, made when it is first needed.
fn module<'m>(
    modules: &'m mut BTreeMap<u64, Module>,
    context: &Context,
    graph: &Graph,
    member: &Member,
) -> Result<&'m mut Module, Failed> {
    use std::collections::btree_map::Entry;
    match modules.entry(member.id) {
        Entry::Occupied(known) => Ok(known.into_mut()),
        Entry::Vacant(place) => {
            let node = context.new_node(member.node.clone(), options())?;
            graph.own_node(member.id, &member.node);
            Ok(place.insert(Module { node, tasks: Vec::new(), endpoints: Vec::new() }))
        }
    }
}

/// Modules have logs and settings of their own.
fn options() -> NodeOptions {
    NodeOptions::new().enable_rosout(false).start_parameter_services(false)
}

fn message_type(ty: &TypeName) -> MessageTypeName {
    MessageTypeName::new(&ty.package, &ty.name)
}

fn service_type(ty: &TypeName) -> ServiceTypeName {
    ServiceTypeName::new(&ty.package, &ty.name)
}

async fn watch_nodes(nodes: Subscription<ParticipantEntities>, graph: Arc<Graph>) {
    let said = nodes.async_stream();
    pin_mut!(said);
    while let Some(said) = said.next().await {
        match said {
            Ok((entities, _)) => graph.participant_says(entities),
            Err(error) => tracing::debug!("a participant says what is not understood: {error}"),
        }
    }
}

fn take(event: &DomainParticipantStatusEvent, graph: &Graph, owners: &BTreeMap<GUID, Owner>) {
    match event {
        DomainParticipantStatusEvent::ParticipantLost { id, .. } => {
            graph.participant_lost(GUID { prefix: *id, ..GUID::default() })
        }
        DomainParticipantStatusEvent::ReaderLost { guid, .. }
        | DomainParticipantStatusEvent::WriterLost { guid, .. } => {
            graph.endpoint_lost(*guid);
        }
        DomainParticipantStatusEvent::RemoteReaderMatched { local_writer, remote_reader } => {
            graph.linked(*local_writer, *remote_reader);
        }
        DomainParticipantStatusEvent::RemoteWriterMatched { local_reader, remote_writer } => {
            graph.linked(*local_reader, *remote_writer);
        }
        DomainParticipantStatusEvent::RemoteReaderQosIncompatible {
            local_writer,
            offered_qos,
            requested_qos,
            ..
        } => {
            mismatched(
                owners.get(local_writer),
                "a subscriber asks for more than is offered",
                offered_qos,
                requested_qos,
            );
        }
        DomainParticipantStatusEvent::RemoteWriterQosIncompatible {
            local_reader,
            offered_qos,
            requested_qos,
            ..
        } => {
            mismatched(
                owners.get(local_reader),
                "a publisher offers less than is asked for",
                offered_qos,
                requested_qos,
            );
        }
        _ => {}
    }
}

fn mismatched(owner: Option<&Owner>, what: &str, offered: &QosPolicies, requested: &QosPolicies) {
    let Some(Owner { mailbox, topic }) = owner else { return };
    let policy = offered.compliance_failure_wrt(requested);
    let policy =
        policy.map_or_else(|| "quality of service".to_owned(), |policy| format!("{policy:?}").to_lowercase());
    mailbox.notice(format!("{topic}: {what} of {policy}, so nothing passes; see `[[ros.topic]]`"));
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").finish_non_exhaustive()
    }
}
