//! Encoding for heatshrink's decoder: the shortest stream of its format for the given bytes.
//!
//! Our own because the encoders at hand take the first good copy, in a window that the caller guesses;
//! choosing all copies together and trying every window makes patches of firmware a sixth smaller or more.

use std::{vec, vec::Vec};

use super::{LITERAL_BITS, MAX_WINDOW_BITS, MIN_LOOKAHEAD_BITS, MIN_WINDOW_BITS};
use crate::create::common_prefix;

/// Windows worth trying; all of them fit a board.
const WINDOW_BITS: [u8; 3] = [MAX_WINDOW_BITS - 2, MAX_WINDOW_BITS - 1, MAX_WINDOW_BITS];
/// The longest copy of any lookahead that goes with these windows.
const MAX_COPY: usize = 1 << (MAX_WINDOW_BITS - 1);

/// Window and lookahead, as logarithms of bytes.
#[derive(Debug, Clone, Copy)]
struct Shape {
    window_bits: u8,
    lookahead_bits: u8,
}

impl Shape {
    fn copy_bits(self) -> u8 {
        1 + self.window_bits + self.lookahead_bits
    }

    fn header(self) -> u8 {
        (self.window_bits - MIN_WINDOW_BITS) << 4 | (self.lookahead_bits - MIN_LOOKAHEAD_BITS)
    }
}

/// Bytes that occurred before, not further back than a window reaches.
#[derive(Debug, Clone, Copy, Default)]
struct Copy {
    distance: u16,
    /// 0 if there are none.
    len: u16,
}

/// Appends the header byte and the stream, with the window and lookahead that make it shortest.
pub(crate) fn compress(out: &mut Vec<u8>, data: &[u8]) {
    let copies = longest_copies(data);
    let shapes = WINDOW_BITS.into_iter().zip(&copies).flat_map(|(window_bits, copies)| {
        (MIN_LOOKAHEAD_BITS..window_bits)
            .map(move |lookahead_bits| (Shape { window_bits, lookahead_bits }, copies))
    });
    let plans = shapes.map(|(shape, copies)| (shape, Plan::new(copies, shape)));
    if let Some((shape, plan)) = plans.min_by_key(|(_, plan)| plan.bits) {
        out.push(shape.header());
        plan.write(out, data, shape);
    }
}

/// The shortest encoding with one shape.
struct Plan {
    bits: u64,
    /// For every place the copy to make if a literal or copy begins there; a literal where its length is 0.
    copies: Vec<Copy>,
}

impl Plan {
    /// The longest copy is as good as any shorter one, because what is left after it is the end of what
    /// the shorter one leaves.
    fn new(longest: &[Copy], shape: Shape) -> Plan {
        let mut bits = vec![0_u64; longest.len() + 1];
        let mut copies = longest.to_vec();
        for (place, copy) in copies.iter_mut().enumerate().rev() {
            copy.len = copy.len.min(1 << shape.lookahead_bits);
            let as_literal = u64::from(LITERAL_BITS) + bits[place + 1];
            let as_copy = u64::from(shape.copy_bits()) + bits[place + usize::from(copy.len)];
            if copy.len == 0 || as_literal <= as_copy {
                copy.len = 0;
                bits[place] = as_literal;
            } else {
                bits[place] = as_copy;
            }
        }
        Plan { bits: bits[0], copies }
    }

    fn write(&self, out: &mut Vec<u8>, data: &[u8], shape: Shape) {
        let mut writer = BitWriter { out, bits: 0, count: 0 };
        let mut place = 0;
        while let (Some(&byte), Some(copy)) = (data.get(place), self.copies.get(place)) {
            if copy.len == 0 {
                writer.write(0x100 | u32::from(byte), LITERAL_BITS);
                place += 1;
            } else {
                let (distance, len) = (u32::from(copy.distance) - 1, u32::from(copy.len) - 1);
                writer.write(distance << shape.lookahead_bits | len, shape.copy_bits());
                place += usize::from(copy.len);
            }
        }
        // Fills the last byte with zeros, too few of them to be a copy.
        writer.write(0, 7);
    }
}

struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    bits: u32,
    /// Bits that wait for their byte to be full, fewer than 8.
    count: u8,
}

impl BitWriter<'_> {
    fn write(&mut self, value: u32, bits: u8) {
        self.bits = self.bits << bits | value;
        self.count += bits;
        while self.count >= 8 {
            self.count -= 8;
            self.out.push((self.bits >> self.count) as u8);
        }
    }
}

/// The longest copy for every place, by window.
///
/// Patches are mostly runs of zeros, and a run has a place to copy from at each of its bytes. Only one of them
/// can be the best: where as much of the run is left as there is here.
fn longest_copies(data: &[u8]) -> [Vec<Copy>; WINDOW_BITS.len()] {
    const NOWHERE: usize = usize::MAX;
    let mut found = [(); WINDOW_BITS.len()].map(|()| vec![Copy::default(); data.len()]);
    let runs = runs(data);
    // Places by the two bytes there, of a run the first: the latest one, and for every place the one before it.
    let mut latest = vec![NOWHERE; 1 << 16];
    let mut before = vec![NOWHERE; data.len()];
    for (place, pair) in data.windows(2).enumerate() {
        let ahead = &data[place..data.len().min(place + MAX_COPY)];
        let run = runs[place];
        let latest = &mut latest[usize::from(pair[0]) << 8 | usize::from(pair[1])];
        let mut best = Copy::default();
        let mut from = if run > 1 && place > 0 && runs[place - 1] > run {
            best = Copy { distance: 1, len: run.min(ahead.len()) as u16 };
            before[*latest]
        } else {
            before[place] = std::mem::replace(latest, place);
            before[place]
        };
        for (window_bits, found) in WINDOW_BITS.into_iter().zip(&mut found) {
            let oldest = place.saturating_sub(1 << window_bits);
            while from != NOWHERE && from + runs[from] > oldest {
                let len = usize::from(best.len);
                let wanted = from + runs[from].saturating_sub(run);
                let at = wanted.max(oldest);
                // Most places fail on this byte already.
                let Some(next) = ahead.get(len) else { break };
                if data[at + len] == *next {
                    let known = run.min(runs[at]).min(ahead.len());
                    let same = known + common_prefix(&ahead[known..], &data[at + known..]);
                    if same > len {
                        best = Copy { distance: (place - at) as u16, len: same as u16 };
                    }
                }
                if wanted < oldest {
                    // A larger window has more of this run.
                    break;
                }
                from = before[from];
            }
            found[place] = best;
        }
    }
    found
}

/// For every place, how many bytes from there on are the same.
fn runs(data: &[u8]) -> Vec<usize> {
    let mut runs = vec![1; data.len()];
    for (place, pair) in data.windows(2).enumerate().rev() {
        if pair[0] == pair[1] {
            runs[place] = runs[place + 1] + 1;
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use std::iter::repeat_n;

    use proptest::prelude::*;

    use super::*;
    use crate::heatshrink::Decoder;

    fn decompress(stream: &[u8]) -> Vec<u8> {
        let mut decoder = Decoder::new();
        let (header, stream) = stream.split_first().expect("a header");
        decoder.start(*header).expect("a window that boards have");
        let mut out = Vec::new();
        for &byte in stream {
            decoder.push(byte);
            out.extend(std::iter::from_fn(|| decoder.next()));
        }
        out
    }

    fn compressed(data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        compress(&mut out, data);
        out
    }

    #[test]
    fn unchanged_bytes_cost_next_to_nothing() {
        let stream = compressed(&[0; 100_000]);
        assert_eq!(decompress(&stream), [0; 100_000]);
        assert!(stream.len() < 500, "{} bytes", stream.len());
    }

    #[test]
    fn bytes_without_any_pattern_cost_one_bit_more_each() {
        let data: Vec<u8> = (0..=255).collect();
        assert_eq!(compressed(&data).len(), 1 + 256 * 9 / 8);
    }

    proptest! {
        // To look for copies everywhere takes its time.
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn no_longer_copy_exists(
            runs in proptest::collection::vec((0_u8..3, prop_oneof![19 => 1_usize..6, 1 => 515_usize..525]), 1..40),
        ) {
            let data: Vec<u8> = runs.iter().flat_map(|&(byte, len)| repeat_n(byte, len)).collect();
            for (window_bits, copies) in WINDOW_BITS.into_iter().zip(longest_copies(&data)) {
                for (place, copy) in copies.iter().enumerate() {
                    let ahead = &data[place..data.len().min(place + MAX_COPY)];
                    let distances = 1..=place.min(1 << window_bits);
                    let longest = distances.map(|back| common_prefix(ahead, &data[place - back..])).max();
                    // A single byte is never worth a copy.
                    let longest = longest.filter(|len| *len > 1).unwrap_or(0);
                    prop_assert_eq!(usize::from(copy.len), longest, "at {} of {:?}", place, &runs);
                    let from = place - usize::from(copy.distance);
                    prop_assert_eq!(&data[from..][..longest], &ahead[..longest]);
                }
            }
        }

    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(
            data in proptest::collection::vec(prop_oneof![4 => Just(0_u8), 1 => any::<u8>()], 1..3000),
            repeat in 1_usize..4,
        ) {
            let data = data.repeat(repeat);
            prop_assert_eq!(decompress(&compressed(&data)), data);
        }
    }
}
