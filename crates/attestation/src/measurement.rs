//! Platform configuration registers, and how AWS computes those that bind an enclave to its parent.

use aws_lc_rs::digest::{Context, SHA384};

/// The value of a platform configuration register: a SHA-384 digest.
pub type PcrValue = [u8; 48];

/// PCR3 of an enclave whose parent has the role `arn`.
///
/// SHA-384 over 48 zero bytes followed by the ARN (AWS Nitro Enclaves user guide, "PCR3").
#[must_use]
pub fn pcr3_for_role(arn: &str) -> PcrValue {
    extended_from_zero(arn.as_bytes())
}

/// PCR4 of an enclave whose parent is the instance `instance_id`.
///
/// SHA-384 over 48 zero bytes followed by the id (AWS Nitro Enclaves user guide, "PCR4").
#[must_use]
pub fn pcr4_for_instance(instance_id: &str) -> PcrValue {
    extended_from_zero(instance_id.as_bytes())
}

fn extended_from_zero(data: &[u8]) -> PcrValue {
    let mut context = Context::new(&SHA384);
    context.update(&[0; 48]);
    context.update(data);
    let mut value = [0; 48];
    value.copy_from_slice(context.finish().as_ref());
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed apart from this code: `(head -c 48 /dev/zero; printf TEXT) | sha384sum`.
    #[test]
    fn registers_of_role_and_instance_are_digests_over_zeros_and_the_text() {
        assert_eq!(
            hex::encode(pcr4_for_instance("i-0123456789abcdef0")),
            "d6432900ac1c343cb40286898792c55e962aef0cc35c4910c0c286145b51af19e782cb21cc31a042671d7dfbd398251c"
        );
        assert_eq!(
            hex::encode(pcr3_for_role("arn:aws:iam::123456789012:role/parent")),
            "0ce7cb66486f1f744e63e5f30e7019f62dab10990e19198098a1a867798f97b08a61d60de674cd35ab40203f15df8996"
        );
    }
}
