//! What a module's memory may be.

use core::fmt;

use wasmbed_wire::limits::Class;

/// Module name and name of the import of a shared memory, as linkers write it.
pub const MEMORY_IMPORT: (&str, &str) = ("env", "memory");

/// A memory as the file of a module declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeclaredMemory {
    /// Whether it is imported, as [`MEMORY_IMPORT`].
    pub imported: bool,
    /// Whether threads share it.
    pub shared: bool,
    /// Its size at the start, in bytes.
    pub initial_bytes: u64,
    /// The size it may grow to, in bytes; a shared one has one.
    pub maximum_bytes: Option<u64>,
    /// Whether the file says of some bytes that they are written whenever an instance is made.
    pub active_data: bool,
}

/// Why a memory is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryError {
    /// It starts with more bytes than the class allows.
    TooLarge {
        /// Bytes it asks for.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// It is shared, and may grow beyond what the class allows.
    MaximumTooLarge {
        /// Bytes it may grow to.
        found: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// It is shared, and modules of the class have one thread.
    Shared(Class),
    /// It is shared and not imported: every thread would have one of its own.
    NotImported,
    /// It is imported and not shared: nobody else has one.
    NotShared,
    /// It is shared, and each thread would write its data again.
    ActiveData,
}

impl DeclaredMemory {
    /// Holds it against what devices of this class accept. A memory that is not shared is limited when it grows; a
    /// shared one, which no limiter of the engine sees, by its maximum.
    ///
    /// # Errors
    /// If it is larger, or shared in a way that threads cannot use.
    pub const fn check(self, class: Class) -> Result<(), MemoryError> {
        let limit = class.limits().memory_bytes;
        match (self.shared, self.imported) {
            (true, _) if class.limits().threads == 0 => return Err(MemoryError::Shared(class)),
            (true, false) => return Err(MemoryError::NotImported),
            (false, true) => return Err(MemoryError::NotShared),
            (true, true) if self.active_data => return Err(MemoryError::ActiveData),
            (true, true) | (false, false) => {}
        }
        if self.initial_bytes > limit {
            return Err(MemoryError::TooLarge { found: self.initial_bytes, limit });
        }
        match self.maximum_bytes {
            Some(found) if self.shared && found > limit => Err(MemoryError::MaximumTooLarge { found, limit }),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (module, name) = MEMORY_IMPORT;
        match self {
            MemoryError::TooLarge { found, limit } => {
                write!(f, "its memory starts with {found} bytes; the class allows {limit}")
            }
            MemoryError::MaximumTooLarge { found, limit } => write!(
                f,
                "its shared memory may grow to {found} bytes; the class allows {limit}: link it with a smaller \
                 --max-memory"
            ),
            MemoryError::Shared(class) => {
                write!(f, "its memory is shared between threads; modules of class {class} have one thread")
            }
            MemoryError::NotImported => write!(
                f,
                "its shared memory is its own; threads share one that is imported as `{module}.{name}`: link it \
                 with --import-memory and --export-memory"
            ),
            MemoryError::NotShared => write!(
                f,
                "it imports a memory that is not shared; a module without threads defines its memory itself"
            ),
            MemoryError::ActiveData => f.write_str(
                "it has active data segments, which every thread would write into the shared memory again; passive \
                 ones are written once, as linkers do with --shared-memory",
            ),
        }
    }
}

impl core::error::Error for MemoryError {}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: DeclaredMemory = DeclaredMemory {
        imported: false,
        shared: false,
        initial_bytes: 65_536,
        maximum_bytes: None,
        active_data: true,
    };
    const SHARED: DeclaredMemory = DeclaredMemory {
        imported: true,
        shared: true,
        maximum_bytes: Some(8 << 30),
        active_data: false,
        ..PLAIN
    };

    #[test]
    fn every_class_has_memories_of_its_own_and_one_has_shared_ones() {
        for class in Class::ALL {
            assert_eq!(PLAIN.check(class), Ok(()));
            let expected = if class == Class::Mpu { Ok(()) } else { Err(MemoryError::Shared(class)) };
            assert_eq!(SHARED.check(class), expected);
        }
    }

    #[test]
    fn a_shared_memory_is_imported_and_written_once() {
        let check = |memory: DeclaredMemory| memory.check(Class::Mpu);
        assert_eq!(check(DeclaredMemory { imported: false, ..SHARED }), Err(MemoryError::NotImported));
        assert_eq!(check(DeclaredMemory { imported: true, ..PLAIN }), Err(MemoryError::NotShared));
        assert_eq!(check(DeclaredMemory { active_data: true, ..SHARED }), Err(MemoryError::ActiveData));
    }

    #[test]
    fn the_start_is_limited_for_both_and_the_maximum_for_what_is_shared() {
        let limit = Class::Mpu.limits().memory_bytes;
        let more = limit + 1;
        let too_large = Err(MemoryError::TooLarge { found: more, limit });
        assert_eq!(DeclaredMemory { initial_bytes: more, ..PLAIN }.check(Class::Mpu), too_large);
        assert_eq!(DeclaredMemory { maximum_bytes: Some(more), ..PLAIN }.check(Class::Mpu), Ok(()));
        assert_eq!(
            DeclaredMemory { maximum_bytes: Some(more), ..SHARED }.check(Class::Mpu),
            Err(MemoryError::MaximumTooLarge { found: more, limit })
        );
    }
}
