//! Parity of points, codecs and suppression with the reference implementation.

mod parity;
