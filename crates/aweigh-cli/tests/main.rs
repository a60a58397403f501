//! The program as its users meet it: help, errors, data and weights as people have them, and a whole
//! small project.

mod check;
mod configs;
mod data;
mod datasets;
mod errors;
mod eval;
mod gpu_check;
mod help;
mod import;
mod kernels;
mod killed;
#[cfg(feature = "mpi")]
mod mpi;
mod nothing_lost;
mod pictures;
mod support;
mod threads;
mod tuning;
mod workflow;
