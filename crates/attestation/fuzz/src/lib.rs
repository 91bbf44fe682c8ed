//! What the fuzz targets share: limits, judgements that are checked for sense, and documents that
//! are bent and then signed. `scripts/fuzz` builds and runs the targets.
//!
//! Everything is deterministic: the same bytes give the same document, judged at the same time.

mod edits;
mod forge;
mod judgement;
mod limits;
mod part;
mod policies;
mod signer;
mod template;

pub use forge::{Forged, forge};
pub use judgement::{judge, parse};
pub use limits::timed;
pub use policies::{all, own};
pub use template::{TEMPLATE, Template};
