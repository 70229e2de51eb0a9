//! The permission configuration of other people's brokers, for our roles.
//!
//! What a role may do is `wasmbed-broker`'s model ([`Patterns`]); here it takes the form each broker reads, together
//! with the settings by which the CN of a client's certificate becomes its user name.
//!
//! Not here: whether a broker then does what it was told (`doctor`).

mod aws_iot;
mod emqx;
mod mosquitto;
mod rabbitmq;

use clap::ValueEnum;
use wasmbed_broker::{Patterns, credentials::Role};
use wasmbed_wire::{DeviceId, GatewayId, HostId};

/// A broker that can be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Target {
    /// Eclipse Mosquitto 2.
    Mosquitto,
    /// EMQX 5.
    Emqx,
    /// RabbitMQ 3.10 and later with its MQTT plugin.
    Rabbitmq,
    /// AWS IoT Core.
    AwsIot,
}

/// Whom and what the configuration is for.
#[derive(Debug, Clone)]
pub struct Request {
    /// First level or levels of every topic.
    pub prefix: String,
    /// Devices, for brokers that have to be told each.
    pub devices: Vec<DeviceId>,
    /// Hosts that run emulated devices.
    pub hosts: Vec<HostId>,
    /// Ways to ROS 2.
    pub gateways: Vec<GatewayId>,
    /// Where an AWS account's policies hold.
    pub aws: Option<AwsPlace>,
}

/// A region and an account of AWS, written `REGION:ACCOUNT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsPlace {
    region: String,
    account: String,
}

impl std::str::FromStr for AwsPlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!("{text:?} is no AWS account; write REGION:ACCOUNT, for example eu-west-1:123456789012")
        };
        let (region, account) = text.split_once(':').ok_or_else(bad)?;
        let is_region = !region.is_empty()
            && region.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let is_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
        if !is_region || !is_account {
            return Err(bad());
        }
        Ok(AwsPlace { region: region.to_owned(), account: account.to_owned() })
    }
}

/// One file of a broker's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub text: String,
}

impl File {
    fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        File { name: name.into(), text: text.into() }
    }
}

/// Why no configuration can be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AclError {
    /// The broker has no pattern that covers every device.
    #[error("RabbitMQ knows no user it was not told of; name every device with --devices ID,ID,…")]
    NoDevices,
    /// The broker needs no list.
    #[error("this broker's patterns cover every device; leave out --devices")]
    DevicesNotNeeded,
    /// The place is missing.
    #[error("policies of AWS name region and account; add --aws REGION:ACCOUNT")]
    NoAwsPlace,
    /// The place is not needed.
    #[error("--aws is for AWS IoT only; leave it out")]
    AwsPlaceNotNeeded,
    /// Topics would be too deep.
    #[error(
        "AWS IoT takes topics of at most 8 levels, and with the prefix {0:?} answers to uploads have more; use a \
         prefix of one level"
    )]
    PrefixTooDeep(String),
}

/// Writes the configuration of a broker.
///
/// # Errors
/// If the request lacks what this broker has to be told, or names what it does not need.
pub fn write(target: Target, request: &Request) -> Result<Vec<File>, AclError> {
    let is_rabbitmq = target == Target::Rabbitmq;
    if is_rabbitmq && request.devices.is_empty() {
        return Err(AclError::NoDevices);
    }
    if !is_rabbitmq && !request.devices.is_empty() {
        return Err(AclError::DevicesNotNeeded);
    }
    if target != Target::AwsIot && request.aws.is_some() {
        return Err(AclError::AwsPlaceNotNeeded);
    }
    Ok(match target {
        Target::Mosquitto => mosquitto::write(request),
        Target::Emqx => emqx::write(request),
        Target::Rabbitmq => rabbitmq::write(request),
        Target::AwsIot => aws_iot::write(request)?,
    })
}

impl Request {
    /// Hosts, gateways, the service and operators: those whose number is known.
    fn staff(&self) -> impl Iterator<Item = (Role, Patterns)> {
        let hosts = self.hosts.iter().copied().map(Role::Host);
        let gateways = self.gateways.iter().copied().map(Role::Gateway);
        let roles = hosts.chain(gateways).chain([Role::Service, Role::Operator]);
        roles.map(|role| (role, Patterns::of(&role, &self.prefix)))
    }
}
