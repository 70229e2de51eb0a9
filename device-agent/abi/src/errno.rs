//! Answers of a call that did not do what was asked.

use core::fmt;

macro_rules! errnos {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// Why a call failed; the module sees the negative [`code`](Errno::code).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(i32)]
        pub enum Errno {
            $($(#[doc = $doc])* $name = $code,)*
        }

        impl Errno {
            /// Every code.
            pub const ALL: &'static [Errno] = &[$(Errno::$name),*];

            /// Its name in the C header, without the prefix.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Errno::$name => stringify!($name),)*
                }
            }
        }

        impl fmt::Display for Errno {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self {
                    $(Errno::$name => $text,)*
                })
            }
        }
    };
}

errnos! {
    /// An argument is outside its range.
    Invalid = -1, "an argument is outside its range";
    /// A pointer with its length does not lie inside the module's memory.
    Fault = -2, "a pointer is outside the module's memory";
    /// This device cannot do that.
    Unsupported = -3, "this device cannot do that";
    /// The module was not granted the capability.
    Denied = -4, "the module has no permission";
    /// More bytes than allowed.
    TooLong = -5, "too many bytes";
    /// Not now; the same call may succeed later.
    Busy = -6, "busy, try again later";
    /// No such key, pin, sensor, bus, file, connection, vehicle or ticket.
    NotFound = -7, "no such key, pin, sensor, bus, file, connection, vehicle or ticket";
    /// The answer does not fit the space given.
    NoSpace = -8, "the answer does not fit";
    /// The hardware or the network failed.
    Io = -9, "the hardware or the network failed";
    /// A signature or tag does not belong to the bytes.
    Forged = -10, "not authentic";
    /// Nobody answered in time.
    TimedOut = -11, "nobody answered in time";
    /// Only the main thread may make this call.
    WrongThread = -12, "only the main thread may do that";
}

impl Errno {
    /// The number the module sees.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

impl core::error::Error for Errno {}
