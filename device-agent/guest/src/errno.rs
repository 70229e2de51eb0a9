//! What a call answers when it did not do what was asked.

/// The answer of a call.
pub type Result<T> = core::result::Result<T, Errno>;

/// Why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Errno {
    /// An argument is outside its range.
    Invalid = -1,
    /// A pointer is outside the module's memory.
    Fault = -2,
    /// This device cannot do that.
    Unsupported = -3,
    /// The module has no permission.
    Denied = -4,
    /// Too many bytes.
    TooLong = -5,
    /// Not now; the same call may succeed later.
    Busy = -6,
    /// No such key, pin, sensor, bus, file, connection, vehicle or ticket.
    NotFound = -7,
    /// The answer does not fit.
    NoSpace = -8,
    /// The hardware or the network failed.
    Io = -9,
    /// Not authentic.
    Forged = -10,
    /// Nobody answered in time.
    TimedOut = -11,
    /// Only the main thread can do that.
    WrongThread = -12,
    /// A code this version does not know.
    Other = i32::MIN,
}

/// A call's answer: zero or more is success.
pub(crate) fn check(answer: i32) -> Result<u32> {
    Ok(match answer {
        0.. => answer.cast_unsigned(),
        -1 => return Err(Errno::Invalid),
        -2 => return Err(Errno::Fault),
        -3 => return Err(Errno::Unsupported),
        -4 => return Err(Errno::Denied),
        -5 => return Err(Errno::TooLong),
        -6 => return Err(Errno::Busy),
        -7 => return Err(Errno::NotFound),
        -8 => return Err(Errno::NoSpace),
        -9 => return Err(Errno::Io),
        -10 => return Err(Errno::Forged),
        -11 => return Err(Errno::TimedOut),
        -12 => return Err(Errno::WrongThread),
        _ => return Err(Errno::Other),
    })
}
