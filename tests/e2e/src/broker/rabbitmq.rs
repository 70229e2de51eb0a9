//! Debian's RabbitMQ as a node of its own: everything it keeps is in the test's folder, everything it listens on is on
//! the loopback.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Users, free_port, password, write_acl};
use crate::Process;

/// The program below Debian's wrapper, which would change to a user of its own.
const SERVER: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const DEFINITIONS: &str = "definitions.json";
const CONFIG: &str = "rabbitmq.conf";
const PLUGINS: &str = "enabled_plugins";

pub(super) fn write(dir: &Path, port: u16, users: Users<'_>) -> Result<()> {
    write_acl("rabbitmq", dir, users, true)?;
    let path = dir.join(DEFINITIONS);
    let mut definitions: Value = serde_json::from_slice(&fs::read(&path)?)?;
    for user in definitions["users"].as_array_mut().context("no users")? {
        let name = user["name"].as_str().unwrap_or_default();
        let role = users.iter().find(|(user, _)| user == name).context("a user nobody asked for")?;
        user["password"] = password(&role.1)?.into();
        user.as_object_mut().context("no user")?.retain(|key, _| key != "password_hash");
    }
    fs::write(&path, definitions.to_string())?;
    let config = format!(
        "load_definitions = {}\nlisteners.tcp = none\nmqtt.allow_anonymous = false\nmqtt.vhost = /\n\
         mqtt.exchange = amq.topic\nmqtt.listeners.tcp.default = 127.0.0.1:{port}\nlog.console.level = warning\n",
        path.display()
    );
    fs::write(dir.join(CONFIG), config)?;
    fs::write(dir.join(PLUGINS), "[rabbitmq_mqtt].\n")?;
    Ok(())
}

/// Whether it says so after this many bytes of its log: its port is open long before it answers there.
pub(super) fn is_up(dir: &Path, logged: u64) -> Result<bool> {
    let log = fs::read(dir.join("broker.log"))?;
    let new = log.get(usize::try_from(logged)?..).unwrap_or_default();
    Ok(String::from_utf8_lossy(new).contains(" completed with "))
}

/// The broker, and the port mapper that Erlang's programs need. One of its own ends with the test.
pub(super) fn command(dir: &Path, port: u16) -> Result<(Command, Process)> {
    let mapper_port = free_port()?.to_string();
    let mut mapper = Command::new("epmd");
    mapper.args(["-address", "127.0.0.1", "-port", &mapper_port]);
    let mapper = Process::start("epmd", dir, &mapper)?;
    let mut command = Command::new(SERVER);
    command
        .envs([("ERL_EPMD_PORT", mapper_port.as_str()), ("ERL_EPMD_ADDRESS", "127.0.0.1")])
        .env("RABBITMQ_NODENAME", format!("wasmbed-{port}@localhost"))
        .env("RABBITMQ_DIST_PORT", free_port()?.to_string())
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_LOGS", "-")
        // Or the process is a shell that waits for the broker, and killing it leaves that running.
        .env("RABBITMQ_ALLOW_INPUT", "1")
        // Schedulers that spin while they wait would take the processor from emulators.
        .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-noinput +sbwt none +sbwtdcpu none +sbwtdio none");
    for (name, file) in [
        ("HOME", ""),
        ("RABBITMQ_CONFIG_FILE", CONFIG),
        ("RABBITMQ_ENABLED_PLUGINS_FILE", PLUGINS),
        ("RABBITMQ_MNESIA_BASE", "mnesia"),
        ("RABBITMQ_LOG_BASE", "log"),
    ] {
        command.env(name, dir.join(file));
    }
    Ok((command, mapper))
}
