//! Somebody with the broker's rights tells devices what to do.

use std::{fs, io::Write, process::Stdio};

use anyhow::{Context, Result, ensure};
use ed25519_compact::{KeyPair, Seed};
use nix::sys::signal::Signal;
use wasmbed_e2e::{BrokerKind, Fleet, Limit, Subscription, module, signal};
use wasmbed_update::key_id;
use wasmbed_wire::{
    DeviceId, Digest, PublicKey, Seq,
    message::{Command, CommandResult, Desired, Outcome, Refusal, Refused, State, Verb},
    sign1::{Audience, OVERHEAD_BYTES, Sign1, signed_head},
};

const DEVICES: [(&str, &str); 2] = [("n2-1", "netduino2"), ("hub-1", "linux")];
const DESIRED: &str = "dn/desired";

/// Says something to a device with the broker's rights; what is desired is kept, as a broker that is hostile would.
fn say(fleet: &Fleet, id: &str, topic: &str, payload: &[u8]) -> Result<()> {
    let mut client = fleet.mosquitto_as_broker("mosquitto_pub")?;
    client.args(["-q", "1", "-s", "-t", &format!("wasmbed/v1/{id}/{topic}")]);
    if topic == DESIRED {
        client.arg("-r");
    }
    let mut client = client.stdin(Stdio::piped()).spawn()?;
    client.stdin.take().context("a pipe")?.write_all(payload)?;
    let status = client.wait()?;
    ensure!(status.success(), "mosquitto_pub: {status}");
    Ok(())
}

fn sign(keys: &KeyPair, id: &str, topic: &str, payload: &[u8]) -> Result<Vec<u8>> {
    let id: DeviceId = id.parse()?;
    let head = signed_head(Audience::Device { id: &id, topic }, payload.len())?;
    let signature = keys.sk.sign([head.as_ref(), payload].concat(), None);
    let mut out = vec![0; payload.len() + OVERHEAD_BYTES];
    let len = Sign1 { key: key_id(&PublicKey(*keys.pk)), payload, signature: &signature }.encode(&mut out)?;
    out.truncate(len);
    Ok(out)
}

fn desired(fleet: &Fleet, id: &str) -> Result<Vec<u8>> {
    fleet.subscribe_bytes(&format!("wasmbed/v1/{id}/{DESIRED}"))
}

fn revision(signed: &[u8]) -> Result<u64> {
    let desired: Desired<'_> = minicbor::decode(Sign1::decode(signed)?.payload)?;
    Ok(desired.revision)
}

fn boot(fleet: &Fleet, id: &str) -> Result<u32> {
    let state = fleet.subscribe_bytes(&format!("wasmbed/v1/{id}/up/state"))?;
    Ok(minicbor::decode::<State>(&state)?.boot)
}

/// How often a device refused something since it started, as an event's reason says.
fn count(why: &str) -> Option<usize> {
    why.split_once(" so far")?.0.rsplit(' ').next()?.parse().ok()
}

/// What the service tells of what a device refused.
fn refusals(fleet: &Fleet, id: &str) -> Result<Vec<String>> {
    let events = fleet.events(id)?.into_iter().filter(|event| event["kind"] == "device-refused");
    Ok(events.map(|event| event["reason"].as_str().unwrap_or_default().to_owned()).collect())
}

#[test]
fn forged_and_replayed_orders_change_nothing_and_are_told() -> Result<()> {
    let mut fleet = Fleet::start_with(BrokerKind::Embedded, &DEVICES)?;
    let both = |name: &str| -> Result<()> {
        fleet.cli(&["module", "push", &module(name)?.to_string_lossy(), "--version", "1.0.0"])?;
        fleet.cli(&["deploy", name, "--to", "all", "--wait"])?;
        DEVICES.iter().try_for_each(|(id, _)| fleet.wait_running(id, name, Limit::seconds(30)))
    };
    both("thermo")?;
    let old = [desired(&fleet, "n2-1")?, desired(&fleet, "hub-1")?];
    both("valve")?;
    let last = [desired(&fleet, "n2-1")?, desired(&fleet, "hub-1")?];
    let seed: Digest = fs::read_to_string(fleet.service_key())?.trim().parse()?;
    let service = KeyPair::from_seed(Seed::new(seed.0));
    let stranger = KeyPair::from_seed(Seed::new([66; 32]));

    let boots = [boot(&fleet, "n2-1")?, boot(&fleet, "hub-1")?];
    for (nth, (id, _)) in DEVICES.into_iter().enumerate() {
        let (now, other) = (boots[nth], DEVICES[1 - nth].0);
        let nothing = |revision| {
            let desired = Desired { revision, modules: Seq::default(), heartbeat_ms: None, firmware: None };
            minicbor::to_vec(desired)
        };
        let restart = |boot| minicbor::to_vec(Command { verb: Verb::Restart, boot, number: u64::MAX });
        let next = nothing(revision(&last[nth])? + 1)?;
        let attacks = [
            (DESIRED, sign(&stranger, id, DESIRED, &next)?),
            (DESIRED, next.clone()),
            (DESIRED, sign(&service, other, DESIRED, &next)?),
            (DESIRED, last[nth][..last[nth].len() - 1].to_vec()),
            ("dn/cmd/forged-1", restart(now)?),
            ("dn/cmd/forged-2", sign(&stranger, id, "dn/cmd/forged-2", &restart(now)?)?),
            ("dn/cmd/forged-3", sign(&service, id, "dn/cmd/forged-3", &restart(now - 1)?)?),
            ("dn/cmd/forged-4", sign(&service, id, "dn/cmd/forged-5", &restart(now)?)?),
            (DESIRED, old[nth].clone()),
        ];
        for (topic, payload) in &attacks {
            say(&fleet, id, topic, payload)?;
        }
    }
    for (nth, (id, _)) in DEVICES.into_iter().enumerate() {
        let now = boots[nth];
        // A report names the last of what was refused until then.
        fleet.wait("forgeries to be told", Limit::seconds(20), || Ok(!refusals(&fleet, id)?.is_empty()))?;
        // Four commands, and of what is desired the bridge of a board that is busy keeps only the last.
        fleet.wait("them to be counted", Limit::seconds(90), || {
            Ok(refusals(&fleet, id)?.last().is_some_and(|why| count(why) >= Some(6)))
        })?;
        assert_eq!(boot(&fleet, id)?, now, "{id} did not even reconnect");
        for name in ["thermo", "valve"] {
            fleet.wait_running(id, name, Limit::seconds(5))?;
        }
        // The same way, from who may.
        let answers = Subscription::open(&fleet, &format!("wasmbed/v1/{id}/up/res/genuine"))?;
        let ping = minicbor::to_vec(Command { verb: Verb::Ping, boot: now, number: u64::MAX })?;
        say(&fleet, id, "dn/cmd/genuine", &sign(&service, id, "dn/cmd/genuine", &ping)?)?;
        let done = minicbor::to_vec(CommandResult { boot: now, outcome: Outcome::Done })?;
        let done: String = done.iter().map(|byte| format!("{byte:02x}")).collect();
        answers.next(|line| line == done)?;
    }

    // Nobody but a hostile broker speaks, and says what was desired before; devices know better after a power cut too.
    let refused = |id: &str| Subscription::open(&fleet, &format!("wasmbed/v1/{id}/up/refused"));
    let said = [refused("n2-1")?, refused("hub-1")?];
    let processes = [fleet.pid("n2-1")?, fleet.pid("hub-1")?];
    fleet.kill_service()?;
    for (nth, (id, _)) in DEVICES.into_iter().enumerate() {
        say(&fleet, id, DESIRED, &old[nth])?;
        signal(processes[nth], Signal::SIGKILL)?;
        let newest = revision(&last[nth])?;
        said[nth].next(|line| {
            read(line).is_some_and(|refused| {
                (refused.boot > boots[nth]) && (refused.reason, refused.revision) == (Refusal::Stale, newest)
            })
        })?;
    }
    fleet.start_service()?;
    for (nth, (id, _)) in DEVICES.into_iter().enumerate() {
        fleet.wait("the service to say it again", Limit::seconds(20), || {
            Ok(desired(&fleet, id)? == last[nth])
        })?;
        for name in ["thermo", "valve"] {
            fleet.wait_running(id, name, Limit::seconds(60))?;
        }
    }
    Ok(())
}

/// A refusal as [`Subscription`] tells it.
fn read(line: &str) -> Option<Refused> {
    let (digits, _) = line.as_bytes().as_chunks::<2>();
    let byte = |two: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
    minicbor::decode(&digits.iter().map(byte).collect::<Option<Vec<u8>>>()?).ok()
}
