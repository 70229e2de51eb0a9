//! Clients that mean harm, with and without a password: the broker goes on serving the others.

use crate::common::*;
use tokio::io::AsyncWriteExt;
use wasmbed_broker::credentials::Role;

/// Numbers that look random and are the same each time (Knuth's MMIX constants).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % below
    }

    fn pick<'a>(&mut self, among: &[&'a str]) -> &'a str {
        among[self.next(among.len())]
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next(256) as u8).collect()
    }

    /// A packet that is valid, nearly valid or nonsense.
    fn packet(&mut self, is_v5: bool) -> Vec<u8> {
        const LEVELS: &[&str] =
            &["wasmbed", "v1", "pump-7", "up", "dn", "+", "#", "", "$share", "g", "ü", "a/b", "\0", "*"];
        let levels: Vec<&str> = (0..=self.next(7)).map(|_| self.pick(LEVELS)).collect();
        let free = levels.join("/");
        let topic = match self.next(3) {
            0 => free,
            1 => format!("wasmbed/v1/pump-7/up/{free}"),
            _ => format!("$share/g/wasmbed/{free}"),
        };
        let first = [0x30, 0x32, 0x34, 0x35, 0x62, 0x82, 0xA2, 0x40, 0x50, 0x70][self.next(10)];
        let mut body = Vec::new();
        if matches!(first, 0x30..0x40) {
            body.extend(text(&topic));
        }
        if first != 0x30 {
            body.extend([0, self.next(4) as u8]);
        }
        if is_v5 && matches!(first, 0x30..0x40 | 0x82 | 0xA2) {
            body.push(0);
        }
        match first {
            0x30..0x40 => body.extend(vec![b'x'; self.next(2000)]),
            0x82 | 0xA2 => {
                body.extend(text(&topic));
                if first == 0x82 {
                    body.push(self.next(64) as u8);
                }
            }
            _ => {}
        }
        if self.next(20) == 0 {
            let at = self.next(body.len());
            let len = self.next(5);
            body.splice(at..at, self.bytes(len));
        }
        packet(first, &body)
    }
}

async fn is_alive(running: &Running) {
    let mut service = running.connect(Role::Service, "witness").await;
    service.subscribe("wasmbed/witness", 1).await;
    service.publish("wasmbed/witness", b"alive", 0, false, 0).await;
    assert_eq!(service.received().await.payload, b"alive");
}

#[tokio::test]
async fn nonsense_before_authentication_hurts_nobody() {
    let running = Running::start().await;
    let mut numbers = Numbers(1);
    let valid =
        Connect { version: 5, properties: vec![33, 0, 9], ..Connect::new(Role::Service, "x") }.bytes();
    for _ in 0..500 {
        let mut raw = running.open().await;
        let mut bytes = valid.clone();
        for _ in 0..=numbers.next(4) {
            let at = numbers.next(bytes.len());
            bytes[at] = numbers.next(256) as u8;
        }
        bytes.truncate(numbers.next(bytes.len() + 20));
        // It may be refused while we are still sending.
        let _ = raw.stream.write_all(&bytes).await;
    }
    is_alive(&running).await;
}

#[tokio::test]
async fn nonsense_from_those_with_a_password_hurts_nobody() {
    let running = Running::start().await;
    let mut numbers = Numbers(2);
    for round in 0..300 {
        let is_v5 = round % 2 == 0;
        let role = if round % 3 == 0 { device("pump-7") } else { Role::Service };
        let connect = Connect {
            version: if is_v5 { 5 } else { 4 },
            clean: round % 5 != 0,
            properties: if is_v5 { vec![17, 0, 0, 0, 9] } else { vec![] },
            ..Connect::new(role, "pump-7")
        };
        let mut raw = running.open().await;
        raw.send(&connect.bytes()).await;
        raw.packet().await;
        for _ in 0..numbers.next(30) {
            let packet = numbers.packet(is_v5);
            if raw.stream.write_all(&packet).await.is_err() {
                break;
            }
        }
        // Closing at once would take back what was not looked at yet.
        let _ = raw.stream.write_all(&[0xC0, 0]).await;
        while within(raw.try_packet()).await.is_some_and(|(first, _)| first != 0xD0) {}
    }
    is_alive(&running).await;
    running.stop().await.expect("the router lives");
}

#[tokio::test]
async fn a_device_cannot_fill_the_memory_with_topics() {
    let running = Running::start().await;
    let mut device = running.connect(device("pump-7"), "pump-7").await;
    for number in 0..2000 {
        device.publish(&format!("wasmbed/v1/pump-7/up/{number}/{number}/{number}"), b"x", 0, true, 0).await;
    }
    running.until(|count| count.messages_in + count.retain_refused == 2000).await;
    let count = running.meter.snapshot();
    assert_eq!((count.retained, count.retain_refused), (100, 1900));
    is_alive(&running).await;
}
