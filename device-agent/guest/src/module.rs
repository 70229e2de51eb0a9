//! The exports of a module.

use core::cell::RefCell;

use crate::{Errno, Result, messages::Message, ros::Request};

/// A module. The device starts it once, then ticks it at its interval: each second unless
/// [`timer_set`](crate::timer_set) says otherwise.
pub trait Module: Sized {
    /// Called once, first.
    ///
    /// # Errors
    /// If the module cannot work; the device reports it and tries again later.
    fn start() -> Result<Self>;

    /// Called at every interval. Return soon: the class of the device limits the time of each call.
    fn tick(&mut self);

    /// Called from time to time. A module that is not healthy is started again.
    fn healthy(&mut self) -> bool {
        true
    }

    /// Called with a message on a channel that the module [subscribed](crate::messages::subscribe) to; see
    /// [`module!`].
    fn message(&mut self, message: Message) {
        let _ = message;
    }

    /// Called with a request to a [service](crate::ros::Service) that the module offers; see [`module!`].
    fn service_request(&mut self, request: Request) {
        let _ = request;
    }

    /// Called with the level a [watched](crate::gpio_watch) pin has changed to; see [`module!`].
    fn gpio_edge(&mut self, pin: u32, high: bool) {
        let _ = (pin, high);
    }
}

/// Exports a [`Module`] to the device, with the events it listens to: `module!(Valve, message, gpio_edge)`.
#[macro_export]
macro_rules! module {
    (@event message) => {
        #[unsafe(no_mangle)]
        extern "C" fn message(subscription: i32, len: i32) {
            MODULE.message(subscription, len)
        }
    };
    (@event gpio_edge) => {
        #[unsafe(no_mangle)]
        extern "C" fn gpio_edge(pin: i32, level: i32) {
            MODULE.gpio_edge(pin, level)
        }
    };
    (@event service_request) => {
        #[unsafe(no_mangle)]
        extern "C" fn service_request(service: i32, ticket: i32, len: i32) {
            MODULE.service_request(service, ticket, len)
        }
    };
    ($module:ty $(, $event:ident)*) => {
        $($crate::module!(@event $event);)*

        static MODULE: $crate::Slot<$module> = $crate::Slot::empty();

        #[unsafe(no_mangle)]
        extern "C" fn init() -> i32 {
            MODULE.init()
        }

        #[unsafe(no_mangle)]
        extern "C" fn tick() {
            MODULE.tick()
        }

        #[unsafe(no_mangle)]
        extern "C" fn health() -> i32 {
            MODULE.health()
        }
    };
}

/// Where [`module!`] keeps the module between calls.
pub struct Slot<M>(RefCell<Option<M>>);

// SAFETY: only the main thread calls what uses it; other threads have `thread_start`.
unsafe impl<M> Sync for Slot<M> {}

impl<M: Module> Slot<M> {
    /// A slot before `init`.
    pub const fn empty() -> Self {
        Slot(RefCell::new(None))
    }

    #[doc(hidden)]
    pub fn init(&self) -> i32 {
        match (M::start(), self.0.try_borrow_mut()) {
            (Ok(module), Ok(mut slot)) => {
                *slot = Some(module);
                0
            }
            (Err(error), _) => error as i32,
            (_, Err(_)) => Errno::Busy as i32,
        }
    }

    #[doc(hidden)]
    pub fn tick(&self) {
        self.with(Module::tick);
    }

    #[doc(hidden)]
    pub fn message(&self, subscription: i32, len: i32) {
        self.with(|module| module.message(Message::new(subscription, len)));
    }

    #[doc(hidden)]
    pub fn service_request(&self, service: i32, ticket: i32, len: i32) {
        self.with(|module| module.service_request(Request::new(service, ticket, len)));
    }

    #[doc(hidden)]
    pub fn gpio_edge(&self, pin: i32, level: i32) {
        self.with(|module| module.gpio_edge(pin.cast_unsigned(), level != 0));
    }

    #[doc(hidden)]
    pub fn health(&self) -> i32 {
        match self.with(Module::healthy) {
            Some(true) => 0,
            _ => Errno::Io as i32,
        }
    }

    /// Nothing if there is no module, or if it called its own export.
    fn with<R>(&self, call: impl FnOnce(&mut M) -> R) -> Option<R> {
        self.0.try_borrow_mut().ok()?.as_mut().map(call)
    }
}
