#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| wasmbed_gateway_fuzz::ends(data));
