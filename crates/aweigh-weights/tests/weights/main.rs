//! Files and layouts as they are found in the world.

mod files;
mod hostile;
mod layouts;
mod shared;
mod written;
