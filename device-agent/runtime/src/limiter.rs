//! How much memory an instance may have.

use wasmtime::{ResourceLimiter, Result};

/// Grants memory and tables up to a limit; what is beyond fails inside the module as `memory.grow` does.
pub(crate) struct Limiter {
    memory_bytes: usize,
    table_elements: usize,
}

impl Limiter {
    pub(crate) fn new(memory_bytes: u64, table_elements: usize) -> Self {
        Limiter { memory_bytes: usize::try_from(memory_bytes).unwrap_or(usize::MAX), table_elements }
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
