//! What runs inside the enclave, and the builder of enclave images.
//!
//! | module | holds |
//! | --- | --- |
//! | [`keep`] | the program inside the enclave: init and attestation responder |
//! | [`build`] | the builder of images that contain it |
//! | [`command`] | the builder's command line |

pub mod build;
pub mod command;
pub mod keep;
