//! What a module exports.

use core::fmt;

use crate::{Signature, ValueType};

/// Something the host looks for in a module. Other exports are allowed and ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Export {
    /// `memory`, required: where pointers point to.
    Memory,
    /// `init() -> i32`: called once after instantiation; 0 means ready.
    Init,
    /// `tick()`, required: called once per interval.
    Tick,
    /// `health() -> i32`: asked by the agent; 0 means healthy.
    Health,
    /// `message(subscription: i32, len: i32)`: a message of so many bytes has arrived, see `message_read`.
    Message,
    /// `gpio_edge(pin: i32, level: i32)`: a watched pin has changed to this level.
    GpioEdge,
    /// `thread_start(thread_id: i32, arg: i32)`: what a thread does, see `thread_spawn`.
    ThreadStart,
    /// `service_request(service: i32, ticket: i32, len: i32)`: a request of so many bytes has come to a service that the module
    /// offers, see `create_service`; it is read with `message_read`.
    ServiceRequest,
}

const STATUS: Signature = Signature { params: &[], results: &[ValueType::I32] };
const ACTION: Signature = Signature { params: &[], results: &[] };
const PAIR: Signature = Signature { params: &[ValueType::I32, ValueType::I32], results: &[] };
const SERVICE_REQUEST: Signature =
    Signature { params: &[ValueType::I32, ValueType::I32, ValueType::I32], results: &[] };

impl Export {
    /// Everything the host looks for.
    pub const ALL: [Export; 8] = [
        Export::Memory,
        Export::Init,
        Export::Tick,
        Export::Health,
        Export::Message,
        Export::GpioEdge,
        Export::ThreadStart,
        Export::ServiceRequest,
    ];

    /// Its name in the module.
    pub const fn name(self) -> &'static str {
        match self {
            Export::Memory => "memory",
            Export::Init => "init",
            Export::Tick => "tick",
            Export::Health => "health",
            Export::Message => "message",
            Export::GpioEdge => "gpio_edge",
            Export::ThreadStart => "thread_start",
            Export::ServiceRequest => "service_request",
        }
    }

    /// Whether a module without it is refused.
    pub const fn required(self) -> bool {
        matches!(self, Export::Memory | Export::Tick)
    }

    /// The type of a function; none for the memory.
    pub const fn signature(self) -> Option<Signature> {
        match self {
            Export::Memory => None,
            Export::Init | Export::Health => Some(STATUS),
            Export::Tick => Some(ACTION),
            Export::Message | Export::GpioEdge | Export::ThreadStart => Some(PAIR),
            Export::ServiceRequest => Some(SERVICE_REQUEST),
        }
    }

    /// Checks a function the module exports under this name.
    ///
    /// # Errors
    /// If it is meant to be a memory, or has another type.
    pub fn check_function(
        self,
        params: impl IntoIterator<Item = Option<ValueType>>,
        results: impl IntoIterator<Item = Option<ValueType>>,
    ) -> Result<(), ExportError> {
        match self.signature() {
            Some(signature) if signature.matches(params, results) => Ok(()),
            _ => Err(ExportError::WrongType(self)),
        }
    }
}

/// Why a module's exports are not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportError {
    /// A required export is missing.
    Missing(Export),
    /// An export has the right name and the wrong type.
    WrongType(Export),
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (problem, export) = match self {
            ExportError::Missing(export) => ("does not export", export),
            ExportError::WrongType(export) => ("exports something else than", export),
        };
        write!(f, "the module {problem} {} `{}", kind(*export), export.name())?;
        if let Some(signature) = export.signature() {
            write!(f, "{signature}")?;
        }
        f.write_str("`")
    }
}

fn kind(export: Export) -> &'static str {
    if export.signature().is_some() { "the function" } else { "a memory named" }
}

impl core::error::Error for ExportError {}
