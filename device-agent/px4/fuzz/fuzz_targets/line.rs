#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wasmbed_px4_fuzz::line(data));
