//! Many simulated devices on a real broker, for measuring what a fleet of them costs.
//!
//! A [`Swarm`] runs the agent core that boards and Linux run, each on a flash in memory
//! (`wasmbed_update::model`), with the bootloader's own decision at every restart and an MQTT 5 connection of
//! its own. So the service and the broker cannot tell them from boards, and what is measured is theirs. A
//! hundred devices share one thread.
//!
//! Not here: modules (a simulated device accepts them and runs nothing), the serial link, and time (a
//! simulated device lives in real time; `tests/sim` has the virtual one).

mod device;
mod kind;
mod observer;
mod platform;
mod report;
mod session;
mod swarm;

pub use kind::{Factory, Kind};
pub use observer::{Message, Observer};
pub use platform::UPDATE_BYTES;
pub use report::{Change, Pieces, Report};
pub use session::Broker;
pub use swarm::{Member, Plan, Swarm};
