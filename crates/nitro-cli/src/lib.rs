//! What AWS's nitro-cli prints, as values, and what helps against its errors. Pure.
//!
//! | module | holds |
//! | --- | --- |
//! | [`answers`] | the JSON of its commands |
//! | [`refusal`] | what it says when it fails, and the log file that it names |
//! | [`codes`] | which failure each of its documented errors amounts to, and a hint |
//!
//! `oracle/` compares all of it with nitro-cli's own code; the version there is the one that was read.

pub mod answers;
pub mod codes;
pub mod refusal;

pub use answers::EnclaveInfo;
