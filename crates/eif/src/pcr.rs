//! How a register is made from the bytes that it measures.

use bailey_model::Pcr;
use sha2::{Digest, Sha384};

/// `SHA-384(48 zero bytes ‖ SHA-384(data))`: a register that starts as zeros, extended once with
/// the digest of `data`, of which `hash` has seen everything.
pub(crate) fn extend_from_zero(hash: Sha384) -> Pcr {
    let digest = hash.finalize();
    let mut register = Sha384::new();
    register.update([0; 48]);
    register.update(digest);
    Pcr(register.finalize().into())
}
