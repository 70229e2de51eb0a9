//! The table of what boards can do is whole, names tests that there are, and is the one of `docs/boards.md`.

use std::{collections::BTreeSet, env, fs, path::Path, process::Command};

use anyhow::{Result, ensure};
use wasmbed_boards::{Board, Boards};
use wasmbed_e2e::features::{self, Feature};

#[test]
fn the_page_says_for_every_board_what_shows_it_or_why_not() -> Result<()> {
    let boards = Boards::embedded()?;
    let tests = tests()?;
    for Feature { what, test, devices, but } in features::ALL {
        ensure!(tests.contains(test), "{what}: there is no test {test}");
        let shown: BTreeSet<&str> = devices.iter().map(|(_, board)| *board).collect();
        let not: BTreeSet<&str> = but.iter().map(|(board, _)| *board).collect();
        ensure!(shown.is_disjoint(&not), "{what}: boards on which it is shown need no reason why not");
        let all: BTreeSet<&str> = boards.iter().map(|board| board.name.as_str()).collect();
        let told: BTreeSet<&str> = shown.union(&not).copied().collect();
        ensure!(told == all, "{what}: told of {told:?}; there are {all:?}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/boards.md");
    let page = fs::read_to_string(&path)?;
    let (before, _) = page.split_once("| | ").unwrap_or((&page, ""));
    let expected = format!("{before}{}", table(&boards));
    if env::var_os("WASMBED_BLESS").is_some() {
        return Ok(fs::write(&path, expected)?);
    }
    ensure!(page == expected, "docs/boards.md is out of date; WASMBED_BLESS=1 writes it:\n{expected}");
    Ok(())
}

/// The paths of all end-to-end tests.
fn tests() -> Result<BTreeSet<String>> {
    let listed = Command::new(env::current_exe()?).args(["--list", "--format", "terse"]).output()?;
    let listed = String::from_utf8(listed.stdout)?;
    Ok(listed.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect())
}

fn table(boards: &Boards) -> String {
    let boards: Vec<&Board> = boards.iter().collect();
    let names: Vec<&str> = boards.iter().map(|board| board.name.as_str()).collect();
    let mut table = format!("| | {} |\n|---{}|\n", names.join(" | "), "|---".repeat(names.len()));
    let mut notes: Vec<String> = Vec::new();
    for Feature { what, test, devices, but } in features::ALL {
        let cells = names.iter().map(|name| {
            if devices.iter().any(|(_, board)| board == name) {
                return "yes".to_owned();
            }
            let why = but.iter().find(|(board, _)| board == name).map_or("", |(_, why)| *why);
            let known = notes.iter().position(|note| note == why);
            let number = known.unwrap_or_else(|| {
                notes.push(why.to_owned());
                notes.len() - 1
            });
            format!("({})", number + 1)
        });
        let cells: Vec<String> = cells.collect();
        table.push_str(&format!("| {what}: `{test}` | {} |\n", cells.join(" | ")));
    }
    for (note, number) in notes.iter().zip(1..) {
        table.push_str(&format!("\n({number}) {note}.\n"));
    }
    table
}
