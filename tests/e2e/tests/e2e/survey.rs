//! What real devices answer to every call; the second table of `docs/conformance.md`.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use wasmbed_abi::{Call, Errno};
use wasmbed_boards::Boards;
use wasmbed_conformance::{CHANNEL, answers, survey};
use wasmbed_e2e::{
    BrokerKind, Fleet, Limit,
    features::{self, Devices},
};
use wasmbed_wire::limits::Class;

const DEVICES: Devices = features::CALLS.devices;
/// What is granted to nobody unasked.
const GRANTS: [&str; 7] = [
    "bus",
    "network:tcp:127.0.0.1:9",
    "px4.command",
    "ros.publish:/a",
    "ros.subscribe:/a",
    "ros.call:/a",
    "ros.serve:/a",
];

#[test]
fn every_device_answers_as_the_page_says() -> Result<()> {
    let (fleet, boards) = (Fleet::start_with(BrokerKind::Embedded, DEVICES)?, Boards::embedded()?);
    let file = fleet.dir().join("survey.wasm");
    fs::write(&file, wat::parse_str(survey())?)?;
    fleet.cli(&[&["module", "grant", "survey"], &GRANTS[..]].concat())?;
    fleet.cli(&["module", "push", &file.to_string_lossy(), "--version", "1.0.0"])?;
    fleet.cli(&["deploy", "survey", "--to", "all", "--wait"])?;
    let mut columns = Vec::new();
    for (id, board) in DEVICES {
        let class = boards.get(&board.parse()?).context("there is no such board")?.class;
        fleet.wait_running(id, "survey", Limit::seconds(20))?;
        let payload = fleet.subscribe_bytes(&format!("wasmbed/v1/{id}/up/tm/{CHANNEL}"))?;
        let answers = answers(&payload).with_context(|| format!("{id}: {} bytes", payload.len()))?;
        columns.push(
            answers
                .into_iter()
                .map(|(call, answer)| cell(call, class, answer))
                .collect::<Result<Vec<_>>>()?,
        );
    }
    check(&columns)
}

fn cell(call: Call, class: Class, answer: Result<i32, Errno>) -> Result<&'static str> {
    let is_allowed = call.capability().allowed_on(class);
    match answer {
        Err(Errno::Unsupported) if is_allowed => Ok("unsupported"),
        Err(Errno::Unsupported) => Ok("refused"),
        _ => {
            ensure!(is_allowed, "{class} lacks `{}` and answers {answer:?}", call.name());
            Ok("yes")
        }
    }
}

fn check(columns: &[Vec<&str>]) -> Result<()> {
    let boards: Vec<&str> = DEVICES.iter().map(|(_, board)| *board).collect();
    let mut table = format!("| call | {} |\n|---{}|\n", boards.join(" | "), "|---".repeat(boards.len()));
    for (nth, call) in Call::ALL.iter().enumerate() {
        let cells: Vec<&str> = columns.iter().map(|column| column[nth]).collect();
        table.push_str(&format!("| `{}` | {} |\n", call.name(), cells.join(" | ")));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/conformance.md");
    let page = fs::read_to_string(&path)?;
    let (before, _) = page.split_once("| call | linux |").unwrap_or((&page, ""));
    let expected = format!("{before}{table}");
    if std::env::var_os("WASMBED_BLESS").is_some() {
        return Ok(fs::write(&path, expected)?);
    }
    ensure!(page == expected, "docs/conformance.md is out of date; WASMBED_BLESS=1 writes it:\n{table}");
    Ok(())
}
