//! What runs inside the enclave, and the builder of enclave images.
//!
//! | module | holds |
//! | --- | --- |
//! | [`keep`] | the program inside the enclave: init, attestation responder, the workload's keeper |
//! | [`workload`] | what an image says of its workload; written by the builder, obeyed by `keep` |
//! | [`build`] | the builder of images that contain it |
//! | [`command`] | the builder's command line |
//! | [`inspect`] | what is in an image |

pub mod build;
pub mod command;
pub mod inspect;
pub mod keep;
pub mod workload;
