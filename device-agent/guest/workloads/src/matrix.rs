//! Matrices of small numbers: multiplied, with one element and with each other.

use crate::crc;

const SIDE: usize = 8;
type Matrix = [[i16; SIDE]; SIDE];

pub(crate) fn run(seed: u16, checksum: u16) -> u16 {
    let a = filled(seed);
    let b = filled(seed ^ 0x55aa);
    let product = multiply(&a, &b);
    let scaled = product.map(|row| row.map(|element| element.wrapping_mul(seed.cast_signed()) >> 3));
    scaled.iter().flatten().fold(checksum, |checksum, element| crc::word(checksum, element.cast_unsigned()))
}

fn filled(seed: u16) -> Matrix {
    let mut value = seed;
    [[0; SIDE]; SIDE].map(|row| {
        row.map(|_: i16| {
            value = value.wrapping_mul(75).wrapping_add(74);
            value.cast_signed() >> 4
        })
    })
}

fn multiply(a: &Matrix, b: &Matrix) -> Matrix {
    let mut product = [[0; SIDE]; SIDE];
    for (row, out) in a.iter().zip(&mut product) {
        for (column, element) in out.iter_mut().enumerate() {
            let sum: i32 = row.iter().zip(b).map(|(x, y)| i32::from(*x) * i32::from(y[column])).sum();
            *element = (sum >> 5) as i16;
        }
    }
    product
}
