//! Linux: blocks of 16 KiB through the broker, between two plain clients and as an update.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rumqttc::v5::{AsyncClient, mqttbytes::QoS};
use tokio::{runtime::Builder, sync::Notify, time::timeout};
use wasmbed_boards::Boards;
use wasmbed_e2e::{BrokerKind, Fleet, password};
use wasmbed_figures::{line, median};
use wasmbed_load::{Broker, Kind, Observer};
use wasmbed_update::Layout;
use wasmbed_wire::topic::DEFAULT_PREFIX;

use crate::{
    goodput::{Round, goodput},
    swarm,
    update::{observe, push, update},
};

const BOARD: &str = "linux";
const DEVICE: &str = "sim-0";
/// The image that is sent.
const IMAGE_BYTES: usize = 16 << 20;
/// What the device was made with.
const FACTORY_BYTES: usize = 64 << 10;
/// Flash of the device.
const SECTOR_BYTES: u32 = 4096;
const PATCH_BYTES: u32 = 1 << 20;
/// Plain blocks that may be on their way: enough that nobody waits.
const UNDER_WAY: u64 = 32;
const PATIENCE: Duration = Duration::from_secs(60);
/// Updates; both ends of every transfer and of the raw link are timed where the blocks come in.
const ROUNDS: u64 = 7;

/// Prints the figures.
pub(crate) fn linux() -> Result<()> {
    let boards = Boards::embedded()?;
    let board = boards.get(&BOARD.parse()?).with_context(|| format!("no board {BOARD}"))?;
    let kind = Kind::with_layout(board, Layout::new(0, SECTOR_BYTES, IMAGE_BYTES as u32, PATCH_BYTES));
    let fleet = Fleet::start_with(BrokerKind::Embedded, &[])?;
    let factory = fleet.dir().join("factory.bin");
    fs::write(&factory, noise(FACTORY_BYTES, 0))?;
    let swarm = swarm::start(&fleet, kind, &factory, 1)?;
    let observer = observe(&fleet, &["up/get", "up/reported"].map(|rest| format!("{DEVICE}/{rest}")))?;
    let (mut rounds, mut times) = (Vec::new(), Vec::new());
    let mut before = raw_speed(&fleet, kind.block_bytes.into())?;
    for nth in 1..=ROUNDS {
        let image = fleet.dir().join("image.bin");
        fs::write(&image, noise(IMAGE_BYTES, nth))?;
        let version = format!("{nth}.0.0");
        push(&fleet, &image, BOARD, &version)?;
        swarm.forget();
        let measured = update(&fleet, &observer, DEVICE, BOARD, &version, false)?;
        let pieces = swarm.reports().first().and_then(|report| report.pieces).context("no blocks came")?;
        let goodput = pieces.bytes as f64 / (pieces.last - pieces.first).as_secs_f64();
        let after = raw_speed(&fleet, kind.block_bytes.into())?;
        rounds.push(Round { before, goodput, after });
        before = after;
        times.push(measured.whole.as_secs_f64() * 1000.0);
    }
    drop(swarm);
    line(BOARD, "16 MiB: to confirmed", median(times), "ms");
    goodput(BOARD, "16 MiB", &rounds, 0.85);
    Ok(())
}

/// Bytes that nobody can compress.
fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8)).flat_map(|_| next()).take(bytes).collect()
}

/// Bytes per second from one client to another, at quality of service 0.
fn raw_speed(fleet: &Fleet, block_bytes: usize) -> Result<f64> {
    let blocks = IMAGE_BYTES.div_ceil(block_bytes) as u64;
    // The broker keeps little of what devices do not take in time; these clients are no devices.
    let topic = format!("{DEFAULT_PREFIX}/v1/_fleet/raw");
    let (broker, reader) = (Broker(fleet.broker()), password("operator/default")?);
    let observer =
        Observer::open(broker, "raw-reader", ("_operator", &reader), std::slice::from_ref(&topic))?;
    let taken = Arc::new((AtomicU64::new(0), Notify::new()));
    let (writer, password) = (Arc::clone(&taken), password("service/default")?);
    let writer = thread::spawn(move || write(broker, &password, &topic, block_bytes, blocks, &writer));
    let mut first = None;
    for _ in 0..blocks {
        let at = observer.next(PATIENCE)?.at;
        let first = first.get_or_insert(at);
        taken.0.fetch_add(1, Ordering::Relaxed);
        taken.1.notify_one();
        if taken.0.load(Ordering::Relaxed) == blocks {
            let bytes = (blocks - 1) as f64 * block_bytes as f64;
            let speed = bytes / (at - *first).as_secs_f64();
            ensure!(writer.join().is_ok_and(|written| written.is_ok()), "the plain writer failed");
            return Ok(speed);
        }
    }
    anyhow::bail!("no blocks")
}

fn write(
    broker: Broker,
    password: &str,
    topic: &str,
    block_bytes: usize,
    blocks: u64,
    taken: &(AtomicU64, Notify),
) -> Result<()> {
    let mut options = broker.options("raw-writer", "_service", password);
    options.set_keep_alive(PATIENCE);
    let (client, mut eventloop) = AsyncClient::new(options, UNDER_WAY as usize);
    let send = async {
        for sent in 0..blocks {
            while sent.saturating_sub(taken.0.load(Ordering::Relaxed)) >= UNDER_WAY {
                taken.1.notified().await;
            }
            client.publish(topic, QoS::AtMostOnce, false, noise(block_bytes, sent)).await?;
        }
        while taken.0.load(Ordering::Relaxed) < blocks {
            taken.1.notified().await;
        }
        anyhow::Ok(())
    };
    let carry = async {
        loop {
            if let Err(error) = eventloop.poll().await {
                return anyhow::Error::from(error);
            }
        }
    };
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        tokio::select! {
            sent = timeout(PATIENCE, send) => sent?,
            error = carry => Err(error),
        }
    })
}
