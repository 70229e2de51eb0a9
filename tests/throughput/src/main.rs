//! `cargo xtask bench broker`: what brokers carry and what it costs them, side by side: ours, Mosquitto, and rumqttd
//! without our guard.
//!
//! Every broker gets the same load from the same program, one after the other in each round, so that what else the
//! machine does meanwhile meets all of them; a figure is the median of the rounds. The load is a closed loop: so many
//! messages are under way, and a new one is sent when one has arrived. Cost is the broker's processor time for a message
//! that was delivered, which also holds where the load program is what limits the rate.
//!
//! Ours checks passwords and permissions; the others let everybody in, which is the least they can do.

mod broker;
mod certificates;
mod client;
mod idle;
mod load;
mod wire;

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use wasmbed_figures::{Aim, bytes, line, median, plain_ratio, ratio};

use broker::{Broker, Kind, Link};
use load::{Load, Measured, Shape};

/// Measures brokers.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    /// Rounds
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// How long each load lasts, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 3000)]
    each_ms: u64,
    /// Idle connections
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    idle: usize,
    /// The program wasmbed-broker
    #[arg(long, value_name = "FILE")]
    broker: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Be rumqttd without a guard
    #[command(hide = true)]
    Rumqttd {
        /// Where to listen on the loopback
        port: u16,
    },
}

/// Most memory that idle connections with TLS may take our broker, in bytes.
const IDLE_BYTES: f64 = 400e6;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(Role::Rumqttd { port }) = arguments.role {
        return broker::be_rumqttd(port);
    }
    let program = match arguments.broker {
        Some(program) => program,
        None => std::env::current_exe()?.with_file_name("wasmbed-broker"),
    };
    if !program.is_file() {
        bail!("there is no {}; run `cargo xtask bench broker`", program.display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        print_loads(&program, arguments.rounds, Duration::from_millis(arguments.each_ms)).await?;
        print_idle(&program, arguments.idle).await
    })
}

type Results = BTreeMap<(Link, Load, Kind), Vec<Measured>>;

async fn print_loads(program: &std::path::Path, rounds: u32, each: Duration) -> Result<()> {
    let mut results = Results::new();
    for _ in 0..rounds {
        for link in [Link::Plain, Link::Tls] {
            for load in Load::ALL {
                for kind in Kind::ALL {
                    if kind == Kind::Rumqttd && link == Link::Tls {
                        continue;
                    }
                    // A fresh one each time: what one load left in it must not cost the next.
                    let broker = Broker::start(kind, program)?;
                    let measured = load::run(&broker, link, load, each).await?;
                    results.entry((link, load, kind)).or_default().push(measured);
                }
            }
        }
    }
    for ((link, load, kind), measured) in &results {
        let of = |figure: fn(&Measured) -> f64| median(measured.iter().map(figure).collect());
        let what = |figure: &str| format!("{load} {link} {figure}");
        line(kind.name(), &what("rate"), of(|m| m.rate), "messages/s");
        line(kind.name(), &what("cost"), of(|m| m.cost_ns), "ns a message");
        for (name, figure) in [
            ("p50", (|m| m.latency_us[0]) as fn(&Measured) -> f64),
            ("p95", |m| m.latency_us[1]),
            ("p99", |m| m.latency_us[2]),
        ] {
            line(kind.name(), &what(name), of(figure), "us");
        }
    }
    compare(&results);
    Ok(())
}

/// Ratios within a round, so that what slowed both down is in both.
fn compare(results: &Results) {
    for ((link, load, kind), ours) in results {
        if *kind != Kind::Ours {
            continue;
        }
        let against = |other: Kind, figure: fn(&Measured) -> f64| {
            let theirs = results.get(&(*link, *load, other))?;
            Some(median(ours.iter().zip(theirs).map(|(our, their)| figure(our) / figure(their)).collect()))
        };
        if let Some(rate) = against(Kind::Mosquitto, |m| m.rate) {
            ratio("ours", &format!("{load} {link} rate/mosquitto"), rate, Aim::AtLeast(1.0));
        }
        if let Some(cost) = against(Kind::Mosquitto, |m| m.cost_ns) {
            plain_ratio("ours", &format!("{load} {link} cost/mosquitto"), cost);
        }
        if let Some(cost) = against(Kind::Rumqttd, |m| m.cost_ns) {
            ratio("guard", &format!("{load} {link} cost/rumqttd"), cost, Aim::AtMost(1.1));
        }
    }
}

async fn print_idle(program: &std::path::Path, connections: usize) -> Result<()> {
    if connections == 0 {
        return Ok(());
    }
    for link in [Link::Plain, Link::Tls] {
        for kind in Kind::ALL {
            if kind == Kind::Rumqttd && link == Link::Tls {
                continue;
            }
            let broker = Broker::start(kind, program)?;
            let idle = idle::measure(&broker, link, connections).await?;
            let what = format!("{connections} idle {link}");
            match (kind, link) {
                (Kind::Ours, Link::Tls) => bytes(kind.name(), &what, idle.resident, Aim::AtMost(IDLE_BYTES)),
                _ => line(kind.name(), &what, idle.resident, "B"),
            }
            line(kind.name(), &format!("{what}, each"), idle.each, "B");
        }
    }
    Ok(())
}

impl Shape {
    /// Publishers and subscribers.
    fn ends(self) -> (usize, usize) {
        match self {
            Shape::OneToOne => (1, 1),
            Shape::OneToMany => (1, load::MANY),
            Shape::ManyToOne => (load::MANY, 1),
        }
    }
}
