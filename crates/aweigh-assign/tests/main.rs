//! One binary for all tests of the crate that are not unit tests.

mod options;
mod parity;
