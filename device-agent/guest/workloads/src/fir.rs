//! A low-pass filter over noise, with numbers of 16 bits as a sensor gives them.

const TAPS: usize = 32;
const SAMPLES: usize = 512;
/// Signals that are filtered one after the other.
const SIGNALS: u32 = 8;
/// One in the coefficients' fixed-point numbers is this power of two.
const FRACTION_BITS: u32 = 15;

/// Half of a symmetric filter: a triangle, whose sum is a little less than one.
const HALF: [i16; TAPS / 2] = {
    let mut half = [0; TAPS / 2];
    let mut index = 0;
    while index < half.len() {
        half[index] = 120 * (index as i16 + 1);
        index += 1;
    }
    half
};

/// Filters several signals, each made from the last one's checksum; returns the last checksum.
pub fn filter(seed: u32) -> u32 {
    (0..SIGNALS).fold(seed, |seed, _| checksum(&filtered(&noise(seed), &taps())))
}

fn taps() -> [i16; TAPS] {
    let mut taps = [0; TAPS];
    for (index, value) in HALF.into_iter().enumerate() {
        taps[index] = value;
        taps[TAPS - 1 - index] = value;
    }
    taps
}

fn noise(seed: u32) -> [i16; SAMPLES] {
    let mut state = seed;
    [0; SAMPLES].map(|_: i16| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i16
    })
}

/// Zero where the window is not full yet.
fn filtered(samples: &[i16; SAMPLES], taps: &[i16; TAPS]) -> [i16; SAMPLES] {
    let mut out = [0; SAMPLES];
    for (window, out) in samples.windows(TAPS).zip(&mut out[TAPS - 1..]) {
        let sum: i32 =
            window.iter().zip(taps).map(|(sample, tap)| i32::from(*sample) * i32::from(*tap)).sum();
        *out = (sum >> FRACTION_BITS) as i16;
    }
    out
}

fn checksum(samples: &[i16; SAMPLES]) -> u32 {
    samples.iter().fold(1, |sum, sample| sum.rotate_left(5) ^ u32::from(sample.cast_unsigned()))
}
