//! What a module may be allowed to do.

use core::{fmt, str::FromStr};

use wasmbed_wire::limits::Class;

macro_rules! capabilities {
    ($($(#[doc = $doc:literal])* $name:ident = $bit:literal, $text:literal;)*) => {
        /// A group of calls that is granted or withheld as one.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Capability {
            $($(#[doc = $doc])* $name = $bit,)*
        }

        impl Capability {
            /// Every capability, by number.
            pub const ALL: &'static [Capability] = &[$(Capability::$name),*];

            /// Its name in files and on the command line.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Capability::$name => $text,)*
                }
            }
        }
    };
}

capabilities! {
    /// Log, time, tick interval and the module's own settings: every module has it.
    Base = 0, "base";
    /// Publish telemetry.
    Telemetry = 1, "telemetry";
    /// Read sensors.
    Sensors = 2, "sensors";
    /// Read and write pins.
    Gpio = 3, "gpio";
    /// Hash, authenticate, encrypt, sign, and draw random numbers.
    Security = 4, "security";
    /// Keep values across restarts.
    Store = 5, "store";
    /// Transactions on I2C and SPI buses.
    Bus = 6, "bus";
    /// Send and receive messages within the instance's own topics.
    Messages = 7, "messages";
    /// Keep files in a folder of its own.
    Files = 8, "files";
    /// Connect to what is allowed.
    Network = 9, "network";
    /// Command vehicles.
    Px4Command = 10, "px4.command";
    /// Hear how vehicles are and where.
    Px4Telemetry = 11, "px4.telemetry";
    /// Publish on what is allowed of ROS 2's topics.
    RosPublish = 12, "ros.publish";
    /// Subscribe to what is allowed of ROS 2's topics.
    RosSubscribe = 13, "ros.subscribe";
    /// Call what is allowed of ROS 2's services.
    RosCall = 14, "ros.call";
    /// Answer what is allowed of ROS 2's services.
    RosServe = 15, "ros.serve";
    /// Run several threads at once.
    Threads = 16, "threads";
}

impl Capability {
    /// Whether devices of this class can grant it.
    pub const fn allowed_on(self, class: Class) -> bool {
        // Exhaustive, so that a new capability has to say where it stands.
        match (self, class) {
            (
                Capability::Base
                | Capability::Telemetry
                | Capability::Sensors
                | Capability::Gpio
                | Capability::Store
                | Capability::Bus
                | Capability::Messages
                | Capability::Px4Command
                | Capability::Px4Telemetry,
                Class::Mpu | Class::Mcu | Class::Riscv,
            ) => true,
            // What `Limits::network` is about.
            (
                Capability::Security
                | Capability::Network
                | Capability::RosPublish
                | Capability::RosSubscribe
                | Capability::RosCall
                | Capability::RosServe,
                class,
            ) => class.limits().network,
            (Capability::Files, class) => class.limits().filesystem,
            (Capability::Threads, class) => class.limits().threads > 0,
        }
    }

    /// What follows the name of a capability that is granted for something only, as an example.
    pub const fn pattern(self) -> Option<&'static str> {
        match self {
            Capability::Network => Some("network:tcp:HOST:PORT, network:udp:HOST:PORT"),
            Capability::RosPublish => Some("ros.publish:/NAME, ros.publish:/NAME/*"),
            Capability::RosSubscribe => Some("ros.subscribe:/NAME, ros.subscribe:/NAME/*"),
            Capability::RosCall => Some("ros.call:/NAME, ros.call:/NAME/*"),
            Capability::RosServe => Some("ros.serve:/NAME, ros.serve:/NAME/*"),
            _ => None,
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text names no capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownCapability;

impl fmt::Display for UnknownCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a capability; use one of:")?;
        Capability::ALL.iter().try_for_each(|capability| write!(f, " {capability}"))
    }
}

impl core::error::Error for UnknownCapability {}

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        Capability::ALL.iter().copied().find(|capability| capability.name() == text).ok_or(UnknownCapability)
    }
}

/// A set of capabilities; [`Capability::Base`] is always in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Capabilities(u32);

impl Capabilities {
    /// Only what every module has.
    pub const BASE: Capabilities = Capabilities(1 << Capability::Base as u8);

    /// Everything devices of this class can grant.
    pub fn all(class: Class) -> Self {
        Capability::ALL.iter().copied().filter(|capability| capability.allowed_on(class)).collect()
    }

    /// The set whose bit `n` stands for the capability with number `n`; unknown bits grant nothing.
    pub fn from_bits(bits: u32) -> Self {
        Capability::ALL.iter().copied().filter(|capability| bits & 1 << *capability as u8 != 0).collect()
    }

    /// Bit `n` for the capability with number `n`.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// With this capability added.
    #[must_use]
    pub const fn with(self, capability: Capability) -> Self {
        Capabilities(self.0 | 1 << capability as u8)
    }

    /// Whether the capability is in the set.
    pub const fn contains(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u8 != 0
    }

    /// What is in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Capabilities(self.0 & other.0)
    }

    /// What is in this set and not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Capabilities(self.0 & !other.0 | Self::BASE.0)
    }

    /// The capabilities in the set that can be withheld: all but [`Capability::Base`], by number.
    pub fn beyond_base(self) -> impl Iterator<Item = Capability> {
        self.iter().filter(|capability| *capability != Capability::Base)
    }

    /// The capabilities in the set, by number.
    pub fn iter(self) -> impl Iterator<Item = Capability> {
        Capability::ALL.iter().copied().filter(move |capability| self.contains(*capability))
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::BASE
    }
}

impl FromIterator<Capability> for Capabilities {
    fn from_iter<I: IntoIterator<Item = Capability>>(capabilities: I) -> Self {
        capabilities.into_iter().fold(Self::BASE, Self::with)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_survives_its_bits_and_drops_bits_it_does_not_know() {
        let set = Capabilities::BASE.with(Capability::Gpio);
        assert_eq!(Capabilities::from_bits(set.bits()), set);
        assert_eq!(Capabilities::from_bits(set.bits() | 1 << 31), set);
        assert!(Capabilities::from_bits(0).contains(Capability::Base));
        assert!(!set.contains(Capability::Sensors));
    }

    #[test]
    fn every_name_is_read_back_and_others_are_refused() {
        for capability in Capability::ALL {
            assert_eq!(capability.name().parse(), Ok(*capability));
        }
        assert_eq!("teleport".parse::<Capability>(), Err(UnknownCapability));
    }
}
