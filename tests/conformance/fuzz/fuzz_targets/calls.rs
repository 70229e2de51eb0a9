#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wasmbed_conformance::any_calls(data));
