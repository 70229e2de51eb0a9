//! How much memory an instance may have.

use wasmbed_wire::limits::Limits;
use wasmtime::{ResourceLimiter, Result};

/// Grants memory and tables up to a limit; what is beyond fails inside the module as `memory.grow` does.
pub(crate) struct Limiter {
    memory_bytes: usize,
    table_elements: usize,
}

impl Limiter {
    pub(crate) fn new(limits: &Limits) -> Self {
        Limiter {
            memory_bytes: usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX),
            table_elements: usize::try_from(limits.table_elements).unwrap_or(usize::MAX),
        }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= self.memory_bytes)
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> Result<bool> {
        Ok(desired <= self.table_elements)
    }
}
