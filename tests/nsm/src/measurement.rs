//! Platform configuration registers of a simulated enclave.

use aws_lc_rs::digest::{Context, SHA384};

/// The value of a platform configuration register: a SHA-384 digest.
pub type PcrValue = [u8; 48];

/// What a register holds after `data` was measured into it while it was zero.
///
/// SHA-384 over 48 zero bytes followed by `data`. AWS's user guide defines PCR3 this way over the
/// parent's role ARN and PCR4 over the parent's instance id.
#[must_use]
pub fn extended_from_zero(data: &[u8]) -> PcrValue {
    extended(&[0; 48], data)
}

/// What a register that holds `value` holds after `data` was measured into it.
#[must_use]
pub(crate) fn extended(value: &PcrValue, data: &[u8]) -> PcrValue {
    let mut context = Context::new(&SHA384);
    context.update(value);
    context.update(data);
    let mut extended = [0; 48];
    extended.copy_from_slice(context.finish().as_ref());
    extended
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed apart from this code:
    /// `(head -c 48 /dev/zero; printf i-0123456789abcdef0) | sha384sum`.
    #[test]
    fn register_of_an_instance_id_is_the_digest_over_zeros_and_the_id() {
        let value = extended_from_zero(b"i-0123456789abcdef0");
        let text = hex::encode(value);
        assert_eq!(
            text,
            "d6432900ac1c343cb40286898792c55e962aef0cc35c4910c0c286145b51af19e782cb21cc31a042671d7dfbd398251c"
        );
    }
}
