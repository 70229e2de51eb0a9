//! The contract, byte for byte: what is pinned here is what devices in the field speak.

mod bridge;
mod exact;
mod samples;
mod signed;
mod source;
mod topics;

use expect_test::expect_file;

#[test]
fn the_listing_is_that_of_the_code() {
    expect_file!["../../schema.txt"].assert_eq(&source::listing());
}
