//! A state machine that sorts the numbers in a text into kinds.

use crate::crc;

const TEXT: &[u8] =
    b"5012,1234,-874,+122,35.54400,.1234500,-110.700,+0.64400,5.500e+3,-.123e-2,-87e+832,T0.3e-1F,+6";

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Sign,
    Integer,
    Fraction,
    Exponent,
    ExponentSign,
    Scientific,
    Invalid,
}

const STATES: usize = 8;

pub(crate) fn run(seed: u16, checksum: u16) -> u16 {
    // Characters are damaged at places that depend on the seed, so that every state is seen.
    let damage = usize::from(seed % 7) + 9;
    let mut seen = [0u16; STATES];
    let mut state = State::Start;
    for (index, byte) in TEXT.iter().enumerate() {
        let byte = if index % damage == 0 { byte ^ 1 } else { *byte };
        if byte == b',' {
            seen[state as usize] += 1;
            state = State::Start;
        } else {
            state = step(state, byte);
        }
    }
    seen[state as usize] += 1;
    seen.iter().fold(checksum, |checksum, count| crc::word(checksum, *count))
}

fn step(state: State, byte: u8) -> State {
    match (state, byte) {
        (State::Start, b'+' | b'-') => State::Sign,
        (State::Start | State::Sign | State::Integer, b'0'..=b'9') => State::Integer,
        (State::Start | State::Sign | State::Integer, b'.') => State::Fraction,
        (State::Fraction, b'0'..=b'9') => State::Fraction,
        (State::Integer | State::Fraction, b'e' | b'E') => State::Exponent,
        (State::Exponent, b'+' | b'-') => State::ExponentSign,
        (State::Exponent | State::ExponentSign | State::Scientific, b'0'..=b'9') => State::Scientific,
        _ => State::Invalid,
    }
}
