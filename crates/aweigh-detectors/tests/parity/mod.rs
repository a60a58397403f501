//! Parity with the reference implementation, case by case.

mod fcos;
mod fovea;
mod fsaf;
mod joint;
mod reppoints;
mod retina;
mod shared;
