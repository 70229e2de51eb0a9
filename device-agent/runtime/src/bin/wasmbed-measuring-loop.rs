//! Writes the loop that boards time at their start, compiled, to the file named on the command line.

use std::{env, error::Error, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args_os().nth(1).ok_or("name the file to write")?;
    fs::write(path, wasmbed_runtime::measuring_loop()?)?;
    Ok(())
}
