//! What the fuzz target does with its input, callable from ordinary tests too.

use wasmbed_abi::{Errno, RosName};
use wasmbed_gateway::{DeviceEnd, GatewayEnd, Said, Tell};
use wasmbed_wire::{
    ros::{MAX_ROS_CONTENT_BYTES, MAX_ROS_MESSAGE_BYTES, RosWhat},
    topic::{RosDown, RosUp},
};

const RUN: u32 = 1;

/// Whatever it answers.
fn ignore<T>(_: T) {}

/// Both ends, under what the input says that happens: what comes from whoever is no other end, what the module does, how
/// time passes. It panics where a promise is broken: what one end says the other reads, and both come to rest.
pub fn ends(data: &[u8]) {
    let mut ends = Ends { device: DeviceEnd::new(0, RUN), gateway: GatewayEnd::new(RUN, 1), now_ms: 0 };
    let mut rest = data;
    while let Some((op, tail)) = rest.split_first() {
        let (bytes, next) = tail.split_at(tail.len().min(usize::from(op >> 3) * 4));
        rest = next;
        match op & 7 {
            0 => ignore(ends.device.on_message(ends.now_ms, RosDown::Have, bytes)),
            1 => ignore(ends.device.on_message(ends.now_ms, RosDown::Tell, bytes)),
            2 => RosUp::ALL.iter().for_each(|kind| ends.hear(*kind, bytes)),
            3 | 4 => ends.act(bytes),
            5 => ends.tell(bytes),
            6 => ignore(ends.device.take_event(ends.now_ms)),
            _ => ends.now_ms += (bytes.len() * bytes.len()) as u64,
        }
        ends.settle();
    }
    // What there is to tell is told in the end, to a module that takes it.
    for _ in 0..1000 {
        ends.device.take_event(ends.now_ms);
        ends.settle();
        ends.now_ms += 30_000;
    }
    assert!(ends.gateway.is_free(), "something is never taken");
}

struct Ends {
    device: DeviceEnd,
    gateway: GatewayEnd,
    now_ms: u64,
}

impl Ends {
    /// The module does something with these bytes.
    fn act(&mut self, bytes: &[u8]) {
        let Ends { device, now_ms, .. } = self;
        let Some((what, bytes)) = bytes.split_first() else { return };
        let mut said = Vec::new();
        let mut port = |kind, message: &[u8]| {
            // There is not always room.
            if message.len().is_multiple_of(7) {
                return Err(Errno::Busy);
            }
            said.push((kind, message.to_vec()));
            Ok(())
        };
        let (name, content) = bytes.split_at(bytes.len().min(5));
        let name = RosName::parse(name).unwrap_or_else(|_| RosName::parse(b"/a").expect("a name"));
        let mut out = [0; 64];
        match what % 10 {
            0 => ignore(device.publish(*now_ms, name, content, &mut port)),
            1 => ignore(device.subscribe(*now_ms, name)),
            2 => device.unsubscribe(*now_ms, name),
            3 => ignore(device.client(*now_ms, name)),
            4 => ignore(device.call(*now_ms, u32::from(*what) / 10 % 9, content, &mut port)),
            5 => ignore(device.response(u32::from(*what), &mut out)),
            6 => ignore(device.offer(*now_ms, name)),
            7 => ignore(device.respond(u32::from(*what), content, &mut port)),
            8 => ignore(device.topic(*now_ms, u32::from(*what), &mut out, &mut port)),
            _ => ignore(device.node(*now_ms, name, &mut out, &mut port)),
        }
        said.into_iter().for_each(|(kind, message)| self.hear_own(kind, &message));
    }

    /// The gateway has something to tell.
    fn tell(&mut self, bytes: &[u8]) {
        let Some((what, bytes)) = bytes.split_first() else { return };
        if !self.gateway.is_free() {
            return;
        }
        let all = [RosWhat::Message, RosWhat::Request, RosWhat::Response, RosWhat::Answer, RosWhat::Notice];
        let content = match what % 3 {
            0 => Err(Errno::TimedOut),
            _ => Ok(bytes.get(..bytes.len().min(MAX_ROS_CONTENT_BYTES - 2)).unwrap_or_default().to_vec()),
        };
        let what = all[usize::from(*what) % all.len()];
        self.gateway.tell(self.now_ms, Tell { what, name: "/a".to_owned(), ticket: 0, content });
    }

    /// Lets both say what they have to, now.
    fn settle(&mut self) {
        for _ in 0..100 {
            let mut said = Vec::new();
            self.device.poll(self.now_ms, &mut |kind, message| {
                said.push((kind, message.to_vec()));
                Ok(())
            });
            let told = self.gateway.poll(self.now_ms);
            if said.is_empty() && told.is_none() {
                return;
            }
            said.into_iter().for_each(|(kind, message)| self.hear_own(kind, &message));
            if let Some(told) = told {
                assert!(told.len() <= MAX_ROS_MESSAGE_BYTES);
                self.device.on_message(self.now_ms, RosDown::Tell, &told).expect("the gateway's own");
            }
        }
        panic!("they speak without end");
    }

    fn hear_own(&mut self, kind: RosUp, message: &[u8]) {
        assert!(message.len() <= MAX_ROS_MESSAGE_BYTES);
        let said = Said::read(kind, message).expect("the device's own");
        assert_eq!(said.run(), RUN);
        self.hear(kind, message);
    }

    fn hear(&mut self, kind: RosUp, message: &[u8]) {
        match Said::read(kind, message) {
            Ok(Said::Want(want)) if want.run == RUN => {
                self.gateway.is_newer(want.number);
            }
            Ok(Said::Call(call)) if call.run == RUN => {
                self.gateway.is_first_call(call.ticket);
                assert!(!self.gateway.is_first_call(call.ticket), "it is made twice");
            }
            Ok(Said::Taken(taken)) if taken.run == RUN => self.gateway.on_taken(self.now_ms, taken.seq),
            _ => {}
        }
    }
}
