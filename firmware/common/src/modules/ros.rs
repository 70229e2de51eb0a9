//! ROS 2 for modules, through a gateway: each instance that uses it has a [`DeviceEnd`].
//!
//! What a module may use is in its settings, which the fleet signed; the gateway looks at the same for itself.

use alloc::{boxed::Box, vec::Vec};
use core::cell::RefCell;

use wasmbed_abi::{ALLOW_ROS_CALL, ALLOW_ROS_PUBLISH, ALLOW_ROS_SERVE, ALLOW_ROS_SUBSCRIBE, Errno, RosName};
use wasmbed_core::{ModuleEvent, Slot, Token};
use wasmbed_gateway::{DeviceEnd, Event};
use wasmbed_runtime::{Host as _, Instance, Stopped};
use wasmbed_wire::{
    ModuleName,
    ros::RosWant,
    topic::{Level, RosDown, RosUp, Up},
};

use super::{Keeper, Modules, handled, host::ModuleHost};
use crate::{Board, port::Port};

/// What a module has to do with ROS 2, once it has.
#[derive(Default)]
pub(super) struct Post(Option<Box<DeviceEnd>>);

/// An instance that a gateway has something for and that does not run: the last one, as the gateway says it again.
#[derive(Default)]
pub(super) struct Absent(Option<ModuleName>);

pub(super) fn publish<B: Board>(
    host: &mut ModuleHost<B>,
    topic: RosName<'_>,
    message: &[u8],
) -> Result<(), Errno> {
    allow(host, ALLOW_ROS_PUBLISH, topic)?;
    with(host, |end, now_ms, port| end.publish(now_ms, topic, message, port))
}

pub(super) fn subscribe<B: Board>(host: &mut ModuleHost<B>, topic: RosName<'_>) -> Result<(), Errno> {
    allow(host, ALLOW_ROS_SUBSCRIBE, topic)?;
    with(host, |end, now_ms, _| end.subscribe(now_ms, topic))
}

pub(super) fn unsubscribe<B: Board>(host: &mut ModuleHost<B>, topic: RosName<'_>) {
    with(host, |end, now_ms, _| end.unsubscribe(now_ms, topic));
}

pub(super) fn client<B: Board>(host: &mut ModuleHost<B>, service: RosName<'_>) -> Result<u32, Errno> {
    allow(host, ALLOW_ROS_CALL, service)?;
    with(host, |end, now_ms, _| end.client(now_ms, service))
}

pub(super) fn call<B: Board>(host: &mut ModuleHost<B>, client: u32, request: &[u8]) -> Result<u32, Errno> {
    with(host, |end, now_ms, port| end.call(now_ms, client, request, port))
}

pub(super) fn response<B: Board>(
    host: &mut ModuleHost<B>,
    ticket: u32,
    out: &mut [u8],
) -> Result<usize, Errno> {
    with(host, |end, _, _| end.response(ticket, out))
}

pub(super) fn offer<B: Board>(host: &mut ModuleHost<B>, service: RosName<'_>) -> Result<u32, Errno> {
    allow(host, ALLOW_ROS_SERVE, service)?;
    with(host, |end, now_ms, _| end.offer(now_ms, service))
}

pub(super) fn respond<B: Board>(host: &mut ModuleHost<B>, ticket: u32, response: &[u8]) -> Result<(), Errno> {
    with(host, |end, _, port| end.respond(ticket, response, port))
}

pub(super) fn topic<B: Board>(host: &mut ModuleHost<B>, nth: u32, out: &mut [u8]) -> Result<usize, Errno> {
    with(host, |end, now_ms, port| end.topic(now_ms, nth, out, port))
}

pub(super) fn node<B: Board>(
    host: &mut ModuleHost<B>,
    node: RosName<'_>,
    out: &mut [u8],
) -> Result<usize, Errno> {
    with(host, |end, now_ms, port| end.node(now_ms, node, out, port))
}

fn allow<B: Board>(host: &ModuleHost<B>, key: &str, name: RosName<'_>) -> Result<(), Errno> {
    match host.setting(key).is_some_and(|patterns| name.is_allowed_by(patterns)) {
        true => Ok(()),
        false => Err(Errno::Denied),
    }
}

fn with<B: Board, R>(
    host: &mut ModuleHost<B>,
    act: impl FnOnce(&mut DeviceEnd, u64, wasmbed_gateway::Port<'_>) -> R,
) -> R {
    let ModuleHost { port, keeper, name, ros: Post(end), .. } = host;
    let now_ms = port.now_ms();
    let end = end.get_or_insert_with(|| Box::new(DeviceEnd::new(now_ms, run(port, keeper))));
    act(end, now_ms, &mut |kind, message| say(port, *name, kind, message))
}

fn say<B: Board>(port: &Port<B>, name: ModuleName, kind: RosUp, message: &[u8]) -> Result<(), Errno> {
    port.publish(Up::Ros(kind, name), message, Token(0)).map_err(|_| Errno::Busy)
}

/// Another number for each run of an instance, also after a reset.
fn run<B: Board>(port: &Port<B>, keeper: &RefCell<Keeper>) -> u32 {
    let (now_us, mut bytes) = (port.now_us(), [0; 4]);
    match keeper.borrow_mut().random(now_us, &mut bytes) {
        Ok(()) => u32::from_le_bytes(bytes),
        // A board without a secret: nothing starts in the same microsecond twice in a row.
        Err(_) => now_us as u32,
    }
}

impl<B: Board, const SLOTS: usize> Modules<B, SLOTS> {
    /// Takes in what a gateway says to an instance, which runs in this slot if it does. Nothing is said here.
    #[inline(never)]
    pub(crate) fn hear(&mut self, slot: Option<Slot>, instance: ModuleName, kind: RosDown, payload: &[u8]) {
        let now_ms = self.port.now_ms();
        match slot.and_then(|slot| end_of(self.running.get_mut(slot.index())?)) {
            Some(end) => {
                if let Err(why) = end.on_message(now_ms, kind, payload) {
                    self.port.say(format_args!("{instance}: {why}"));
                }
            }
            None => self.absent = Absent(Some(instance)),
        }
    }

    /// The device has a connection again.
    pub(crate) fn connected(&mut self) {
        let now_ms = self.port.now_ms();
        self.running.iter_mut().filter_map(end_of).for_each(|end| end.connected(now_ms));
    }

    /// Says and ends what is due.
    #[inline(never)]
    pub(crate) fn poll_ros(&mut self) {
        let now_ms = self.port.now_ms();
        if let Some(name) = self.absent.0.take() {
            self.say_nothing_wanted(name);
        }
        for instance in self.running.iter_mut().flatten() {
            let ModuleHost { port, name, ros: Post(end), .. } = instance.host_mut();
            if let Some(end) = end {
                end.poll(now_ms, &mut |kind, message| say(port, *name, kind, message));
            }
        }
    }

    /// When to poll again even if nothing happens.
    pub(crate) fn ros_deadline(&self) -> Option<u64> {
        let ends = self.running.iter().flatten().filter_map(|instance| instance.host().ros.0.as_ref());
        ends.filter_map(|end| end.next_deadline()).min()
    }

    /// Whether a module is to be told something.
    pub(super) fn has_ros_events(&self) -> bool {
        let mut ends = self.running.iter().flatten().filter_map(|instance| instance.host().ros.0.as_ref());
        ends.any(|end| end.has_event())
    }

    /// Tells a module something; what came of it. A gateway tells an instance one thing at a time, so that none of them
    /// keeps others waiting.
    #[inline(never)]
    pub(super) fn deliver_ros(&mut self) -> Option<(Slot, ModuleEvent)> {
        let now_ms = self.port.now_ms();
        let (slot, event) = (0..)
            .zip(&mut self.running)
            .find_map(|(slot, place)| Some((Slot(slot), end_of(place)?.take_event(now_ms)?)))?;
        let event = self.call(slot, |instance| tell(instance, event).map(|()| 0))?;
        Some((slot, handled(event)))
    }

    /// Lets the gateway know that the module in this slot is about to end.
    pub(super) fn leave_ros(&mut self, slot: Slot) {
        let Some(place) = self.running.get_mut(slot.index()) else { return };
        let name = place.as_ref().map(|instance| instance.host().name);
        if end_of(place).is_some()
            && let Some(name) = name
        {
            self.say_nothing_wanted(name);
        }
    }

    /// Without an answer: whoever still has something for it says so again.
    fn say_nothing_wanted(&self, name: ModuleName) {
        let mut nothing = Vec::new();
        // Vectors take everything.
        let _ = minicbor::encode(RosWant::default(), &mut nothing);
        let _ = say(&self.port, name, RosUp::Want, &nothing);
    }
}

fn end_of<B: Board>(place: &mut Option<Instance<ModuleHost<B>>>) -> Option<&mut DeviceEnd> {
    place.as_mut()?.host_mut().ros.0.as_deref_mut()
}

fn tell<B: Board>(instance: &mut Instance<ModuleHost<B>>, event: Event) -> Result<(), Stopped> {
    match event {
        Event::Message { topic, bytes } => match RosName::parse(topic.as_bytes()) {
            Ok(topic) => instance.topic_message(topic, bytes).map(drop),
            // Only what has been such a name is listened to.
            Err(_) => Ok(()),
        },
        Event::Request { service, ticket, bytes } => {
            instance.service_request(service, ticket, bytes).map(drop)
        }
        Event::Notice(text) => {
            // One that is too long is of no gateway of ours.
            let _ = instance.host_mut().log(Level::Warn, &text);
            Ok(())
        }
    }
}
