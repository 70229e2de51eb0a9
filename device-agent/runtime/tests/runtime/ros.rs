//! Calls about ROS 2: what reaches the host, and what bad arguments are answered with.

use wasmbed_abi::{Call, Errno, MAX_ROS_BYTES, MAX_ROS_NAME_BYTES, RosName};
use wasmbed_wire::limits::Class;

use crate::{
    calls::answer,
    world::{Path, World, on_both},
};

const MEMORY: i32 = 65536;

fn topic(name: &str) -> RosName<'_> {
    RosName::parse(name.as_bytes()).expect("a name")
}

#[test]
fn messages_and_requests_reach_the_host() {
    on_both(Class::Mpu, |world| {
        let ask = |call, args: &[i32]| answer(&world, call, args, "/a/b/c").0;
        assert_eq!(ask(Call::PublishMessage, &[8, 2, 9, 3]), 0);
        assert_eq!(world.device.seen().published, [("/a".to_owned(), b"a/b".to_vec())]);
        assert_eq!(ask(Call::PublishMessage, &[10, 2, 9, 3]), Errno::Denied.code());
        assert_eq!(ask(Call::CreateServiceClient, &[8, 4]), 0);
        assert_eq!(ask(Call::CreateServiceClient, &[10, 4]), Errno::Denied.code());
        assert_eq!(ask(Call::CallService, &[0, 8, 5]), 0);
        assert_eq!(ask(Call::CallService, &[1, 8, 5]), Errno::NotFound.code());
        assert_eq!(ask(Call::ServiceResponse, &[0, 100, 5]), 5);
        assert_eq!(ask(Call::ServiceResponse, &[0, 100, 4]), Errno::NoSpace.code());
        assert_eq!(ask(Call::ServiceResponse, &[1, 100, 5]), Errno::NotFound.code());
        assert_eq!(ask(Call::GetAvailableTopics, &[0, 100, 19]), 19);
        assert_eq!(ask(Call::GetAvailableTopics, &[0, 100, 18]), Errno::NoSpace.code());
        assert_eq!(ask(Call::GetAvailableTopics, &[1, 100, 99]), Errno::NotFound.code());
        assert_eq!(ask(Call::GetNodeInfo, &[8, 6, 8, 100]), 8 + 2 + 6 + 1, "also over its name");
        assert_eq!(ask(Call::GetNodeInfo, &[8, 6, 8, 16]), Errno::NoSpace.code());
    });
}

#[test]
fn requests_are_told_and_answered() {
    on_both(Class::Riscv, |world| {
        // Offers `/a`, answers with the request and then with the number of the service.
        let mut instance = world.run(
            r#"(module
            (import "wasmbed" "create_service" (func $serve (param i32 i32) (result i32)))
            (import "wasmbed" "send_response" (func $respond (param i32 i32 i32) (result i32)))
            (import "wasmbed" "message_read" (func $read (param i32 i32) (result i32)))
            (import "wasmbed" "publish" (func $publish (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1 1) (data (i32.const 0) "/aa/b")
            (func (export "tick"))
            (func (export "init") (result i32)
                (i32.store8 (i32.const 100) (call $serve (i32.const 0) (i32.const 2)))
                (i32.store8 (i32.const 101) (call $serve (i32.const 3) (i32.const 2)))
                (call $publish (i32.const 1) (i32.const 1) (i32.const 100) (i32.const 2)))
            (func (export "service_request") (param $service i32) (param $ticket i32) (param $len i32)
                (drop (call $read (i32.const 200) (i32.const 100)))
                (drop (call $respond (local.get $ticket) (i32.const 200) (local.get $len)))
                (i32.store8 (i32.const 200) (local.get $service))
                (drop (call $respond (local.get $ticket) (i32.const 200) (i32.const 1)))))"#,
        );
        assert_eq!(instance.init(), Ok(0));
        assert_eq!(world.device.seen().published[0].1, [3, Errno::Denied.code().to_le_bytes()[0]]);
        assert_eq!(instance.service_request(3, 7, b"who?".to_vec()), Ok(true));
        assert_eq!(world.device.seen().responses, [b"who?".to_vec(), vec![3]]);
        assert_eq!(instance.service_request(3, 8, b"who?".to_vec()), Ok(true));
        assert_eq!(world.device.seen().responses.len(), 2, "there is no such ticket");
    });
    let world = World::new(Path::Bytecode, Class::Riscv);
    let mut instance = world.run(r#"(module (memory (export "memory") 0 0) (func (export "tick")))"#);
    assert_eq!(instance.service_request(0, 0, Vec::new()), Ok(false), "it has no such function");
}

#[test]
fn names_lengths_and_pointers_have_their_bounds() {
    on_both(Class::Mpu, |world| {
        let ask = |call, args: &[i32], data: &str| answer(&world, call, args, data).0;
        let long = "/".to_owned() + &"a".repeat(MAX_ROS_NAME_BYTES);
        for (name, errno) in
            [("a", Errno::Invalid), ("/", Errno::Invalid), ("/a-", Errno::Invalid), (&long, Errno::TooLong)]
        {
            let len = name.len() as i32;
            for (call, args) in [
                (Call::PublishMessage, &[8, len, 8, 1][..]),
                (Call::SubscribeTopic, &[8, len]),
                (Call::CreateServiceClient, &[8, len]),
                (Call::CreateService, &[8, len]),
                (Call::GetNodeInfo, &[8, len, 8, 100]),
            ] {
                assert_eq!(ask(call, args, name), errno.code(), "{call:?} {name}");
            }
        }
        for (ptr, len) in [(MEMORY, 1), (MEMORY - 3, 4), (-1, 1), (8, -1), (-8, -8), (i32::MIN, i32::MIN)] {
            for (call, args) in [
                (Call::PublishMessage, &[ptr, len, 8, 1][..]),
                (Call::PublishMessage, &[8, 2, ptr, len]),
                (Call::SubscribeTopic, &[ptr, len]),
                (Call::CreateServiceClient, &[ptr, len]),
                (Call::CallService, &[0, ptr, len]),
                (Call::CreateService, &[ptr, len]),
                (Call::SendResponse, &[7, ptr, len]),
                (Call::ServiceResponse, &[0, ptr, len]),
                (Call::GetAvailableTopics, &[0, ptr, len]),
                (Call::GetNodeInfo, &[ptr, len, 8, 1]),
                (Call::GetNodeInfo, &[8, 2, ptr, len]),
            ] {
                assert_eq!(ask(call, args, "/a"), Errno::Fault.code(), "{call:?} {args:?}");
            }
        }
        for number in [-1, i32::MIN, i32::MAX] {
            assert_eq!(ask(Call::CallService, &[number, 8, 1], ""), Errno::NotFound.code());
            assert_eq!(ask(Call::ServiceResponse, &[number, 8, 1], ""), Errno::NotFound.code());
            assert_eq!(ask(Call::SendResponse, &[number, 8, 1], ""), Errno::NotFound.code());
            assert_eq!(ask(Call::GetAvailableTopics, &[number, 8, 1], ""), Errno::NotFound.code());
        }
        let seen = world.device.seen();
        assert!(seen.published.is_empty() && seen.topics.is_empty());
        assert!(seen.requests.is_empty() && seen.responses.is_empty());
    });
    assert!(MAX_ROS_BYTES >= MEMORY as usize, "a page of messages is not too long");
}

#[test]
fn topics_and_channels_share_their_numbers() {
    on_both(Class::Riscv, |world| {
        // Listens to the channel `a`, the topics `/a` and `/ab` and, if it may, `/b`; ends what it is told of.
        let mut instance = world.run(
            r#"(module
            (import "wasmbed" "subscribe" (func $channel (param i32 i32) (result i32)))
            (import "wasmbed" "subscribe_topic" (func $topic (param i32 i32) (result i32)))
            (import "wasmbed" "unsubscribe" (func $unsubscribe (param i32) (result i32)))
            (import "wasmbed" "publish" (func $publish (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1 1) (data (i32.const 0) "a/ab/b")
            (func (export "tick"))
            (func (export "init") (result i32)
                (i32.store8 (i32.const 100) (call $channel (i32.const 0) (i32.const 1)))
                (i32.store8 (i32.const 101) (call $topic (i32.const 1) (i32.const 2)))
                (i32.store8 (i32.const 102) (call $topic (i32.const 4) (i32.const 2)))
                (i32.store8 (i32.const 103) (call $topic (i32.const 1) (i32.const 3)))
                (i32.store8 (i32.const 104) (call $topic (i32.const 1) (i32.const 2)))
                (call $publish (i32.const 0) (i32.const 1) (i32.const 100) (i32.const 5)))
            (func (export "message") (param $subscription i32) (param i32)
                (drop (call $unsubscribe (local.get $subscription)))))"#,
        );
        assert_eq!(instance.init(), Ok(0));
        let denied = Errno::Denied.code().to_le_bytes()[0];
        assert_eq!(world.device.seen().published[0].1, [0, 1, denied, 2, 1]);
        assert_eq!(world.device.seen().topics, ["/a", "/ab"]);
        assert_eq!(instance.topic_message(topic("/b"), vec![1]), Ok(false));
        assert_eq!(instance.topic_message(topic("/a"), vec![1]), Ok(true));
        assert_eq!(instance.topic_message(topic("/a"), vec![1]), Ok(false), "it has ended");
        assert_eq!(world.device.seen().topics, ["/ab"]);
        assert_eq!(instance.message(&"a".parse().expect("a channel"), vec![1]), Ok(true));
        assert_eq!(world.device.seen().topics, ["/ab"], "a channel is no topic");
    });
}

#[test]
fn small_boards_have_no_ros() {
    let world = World::new(Path::Bytecode, Class::Mcu);
    for (call, capability) in [
        (Call::PublishMessage, "ros.publish"),
        (Call::SubscribeTopic, "ros.subscribe"),
        (Call::CreateServiceClient, "ros.call"),
        (Call::CreateService, "ros.serve"),
    ] {
        let params = "i32 ".repeat(call.signature().params.len());
        let text = format!(
            r#"(module (import "wasmbed" "{}" (func (param {params}) (result i32)))
            (memory (export "memory") 0 0) (func (export "tick")))"#,
            call.name()
        );
        let refusal = world.load(&text).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(refusal.contains(capability) && refusal.contains("class mcu"), "{refusal}");
        assert!(World::new(Path::Bytecode, Class::Riscv).load(&text).is_ok());
    }
}
