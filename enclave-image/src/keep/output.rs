//! What the workload prints and what becomes of it, held for whoever asks.

mod lines;
mod ring;

pub(super) use lines::copy_lines;
pub(super) use ring::{Next, Ring};
