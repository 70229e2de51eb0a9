//! What the boards' images for measurements carry.

use std::{fs, path::Path};

use wasmbed_runtime::{Target, compile, measuring_loop};
use wasmbed_wire::limits::Class;
use wasmtime::{Engine, Result, error::Context as _};

use crate::{Module, machine::uncounted, text};

/// Writes `measuring-loop`, and for each class of boards a folder of its name, with modules as WebAssembly, as
/// bytecode and as bytecode that does not count fuel.
pub(crate) fn write(fir: &Module, mixed: &Module, out: &Path) -> Result<()> {
    let modules = [
        ("fir", fir.boards.clone()),
        ("mixed", mixed.boards.clone()),
        ("empty", text::empty()?),
        ("calls-plain", text::calls_plain()?),
        ("calls-slices", text::calls_slices()?),
        ("small", text::small()?),
    ];
    for class in [Class::Mcu, Class::Riscv] {
        let dir = out.join(class.name());
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let without_fuel = Engine::new(&uncounted(class, Target::Pulley32)?)?;
        for (name, wasm) in &modules {
            keep(&dir.join(name).with_extension("wasm"), wasm)?;
            keep(&dir.join(name).with_extension("pulley"), &compile(wasm, Target::Pulley32, class)?)?;
            keep(&dir.join(name).with_extension("uncounted"), &without_fuel.precompile_module(wasm)?)?;
        }
    }
    keep(&out.join("measuring-loop"), &measuring_loop()?)
}

/// Writes what has changed, so that an image is not built again for nothing.
fn keep(path: &Path, contents: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|found| found == contents) {
        return Ok(());
    }
    fs::write(path, contents).with_context(|| path.display().to_string())
}
