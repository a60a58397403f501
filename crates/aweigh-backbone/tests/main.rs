//! Integration tests of backbones and necks.

mod parity;
