//! Sizes that the parts of a document may have.

use crate::Rejection;

/// The longest document that is looked at, in bytes. A payload may have 16,384 (AWS attestation
/// process, section 3.1); the envelope adds about 120, and one encoded in chunks a little more.
pub(crate) const DOCUMENT_BYTES: usize = 16_384 + 1_024;

/// AWS attestation process, section 3.1.
pub(crate) const PAYLOAD: Limit = Limit { field: "payload", min: 1, max: 16_384 };

/// Never empty (AWS attestation process, section 3.2.2.2); real ones have about 40 bytes. The upper
/// limit is ours, so that a name can be shown and stored.
pub(crate) const MODULE_ID: Limit = Limit { field: "module_id", min: 1, max: 256 };

/// AWS attestation process, section 3.2.2.2.
pub(crate) const PCRS: Limit = Limit { field: "pcrs", min: 1, max: 32 };

/// AWS attestation process, section 2.2 (`cert`).
pub(crate) const CERTIFICATE: Limit = Limit { field: "certificate", min: 1, max: 1_024 };

/// AWS attestation process, section 3.2.2.2.
pub(crate) const BUNDLE_ENTRY: Limit = Limit { field: "cabundle entry", min: 1, max: 1_024 };

/// Never empty (AWS attestation process, section 3.2.2.2); real ones have 4 entries. The upper limit
/// is ours: it bounds how many signatures a hostile document can have us check.
pub(crate) const BUNDLE: Limit = Limit { field: "cabundle", min: 1, max: 8 };

/// AWS attestation process, section 2.2 (`user_data`). Section 3.2.2.2 says 512 bytes for two of the
/// three fields and 1 at least for the third; the module signs 1,024, and empty ones, in all three.
pub(crate) const PUBLIC_KEY: Limit = Limit { field: "public_key", min: 0, max: 1_024 };
/// See [`PUBLIC_KEY`].
pub(crate) const USER_DATA: Limit = Limit { field: "user_data", min: 0, max: 1_024 };
/// See [`PUBLIC_KEY`].
pub(crate) const NONCE: Limit = Limit { field: "nonce", min: 0, max: 1_024 };

/// How long a field may be, in bytes or in entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    pub(crate) field: &'static str,
    min: usize,
    max: usize,
}

impl Limit {
    pub(crate) fn check(self, found: usize) -> Result<(), Rejection> {
        let Self { field, min, max } = self;
        if (min..=max).contains(&found) {
            return Ok(());
        }
        Err(Rejection::FieldSize { field, min, max, found })
    }
}
