//! Messages in the words of a trace.

use std::fmt::Write;

use wasmbed_wire::{
    message::{Block, CommandResult, Desired, Get, Refused, Reported, State},
    sign1::Sign1,
    topic::{Down, Up},
};

/// One line for what a device says.
pub(crate) fn describe_up(topic: &Up, payload: &[u8]) -> String {
    let text = match topic {
        Up::State => {
            minicbor::decode::<State>(payload).map(|state| format!("{:?}", state.status).to_lowercase())
        }
        Up::Get => minicbor::decode::<Get>(payload).map(|get| format!("get {}", blocks(&get))),
        Up::Reported => minicbor::decode::<Reported<'_>>(payload).map(|reported| describe_report(&reported)),
        Up::Result(id) => minicbor::decode::<CommandResult>(payload)
            .map(|result| format!("answer {id} {:?}", result.outcome)),
        Up::Refused => minicbor::decode::<Refused>(payload)
            .map(|refused| format!("refused {:?} {:?}", refused.subject, refused.reason)),
        other => Ok(other.to_string()),
    };
    text.unwrap_or_else(|_| "something malformed".into())
}

/// One line for what a device is told.
pub(crate) fn describe_down(topic: &str, payload: &[u8]) -> String {
    let text = match Down::parse(topic) {
        Some(Down::Block(_)) => {
            minicbor::decode::<Block<'_>>(payload).map(|block| format!("block {}", block.index))
        }
        Some(Down::Desired) => {
            let signed = Sign1::decode(payload).map_or(payload, |signed| signed.payload);
            minicbor::decode::<Desired<'_>>(signed).map(|desired| format!("desired r{}", desired.revision))
        }
        _ => Ok(topic.to_owned()),
    };
    text.unwrap_or_else(|_| "something malformed".into())
}

fn blocks(get: &Get) -> String {
    let asked = (0..32).filter(|bit| get.bitmap & 1 << bit != 0);
    asked.map(|bit| (get.base + bit).to_string()).collect::<Vec<_>>().join(" ")
}

fn describe_report(reported: &Reported<'_>) -> String {
    let mut text = format!("reported r{}", reported.revision);
    for module in reported.modules.iter() {
        let _ = write!(text, " {} {:?}", module.name, module.state);
        if let Some(reason) = module.reason {
            let _ = write!(text, " ({reason:?})");
        }
    }
    if let Some(firmware) = reported.firmware {
        let _ = write!(text, " firmware {:?} {} %", firmware.state, firmware.progress);
        if let Some(reason) = firmware.reason {
            let _ = write!(text, " ({reason:?})");
        }
    }
    text
}
