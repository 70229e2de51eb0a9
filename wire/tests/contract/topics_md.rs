//! `topics.md` says what the code does: its tables of topics, messages, values and verbs.

use std::{collections::BTreeSet, fs, path::Path};

use wasmbed_wire::{
    keyring::Role,
    topic::{Delivery, Down, Up},
};

use super::{
    source::{self, Shape},
    topics::{every_down, every_up},
};

/// A table with the heading it stands under; cells without their backticks.
struct Table {
    heading: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

fn repository(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().trim_start_matches('|').trim_end_matches('|');
    inner.split('|').map(|cell| cell.trim().replace('`', "")).collect()
}

fn tables() -> Vec<Table> {
    let text = repository("topics.md");
    let mut tables: Vec<Table> = Vec::new();
    let (mut heading, mut inside) = (String::new(), false);
    for line in text.lines() {
        if line.starts_with('#') {
            heading = line.trim_start_matches('#').trim().to_owned();
        }
        match (line.starts_with('|'), inside) {
            (true, false) => {
                tables.push(Table { heading: heading.clone(), head: cells(line), rows: Vec::new() });
            }
            (true, true) if line.starts_with("|---") => {}
            (true, true) => tables.last_mut().expect("one is open").rows.push(cells(line)),
            (false, _) => {}
        }
        inside = line.starts_with('|');
    }
    tables
}

/// The rows of the tables with these columns, each with its table's heading.
fn rows(columns: &[&str]) -> Vec<(String, Vec<String>)> {
    let found = tables().into_iter().filter(|table| table.head == columns);
    let rows: Vec<_> =
        found.flat_map(|table| table.rows.into_iter().map(move |row| (table.heading.clone(), row))).collect();
    assert!(!rows.is_empty(), "there is no table with columns {columns:?}");
    rows
}

fn line(topic: &str, delivery: Delivery) -> String {
    format!("{topic} QoS {} retained {}", delivery.qos, if delivery.retain { "yes" } else { "no" })
}

#[test]
fn every_device_topic_is_listed_as_it_travels() {
    let ups = every_up().into_iter().map(|up| {
        let topic = match up {
            Up::Telemetry(_) => "up/tm/{channel}".to_owned(),
            Up::Message(..) => "up/msg/{instance}/{channel}".to_owned(),
            Up::Ros(kind, _) => format!("up/ros/{}/{{instance}}", kind.name()),
            Up::Log(_) => "up/log/{level}".to_owned(),
            Up::Result(_) => "up/res/{id}".to_owned(),
            plain => plain.to_string(),
        };
        line(&topic, up.delivery())
    });
    let downs = every_down().into_iter().map(|down| {
        let topic = match down {
            Down::Block(_) => "dn/blk/{artifact}".to_owned(),
            Down::Command(_) => "dn/cmd/{id}".to_owned(),
            Down::Message(..) => "dn/msg/{instance}/{channel}".to_owned(),
            Down::Ros(kind, _) => format!("dn/ros/{}/{{instance}}", kind.name()),
            Down::Desired => "dn/desired".to_owned(),
            Down::Keys => "dn/keys".to_owned(),
        };
        line(&topic, down.delivery())
    });
    let listed = rows(&["topic", "QoS", "retained", "payload", "what"])
        .into_iter()
        .map(|(_, row)| format!("{} QoS {} retained {}", row[0], row[1], row[2]));
    assert_eq!(listed.collect::<Vec<_>>(), ups.chain(downs).collect::<Vec<_>>());
}

#[test]
fn every_field_of_every_message_is_listed() {
    let listed = rows(&["n", "field", "type", "meaning"]).into_iter().map(|(message, row)| {
        assert!(!row[3].is_empty(), "{message}.{} needs a meaning", row[1]);
        format!("{message} {} {} {}", row[0], row[1], row[2])
    });
    let types = ["message.rs", "ros.rs", "keyring.rs"].into_iter().flat_map(source::declared);
    let declared = types.flat_map(|declared| match declared.kind {
        Shape::Map(fields) => fields
            .into_iter()
            .map(|field| format!("{} {} {} {}", declared.name, field.number, field.name, field.of))
            .collect(),
        Shape::Enum(_) => Vec::new(),
    });
    assert_eq!(listed.collect::<Vec<_>>(), declared.collect::<Vec<_>>());
}

#[test]
fn every_value_is_listed() {
    let listed = rows(&["type", "values"]).into_iter().map(|(_, row)| format!("{}: {}", row[0], row[1]));
    let types = ["limits.rs", "message.rs", "ros.rs"].into_iter().flat_map(source::declared);
    let declared = types.filter_map(|declared| match declared.kind {
        Shape::Enum(values) => {
            let values: Vec<_> = values.iter().map(|(number, name)| format!("{number} {name}")).collect();
            Some(format!("{}: {}", declared.name, values.join(", ")))
        }
        Shape::Map(_) => None,
    });
    assert_eq!(listed.collect::<Vec<_>>(), declared.collect::<Vec<_>>());
}

#[test]
fn every_role_is_listed_with_its_bit() {
    let roles: Vec<_> = Role::ALL.into_iter().map(|role| format!("{} {role}", role as u8)).collect();
    let listed = rows(&["type", "what it is in CBOR"]).into_iter().find(|(_, row)| row[0] == "Roles");
    let listed = listed.map(|(_, row)| row[1].clone()).unwrap_or_default();
    assert!(listed.ends_with(&roles.join(", ")), "{listed}");
}

#[test]
fn every_type_is_explained() {
    let plain = rows(&["type", "what it is in CBOR"]).into_iter().map(|(_, row)| row[0].clone());
    let values = rows(&["type", "values"]).into_iter().map(|(_, row)| row[0].clone());
    let known: BTreeSet<String> = plain
        .chain(values)
        .flat_map(|cell| cell.split(", ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let messages: BTreeSet<String> = tables().into_iter().map(|table| table.heading).collect();
    for (message, row) in rows(&["n", "field", "type", "meaning"]) {
        let of = row[2].trim_matches(['[', ']', '?']);
        assert!(known.contains(of) || messages.contains(of), "{message}.{}: what is {of}?", row[1]);
    }
}

/// The service's verbs live in a crate that depends on this one, so they are read from its source.
#[test]
fn every_verb_is_listed() {
    let listed = rows(&["verb", "fields", "answers"]).into_iter().map(|(_, row)| row[0].clone());
    let file = syn::parse_file(&repository("fleet/src/api.rs")).expect("it compiles, so it parses");
    let verbs = file.items.iter().find_map(|item| match item {
        syn::Item::Const(item) if item.ident == "VERBS" => Some(&*item.expr),
        _ => None,
    });
    let Some(syn::Expr::Array(verbs)) = verbs else { panic!("fleet/src/api.rs has an array VERBS") };
    let declared = verbs.elems.iter().filter_map(|verb| match verb {
        syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(verb), .. }) => Some(verb.value()),
        _ => None,
    });
    assert_eq!(listed.collect::<Vec<_>>(), declared.collect::<Vec<_>>());
}

#[test]
fn every_link_leads_somewhere() {
    let text = repository("topics.md");
    let anchor = |heading: &str| heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
    let anchors: BTreeSet<String> = text.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    let links = text.split("](#").skip(1).filter_map(|rest| rest.split_once(')'));
    for (link, _) in links {
        assert!(anchors.contains(link), "nothing is called #{link}");
    }
}
