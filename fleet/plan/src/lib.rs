//! wasmbed-plan
