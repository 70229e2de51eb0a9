//! The chip's serial line.

use std::{io, time::Duration};

use tokio::{
    net::{UnixListener, UnixStream},
    time::sleep,
};
use wasmbed_wire::{
    DeviceId,
    nor::{Answer, Fault, Frames, MAX_DATA_BYTES, MAX_FRAME_BYTES, Request},
};

use super::{Chip, Demand, Outcome};

/// Bytes read from the line at once: many requests of a board that does not wait for each answer.
const READ_BYTES: usize = 16 * 1024;
/// Pause after a failure that is the machine's, not the line's.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Answers over whatever connects to `listener`, one after the other, until the board needs more than an
/// answer. Whenever it asks for something `heard` is called.
pub(in crate::host) async fn attend(
    device: &DeviceId,
    listener: &UnixListener,
    chip: &mut Chip,
    mut heard: impl FnMut(),
) -> Demand {
    loop {
        match listener.accept().await {
            Ok((line, _)) => match serve(&line, chip, &mut heard).await {
                Ok(demand) => return demand,
                Err(error) => tracing::debug!(%device, %error, "the line of a flash chip ended"),
            },
            Err(error) => {
                tracing::warn!(%device, %error, "could not accept the line of a flash chip");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve(line: &UnixStream, chip: &mut Chip, heard: &mut impl FnMut()) -> io::Result<Demand> {
    let mut frames = Frames::new();
    let mut input = vec![0; READ_BYTES];
    let mut output = Vec::new();
    loop {
        line.readable().await?;
        let len = match line.try_read(&mut input) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        };
        heard();
        for byte in &input[..len] {
            let Some(body) = frames.push(*byte) else { continue };
            if let Some(demand) = answer(chip, body, &mut output) {
                return Ok(demand);
            }
        }
        write_all(line, &output).await?;
        output.clear();
    }
}

/// Adds the answer to `output`, unless there is something better to do.
fn answer(chip: &mut Chip, body: &[u8], output: &mut Vec<u8>) -> Option<Demand> {
    let mut data = [0; MAX_DATA_BYTES];
    let (number, result) = match Request::decode(body) {
        Ok(request) => match chip.perform(request.operation, &mut data) {
            Outcome::Answer(result) => (request.number, result),
            Outcome::Demand(demand) => return Some(demand),
        },
        // Whoever sent a frame that is whole waits for its answer.
        Err(_) => (*body.first()?, Err(Fault::Unknown)),
    };
    let mut frame = [0; MAX_FRAME_BYTES];
    let len = Answer { number, result }.encode(&mut frame)?;
    output.extend_from_slice(&frame[..len]);
    None
}

async fn write_all(line: &UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match line.try_write(bytes) {
            Ok(len) => bytes = &bytes[len..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => line.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
