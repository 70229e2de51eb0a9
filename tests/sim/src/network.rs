//! What can happen to a message.

use wasmbed_wire::topic::{Down, Up};

use crate::rng::Rng;

/// Messages that faults tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A block on its way down.
    Block,
    /// A request for blocks on its way up.
    Get,
    /// The desired state on its way down.
    Desired,
    /// A command on its way down.
    Command,
    /// Everything else.
    Other,
}

impl Kind {
    pub(crate) fn of_up(topic: &Up) -> Self {
        if matches!(topic, Up::Get) { Kind::Get } else { Kind::Other }
    }

    pub(crate) fn of_down(topic: &str) -> Self {
        match Down::parse(topic) {
            Some(Down::Block(_)) => Kind::Block,
            Some(Down::Desired | Down::Keys) => Kind::Desired,
            Some(Down::Command(_)) => Kind::Command,
            Some(Down::Message(..) | Down::Ros(..)) | None => Kind::Other,
        }
    }

    /// Whether the sender does not care for an acknowledgement.
    fn is_droppable(self) -> bool {
        matches!(self, Kind::Block | Kind::Get)
    }
}

/// What becomes of one block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// It does not arrive.
    Lost,
    /// Its last byte is missing.
    Short,
    /// One bit of its last byte is flipped.
    Corrupt,
}

/// How bad the network is; probabilities in thousandths per message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Lost; only what travels at quality of service 0, and acknowledgements.
    pub drop: u16,
    /// Delivered twice.
    pub duplicate: u16,
    /// Overtaken by what was sent later.
    pub reorder: u16,
    /// One bit flipped; only blocks, the rest has checks of its own on every link.
    pub corrupt: u16,
    /// The connection breaks instead.
    pub disconnect: u16,
}

impl Faults {
    /// None.
    pub const NONE: Faults = Faults { drop: 0, duplicate: 0, reorder: 0, corrupt: 0, disconnect: 0 };

    /// What happens to a message of this kind.
    pub(crate) fn judge(&self, kind: Kind, rng: &mut Rng) -> Fate {
        let droppable = kind.is_droppable();
        Fate {
            disconnect: rng.happens(self.disconnect),
            drop: droppable && rng.happens(self.drop),
            corrupt: kind == Kind::Block && rng.happens(self.corrupt),
            late_ms: if rng.happens(self.reorder) { 1 + rng.below(3_000) } else { 0 },
            again_ms: rng.happens(self.duplicate).then(|| 1 + rng.below(2_000)),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) disconnect: bool,
    pub(crate) drop: bool,
    pub(crate) corrupt: bool,
    /// Delay after which it arrives out of order; 0 for in order.
    pub(crate) late_ms: u64,
    /// Delay after which it arrives once more.
    pub(crate) again_ms: Option<u64>,
}
