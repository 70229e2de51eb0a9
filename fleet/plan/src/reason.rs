use std::fmt;

/// Why a device's health changed; displayed as a sentence for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It should not run.
    PoweredOff,
    /// It should run.
    PoweredOn,
    /// It gave a sign of life.
    Alive,
    /// It was silent too long.
    Silent {
        /// For how long, in milliseconds.
        ms: u64,
    },
    /// It gave no sign of life after it was started.
    NeverCame {
        /// How long it had, in milliseconds.
        ms: u64,
    },
    /// Its connection to the broker ended.
    Disconnected,
    /// Its host has still to start it.
    Waiting,
    /// It restarts into another firmware.
    Updating,
    /// It did not answer a ping; this restart is number `attempt` of `budget`.
    NoAnswer {
        /// Which restart this is.
        attempt: u32,
        /// How many there are before quarantine.
        budget: u32,
    },
    /// The last restart did not help; this one is number `attempt` of `budget`.
    StillSilent {
        /// Which restart this is.
        attempt: u32,
        /// How many there are before quarantine.
        budget: u32,
    },
    /// The restart did not help; the next follows after a pause.
    NotRecovered {
        /// The pause, in milliseconds.
        pause_ms: u64,
    },
    /// The restart budget is used up.
    BudgetExhausted {
        /// How many restarts were tried.
        restarts: u32,
    },
    /// It crashes again and again.
    CrashLoop {
        /// How often it crashed with little time between.
        crashes: u32,
    },
    /// Its host is not connected, so nothing is known about it.
    HostVanished,
    /// Its host is connected again.
    HostReturned,
    /// It was healthy for long enough for its restarts to be forgotten.
    Settled,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Reason::PoweredOff => f.write_str("it should not run"),
            Reason::PoweredOn => f.write_str("it should run"),
            Reason::Alive => f.write_str("it gave a sign of life"),
            Reason::Silent { ms } => {
                write!(f, "no heartbeat or other sign of life for {}; asked to answer", Seconds(ms))
            }
            Reason::NeverCame { ms } => write!(f, "no sign of life within {} of its start", Seconds(ms)),
            Reason::Disconnected => f.write_str("its connection to the broker ended"),
            Reason::Waiting => f.write_str("its host has still to start it"),
            Reason::Updating => f.write_str("it restarts into another firmware"),
            Reason::NoAnswer { attempt, budget } => {
                write!(f, "it did not answer; restart {attempt} of {budget}")
            }
            Reason::StillSilent { attempt, budget } => {
                write!(f, "still no sign of life; restart {attempt} of {budget}")
            }
            Reason::NotRecovered { pause_ms } => {
                write!(f, "the restart did not help; trying again in {}", Seconds(pause_ms))
            }
            Reason::BudgetExhausted { restarts } => {
                write!(f, "{restarts} restarts did not help; quarantined until `wasmbed device clear`")
            }
            Reason::CrashLoop { crashes } => {
                write!(f, "{crashes} crashes in a row; quarantined until `wasmbed device clear`")
            }
            Reason::HostVanished => f.write_str("its host is not connected"),
            Reason::HostReturned => f.write_str("its host is connected again"),
            Reason::Settled => f.write_str("healthy for long enough; earlier restarts are forgotten"),
        }
    }
}

struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} s", self.0 / 1000, self.0 % 1000 / 100)
    }
}
