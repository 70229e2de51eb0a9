//! How a client of any broker finds it, trusts it and shows who it is: addresses, TLS, keys.
//!
//! For the service, hosts, the command line and the Linux agent alike. Not here: MQTT itself, and what is said.
#![forbid(unsafe_code)]

mod address;
mod enrol;
mod identity;
mod tls;

pub use address::{Address, BadAddress};
pub use enrol::{EnrolAnswer, EnrolRequest};
pub use identity::{Identity, IdentityError};
pub use tls::{Tls, TlsError, TlsFiles};
