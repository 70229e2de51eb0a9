//! The agent.

use wasmbed_wire::{Seq, limits::HEARTBEAT_MS, message::Setting};

use crate::{Effect, Instant, ModuleEvent, Platform, Rejected, Slot, Token};

/// How an agent behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Time between heartbeats unless the desired state says otherwise, in milliseconds.
    pub heartbeat_ms: u32,
    /// MQTT keep-alive, in seconds.
    pub keep_alive_s: u16,
    /// How many blocks of [`Facts::block_bytes`](crate::Facts::block_bytes) the device can take in at
    /// once, 1 to 32.
    pub window_blocks: u8,
}

impl Default for Config {
    fn default() -> Self {
        Config { heartbeat_ms: HEARTBEAT_MS, keep_alive_s: 20, window_blocks: 4 }
    }
}

/// One device's agent with room for `SLOTS` modules (1 to 255).
pub struct Agent<P, const SLOTS: usize> {
    platform: P,
    config: Config,
    now: Instant,
}

impl<P: Platform, const SLOTS: usize> Agent<P, SLOTS> {
    /// An agent that has just started. Modules kept by the store are verified and started again
    /// without waiting for a connection.
    pub fn new(platform: P, config: Config) -> Self {
        Agent { platform, config, now: Instant(0) }
    }

    /// The device.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// The device.
    pub fn platform_mut(&mut self) -> &mut P {
        &mut self.platform
    }

    /// Whether the MQTT session is up: whether telemetry has somewhere to go.
    pub fn is_connected(&self) -> bool {
        false
    }

    /// The settings of the module in this slot; empty if there is none.
    pub fn settings(&self, slot: Slot) -> Seq<'_, Setting<'_>> {
        let _ = slot;
        Seq::default()
    }

    /// The MQTT session is up and subscribed.
    pub fn on_connected(&mut self, now: Instant) {
        self.now = now;
    }

    /// The MQTT session is gone, or could not be opened.
    pub fn on_disconnected(&mut self, now: Instant) {
        self.now = now;
    }

    /// A message arrived on `topic`, given from `dn/` on.
    pub fn on_message(&mut self, now: Instant, topic: &str, payload: &[u8]) -> Result<(), Rejected> {
        let _ = (topic, payload);
        self.now = now;
        Err(Rejected::UnknownTopic)
    }

    /// The broker has the publish with this token.
    pub fn on_acked(&mut self, now: Instant, token: Token) {
        let _ = token;
        self.now = now;
    }

    /// Something happened to the module in this slot.
    pub fn on_module(&mut self, now: Instant, slot: Slot, event: ModuleEvent) {
        let _ = (slot, event);
        self.now = now;
    }

    /// Time has passed; call it when [`Agent::next_deadline`] has come, or more often.
    pub fn on_deadline(&mut self, now: Instant) {
        self.now = now;
    }

    /// Say goodbye: ends with [`Effect::Disconnect`] after a second at most.
    pub fn shutdown(&mut self, now: Instant) {
        self.now = now;
    }

    /// When to call [`Agent::on_deadline`] next, if no other input comes before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let _ = self.config;
        None
    }

    /// The next thing to do. Call it after every input until it returns `None`; a driver without room
    /// for a message may come back later.
    pub fn poll_effect(&mut self) -> Option<Effect<'_>> {
        None
    }
}
