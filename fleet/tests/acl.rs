//! What is written for each broker, to the letter. `UPDATE_EXPECT=1` writes the files anew.
#![allow(clippy::unwrap_used, reason = "a test may stop where its world is wrong")]

use std::path::PathBuf;

use expect_test::expect_file;
use wasmbed_fleet::acl::{AclError, File, Request, Target, write};

fn request() -> Request {
    Request {
        prefix: "wasmbed".into(),
        devices: Vec::new(),
        hosts: vec!["lab".parse().unwrap(), "lab-2".parse().unwrap()],
        gateways: vec!["ros".parse().unwrap()],
        aws: None,
    }
}

fn with_devices() -> Request {
    Request { devices: vec!["pump-1".parse().unwrap(), "pump-2".parse().unwrap()], ..request() }
}

fn check(broker: &str, files: Vec<File>, names: &[&str]) {
    let written: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(written, names);
    for File { name, text } in &files {
        expect_file![PathBuf::from("acl").join(broker).join(name)].assert_eq(text);
    }
}

#[test]
fn mosquitto() {
    check("mosquitto", write(Target::Mosquitto, &request()).unwrap(), &["wasmbed.acl", "wasmbed.conf"]);
}

#[test]
fn emqx() {
    check("emqx", write(Target::Emqx, &request()).unwrap(), &["wasmbed-acl.conf", "wasmbed.conf"]);
}

#[test]
fn rabbitmq() {
    let files = write(Target::Rabbitmq, &with_devices()).unwrap();
    check("rabbitmq", files, &["definitions.json", "rabbitmq.conf", "enabled_plugins"]);
}

#[test]
fn aws_iot() {
    let aws = Some("eu-west-1:123456789012".parse().unwrap());
    let files = write(Target::AwsIot, &Request { aws, ..request() }).unwrap();
    // AWS takes policies of at most 2048 characters, white space aside.
    for File { name, text } in &files {
        assert!(text.chars().filter(|c| !c.is_whitespace()).count() <= 2048, "{name}");
    }
    check(
        "aws-iot",
        files,
        &[
            "device.json",
            "host-lab.json",
            "host-lab-2.json",
            "gateway-ros.json",
            "service.json",
            "operator.json",
        ],
    );
}

#[test]
fn what_a_broker_has_to_be_told_is_asked_for() {
    let aws = Some("eu-west-1:123456789012".parse().unwrap());
    for (target, request, error) in [
        (Target::Rabbitmq, request(), AclError::NoDevices),
        (Target::Mosquitto, with_devices(), AclError::DevicesNotNeeded),
        (Target::AwsIot, request(), AclError::NoAwsPlace),
        (Target::Emqx, Request { aws: aws.clone(), ..request() }, AclError::AwsPlaceNotNeeded),
        (
            Target::AwsIot,
            Request { aws, prefix: "a/b".into(), ..request() },
            AclError::PrefixTooDeep("a/b".into()),
        ),
    ] {
        assert_eq!(write(target, &request), Err(error));
    }
}
