//! The contract, byte for byte: what is pinned here is what devices in the field speak.

mod bridge;
// The fuzz targets, so that ordinary tests run them too.
#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "it is a crate of its own for the fuzzer")]
mod entries;
mod exact;
mod first;
mod keyring;
mod random;
mod samples;
mod signed;
mod source;
mod topics;
mod topics_md;

use expect_test::expect_file;

#[test]
fn the_listing_is_that_of_the_code() {
    expect_file!["../../schema.txt"].assert_eq(&source::listing());
}
