//! Against the reference implementations.

mod cocoeval;
mod mmdet;
mod trajectory;
