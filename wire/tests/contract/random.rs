//! The fuzz targets on random bytes and on damaged messages: no decoder panics, and what one reads it
//! writes back.

use proptest::{collection::vec, prelude::*, sample::Index};

use super::{entries, samples::samples};

fn every_entry(data: &[u8]) {
    entries::link_bytes(data);
    entries::messages(data);
    entries::manifest(data);
    entries::keyring(data);
    entries::topics(data);
    entries::bridge(data);
    entries::nor(data);
    entries::provision(data);
}

/// What most random input never reaches: nearly a message.
fn every_message(data: &[u8]) {
    for which in 0..19 {
        entries::messages(&[&[which], data].concat());
    }
    entries::manifest(data);
    entries::keyring(data);
    entries::provision(data);
    entries::provision(&[b"WBPV", &(data.len() as u16).to_le_bytes()[..], data].concat());
}

#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        2 => at().prop_map(Damage::Remove),
        1 => at().prop_map(Damage::Cut),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        match damage {
            Damage::Insert(at, byte) => bytes.insert(at.index(bytes.len() + 1), *byte),
            _ if bytes.is_empty() => {}
            Damage::Set(at, byte) => *at.get_mut(&mut bytes) = *byte,
            Damage::Remove(at) => drop(bytes.remove(at.index(bytes.len()))),
            Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
        }
    }
    bytes
}

#[test]
fn samples_pass_the_entries() {
    samples().iter().for_each(|sample| every_message(&sample.bytes));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_taken(data in vec(any::<u8>(), 0..400)) {
        every_entry(&data);
        every_message(&data);
    }

    #[test]
    fn damaged_messages_are_taken(which in any::<Index>(), damages in vec(damage(), 1..6)) {
        let samples = samples();
        every_message(&damaged(which.get(&samples).bytes.clone(), &damages));
    }
}
