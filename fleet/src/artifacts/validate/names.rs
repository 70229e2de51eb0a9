//! What functions are called in messages.

use std::collections::BTreeMap;

use wasmparser::{CustomSectionReader, ExternalKind, KnownCustom, Name};

/// Characters of a name that are shown; those of generic functions are longer than a line.
const SHOWN: usize = 60;

/// Names from the name section, which may be absent, broken or wrong: nothing but messages uses them.
#[derive(Default)]
pub(super) struct Names(BTreeMap<u32, String>);

impl Names {
    /// Takes the names from a custom section, if it holds any.
    pub(super) fn note(&mut self, section: &CustomSectionReader<'_>) {
        let KnownCustom::Name(subsections) = section.as_known() else { return };
        for subsection in subsections {
            let Ok(Name::Function(names)) = subsection else { continue };
            self.0.extend(
                names.into_iter().map_while(Result::ok).map(|naming| (naming.index, shown(naming.name))),
            );
        }
    }

    /// The name of a function: its own, that of its export, or its number.
    pub(super) fn of(&self, index: u32, exports: &[(String, ExternalKind, u32)]) -> String {
        if let Some(name) = self.0.get(&index) {
            return name.clone();
        }
        let is_it =
            |(_, kind, at): &&(String, ExternalKind, u32)| *kind == ExternalKind::Func && *at == index;
        match exports.iter().find(is_it) {
            Some((name, ..)) => shown(name),
            None => format!("function {index}"),
        }
    }
}

/// A name as its author wrote it, that does no harm to a terminal.
fn shown(name: &str) -> String {
    let name = format!("{:#}", rustc_demangle::demangle(name));
    let escaped = name.escape_debug();
    if name.chars().nth(SHOWN).is_none() {
        escaped.to_string()
    } else {
        escaped.take(SHOWN).chain(['…']).collect()
    }
}
