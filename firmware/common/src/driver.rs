//! The loop: link or uplink to agent, agent to either and modules, sleep.

use alloc::{boxed::Box, rc::Rc};
use core::{cell::RefCell, fmt};

use heapless::Vec;
use wasmbed_core::{Agent, Config, Effect, Flash, Instant, Rejected, Token, largest_message_bytes};
use wasmbed_wire::{
    BoardName,
    bridge::{FromBoard, ToBoard},
    link::Event,
    message::Refusal,
    provision::{Provision, ProvisionError},
    topic::Down,
};

#[cfg(not(feature = "ip"))]
use crate::Uplink as _;
use crate::{
    Board, Entropy, Running, Sheet,
    crash::Start,
    device::{Device, SharedSlots, VERSION},
    modules::{Keeper, Modules},
    port::{BoardLink, Port},
    slots::Slots,
    variant,
};

/// MQTT keep-alive: the bridge notices a silent board much earlier.
const KEEP_ALIVE_S: u16 = 20;
/// Bytes taken from the line at once.
const READ_BYTES: usize = 64;
/// Longest last will.
const WILL_BYTES: usize = 32;
/// How often a board that cannot work says why, in milliseconds.
const COMPLAINT_MS: u64 = 10_000;

/// What a board brings besides itself.
pub struct Setup<F> {
    /// What it is.
    pub sheet: &'static Sheet,
    /// The memory where its provisioning lies.
    pub provision: &'static [u8],
    /// The flash that holds its firmware slots.
    pub flash: F,
    /// The image that runs; `None` in a bootloader.
    pub running: Option<Running>,
    /// Whether this is a bootloader that found no image to start.
    pub is_recovery: bool,
    /// What the crash record says about this start.
    pub start: Start,
    /// Is told the number of every connect and keeps it across a reset.
    pub keep_boot: fn(u32),
}

#[cfg(target_os = "none")]
impl<F> Setup<F> {
    /// What an image brings.
    pub fn image(
        sheet: &'static Sheet,
        provision: &'static [u8],
        flash: F,
        running: Option<Running>,
        start: Start,
    ) -> Box<Self> {
        let keep_boot = crate::crash::keep_boot;
        Box::new(Setup { sheet, provision, flash, running, is_recovery: false, start, keep_boot })
    }

    /// What a bootloader brings that found no image to start.
    pub fn recovery(sheet: &'static Sheet, provision: &'static [u8], flash: F) -> Box<Self> {
        let start = crate::crash::with_record(crate::crash::Record::begin);
        let keep_boot = crate::crash::keep_boot;
        Box::new(Setup { sheet, provision, flash, running: None, is_recovery: true, start, keep_boot })
    }
}

/// Runs the device for ever. What a board brings is on the heap because what is on its stack now stays there.
pub fn run<B: Board, F: Flash + 'static, const SLOTS: usize>(board: B, setup: Box<Setup<F>>) -> ! {
    let Setup { sheet, ref start, ref running, .. } = *setup;
    let session = (start.starts as u16).rotate_left(8) ^ board.now_us() as u16;
    let port = open_port(board, sheet, session, largest_message_bytes(SLOTS));
    let what = if setup.is_recovery { "wasmbed recovery" } else { "wasmbed" };
    let version = running.as_ref().map_or(VERSION, |running| &running.version);
    port.say(format_args!("{what} {version} on {}: {start}", sheet.name));
    variant::note(&port);
    match sheet.name.parse() {
        Ok(name) => Driver::<B, F, SLOTS>::new(port, name, setup).run(),
        Err(error) => complain(&port, format_args!("board {}: {error}", sheet.name)),
    }
}

/// Not inlined, like everything here that needs much of the stack for a moment: modules start on top of
/// the loop's own frame, which therefore has to be small.
#[inline(never)]
fn open_port<B: Board>(board: B, sheet: &Sheet, session: u16, message_bytes: usize) -> Rc<Port<B>> {
    Rc::new(Port::new(board, sheet, session, message_bytes))
}

/// The provisioning; a board without one that can be used does nothing but say so.
fn provisioned<B: Board>(port: &Port<B>, area: &'static [u8]) -> Provision<'static> {
    match Provision::read(area) {
        Ok(provision) => provision,
        Err(ProvisionError::Missing) => {
            complain(port, format_args!("not provisioned; write the provisioning"))
        }
        Err(ProvisionError::Malformed) => {
            complain(port, format_args!("the provisioning is damaged; write it again"))
        }
    }
}

/// Says over and over why the device does nothing.
fn complain<B: Board>(port: &Port<B>, why: fmt::Arguments<'_>) -> ! {
    loop {
        port.say(why);
        port.board.borrow_mut().wait_ms(COMPLAINT_MS);
    }
}

struct Driver<B: Board, F: Flash, const SLOTS: usize> {
    port: Rc<Port<B>>,
    agent: Box<Agent<Device<B, F, SLOTS>, SLOTS>>,
    modules: Modules<B, SLOTS>,
    /// What the agent wants to be opened as soon as the link is up.
    opening: Option<Opening>,
}

/// Makes the device of what the board brought, whose place is free when this returns. Not inlined: see
/// [`open_port`].
#[inline(never)]
#[expect(clippy::boxed_local, reason = "the caller's stack has no room for it")]
fn device<B: Board, F: Flash, const SLOTS: usize>(
    port: Rc<Port<B>>,
    slots: SharedSlots<SLOTS>,
    board: BoardName,
    provision: &Provision<'static>,
    setup: Box<Setup<F>>,
) -> Device<B, F, SLOTS> {
    Device::new(port, slots, board, provision, *setup)
}

/// Makes the agent where it stays. Not inlined: see [`open_port`].
#[inline(never)]
fn place<B: Board, F: Flash, const SLOTS: usize>(
    device: Device<B, F, SLOTS>,
    config: Config,
) -> Box<Agent<Device<B, F, SLOTS>, SLOTS>> {
    const {
        let bytes = size_of::<Agent<Device<B, F, SLOTS>, SLOTS>>();
        assert!(bytes <= B::AGENT_BYTES, "the agent has outgrown the board, see Board::AGENT_BYTES");
    }
    Box::write(Box::new_uninit(), Agent::asleep(device, config))
}

struct Opening {
    keep_alive_s: u16,
    will: Vec<u8, WILL_BYTES>,
}

/// Whether there is more to do at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Sleep,
    GoOn,
}

impl<B: Board, F: Flash + 'static, const SLOTS: usize> Driver<B, F, SLOTS> {
    /// Not inlined: see [`open_port`].
    #[inline(never)]
    fn new(port: Rc<Port<B>>, board: BoardName, setup: Box<Setup<F>>) -> Self {
        let provision = provisioned(&port, setup.provision);
        let (sheet, starts) = (setup.sheet, setup.start.starts);
        port.say(format_args!("device {}", provision.device));
        // The provisioning has the time, and what a reset leaves of both differs by the number of the start.
        let seed = u64::from(provision.boot_floor) << 32 ^ u64::from(starts) << 16 ^ port.now_us();
        let slots = Rc::new(RefCell::new(Slots::new()));
        let device = device(Rc::clone(&port), Rc::clone(&slots), board, &provision, setup);
        let noise = port.board.borrow_mut().noise();
        let keeper = Keeper::new(device.flash(), &sheet.layout, &provision, starts, noise);
        let keeper = Rc::new(RefCell::new(keeper));
        let uplink = port.board.borrow_mut().uplink(&provision, seed, Entropy(Rc::clone(&keeper)));
        port.uplink.replace(uplink);
        let modules = Modules::new(Rc::clone(&port), slots, sheet.class, keeper);
        let config =
            Config { keep_alive_s: KEEP_ALIVE_S, window_blocks: sheet.window_blocks, ..Config::default() };
        Driver { agent: place(device, config), port, modules, opening: None }
    }

    fn run(mut self) -> ! {
        self.agent.wake();
        loop {
            self.step();
        }
    }

    /// Takes in what has arrived, does what there is to do, and sleeps if that was all.
    fn step(&mut self) {
        variant::fail(self.port.now_ms());
        self.receive();
        self.hear();
        self.agent.on_deadline(self.now());
        self.modules.poll_ros();
        self.modules.poll_px4();
        let then = self.act();
        self.port.transmit();
        match then {
            Then::GoOn => {}
            Then::Sleep if self.prepares() => self.modules.prepare(),
            Then::Sleep => self.sleep(),
        }
    }

    fn now(&self) -> Instant {
        Instant(self.port.now_ms())
    }

    /// Takes in what has arrived.
    #[inline(never)]
    fn receive(&mut self) {
        let mut bytes = [0; READ_BYTES];
        loop {
            let read = self.port.board.borrow_mut().read(&mut bytes);
            let mut rest = bytes.get(..read).unwrap_or_default();
            while !rest.is_empty() {
                let taken = self.port.link.borrow_mut().on_bytes(self.port.now_ms(), rest);
                rest = rest.get(taken..).unwrap_or_default();
                self.take_events();
            }
            if read < READ_BYTES {
                return;
            }
        }
    }

    fn take_events(&mut self) {
        let port = Rc::clone(&self.port);
        let mut link = port.link.borrow_mut();
        let is_used = port.uplink.borrow().is_none();
        while let Some(event) = link.poll_event() {
            match event {
                Event::Up if is_used => self.open(&mut link),
                Event::Down if is_used => self.agent.on_disconnected(self.now()),
                Event::Datagram(bytes) if is_used => self.on_datagram(bytes),
                Event::Up | Event::Down | Event::Datagram(_) => {}
                // Nobody talks to a board's console.
                Event::Console(_) => {}
            }
        }
    }

    /// Takes in what the uplink has, where there is one.
    #[inline(never)]
    fn hear(&mut self) {
        let port = Rc::clone(&self.port);
        let Some(uplink) = &mut *port.uplink.borrow_mut() else { return };
        while let Some(heard) = uplink.poll(port.now_ms(), &mut |text| port.say(text)) {
            self.on_heard(heard);
        }
    }

    fn on_datagram(&mut self, bytes: &[u8]) {
        match ToBoard::decode(bytes) {
            Ok(heard) => self.on_heard(heard),
            Err(_) => self.port.say(format_args!("a datagram of {} bytes cannot be read", bytes.len())),
        }
    }

    #[inline(never)]
    fn on_heard(&mut self, heard: ToBoard<'_>) {
        let now = self.now();
        match heard {
            ToBoard::Session { up: true } => {
                self.agent.on_connected(now);
                self.modules.connected();
            }
            ToBoard::Session { up: false } => self.agent.on_disconnected(now),
            ToBoard::Acked { token } => self.agent.on_acked(now, Token(token)),
            ToBoard::Deliver { topic, payload } => match Down::parse(topic) {
                Some(Down::Message(instance, channel)) => {
                    if let Some(slot) = self.agent.recipient(&instance) {
                        self.modules.post(slot, channel, payload);
                    }
                }
                Some(Down::Ros(kind, instance)) => {
                    self.modules.hear(self.agent.recipient(&instance), instance, kind, payload);
                }
                _ => {
                    if let Err(why) = self.agent.on_message(now, topic, payload) {
                        self.say_rejected(topic, why);
                    }
                }
            },
        }
    }

    fn say_rejected(&self, topic: &str, why: Rejected) {
        // Duplicates are how the network works, and nobody's mistake.
        if !matches!(why, Rejected::Unasked | Rejected::Refused(Refusal::Stale | Refusal::Unchecked)) {
            self.port.say(format_args!("{topic}: {why}"));
        }
    }

    /// Carries out what the agent wants, until it wants nothing more, its messages have no room, or
    /// a module took its time.
    #[inline(never)]
    fn act(&mut self) -> Then {
        while self.port.has_room() {
            let Some(effect) = self.agent.poll_effect() else { return self.deliver() };
            match effect {
                Effect::Connect { will, keep_alive_s } => {
                    let port = Rc::clone(&self.port);
                    if let Some(uplink) = &mut *port.uplink.borrow_mut() {
                        if !variant::is_mute() {
                            uplink.open(port.now_ms(), keep_alive_s, will);
                        }
                        continue;
                    }
                    let will = Vec::from_slice(will).unwrap_or_default();
                    self.opening = Some(Opening { keep_alive_s, will });
                    self.open(&mut port.link.borrow_mut());
                }
                Effect::Publish { topic, payload, token } => {
                    // Its room was seen to; a link that went down meanwhile ends the session anyway.
                    let _ = self.port.publish(topic, payload, token);
                }
                Effect::Start { slot, assignment, settings } => {
                    let event = self.modules.start(slot, &assignment, settings);
                    self.agent.on_module(self.now(), slot, event);
                    return Then::GoOn;
                }
                Effect::Tick { slot } => {
                    let event = self.modules.tick(slot);
                    self.agent.on_module(self.now(), slot, event);
                    return Then::GoOn;
                }
                Effect::Stop { slot } => {
                    let event = self.modules.stop(slot);
                    self.agent.on_module(self.now(), slot, event);
                }
                Effect::Work => return Then::GoOn,
                Effect::Restart => self.restart(),
                // Only after `shutdown`, which a board never calls.
                Effect::Disconnect => {}
            }
        }
        Then::Sleep
    }

    /// Gives a module the message that has waited longest.
    fn deliver(&mut self) -> Then {
        if !self.modules.has_messages() {
            return Then::Sleep;
        }
        if let Some((slot, event)) = self.modules.deliver() {
            self.agent.on_module(self.now(), slot, event);
        }
        Then::GoOn
    }

    /// Whether this is the moment to set the engine up: connected, and nothing else to do.
    fn prepares(&self) -> bool {
        self.agent.is_connected() && !self.modules.is_prepared()
    }

    /// Opens the session that waits for the link, if there is one and the link is up.
    fn open(&mut self, link: &mut BoardLink) {
        if !link.is_up() || variant::is_mute() {
            return;
        }
        let Some(Opening { keep_alive_s, will }) = self.opening.take() else { return };
        let open = FromBoard::Open { keep_alive_s, will: &will };
        let mut bytes = [0; 8 + WILL_BYTES];
        let sent = open.encode(&mut bytes).ok().and_then(|len| link.send(bytes.get(..len)?).ok());
        if sent.is_none() {
            self.agent.on_disconnected(self.now());
        }
    }

    fn restart(&mut self) -> ! {
        #[cfg(target_os = "none")]
        crate::crash::with_record(crate::crash::Record::command);
        self.port.say(format_args!("restarting on request"));
        self.port.board.borrow_mut().reset()
    }

    fn sleep(&mut self) {
        // An agent whose messages have no room waits for an acknowledgement, not for a time.
        let agent =
            self.port.has_room().then(|| self.agent.next_deadline()).flatten().map(|instant| instant.0);
        let modules = [self.modules.ros_deadline(), self.modules.px4_deadline()];
        let deadlines = [self.port.next_deadline(), agent].into_iter().chain(modules);
        let deadline_ms = deadlines.flatten().min();
        self.port.board.borrow_mut().sleep(deadline_ms);
    }
}

#[cfg(test)]
mod tests;
