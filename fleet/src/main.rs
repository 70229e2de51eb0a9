//! `wasmbed`: the fleet service, the host role and the command line.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use wasmbed_fleet::cli::{Cli, run};

#[tokio::main]
async fn main() -> ExitCode {
    run(Cli::parse()).await
}
