//! ECDSA over P-384 with the nonce 1: no secret, no randomness, and the same bytes each time.
//!
//! With k = 1 a signature is r = x(G) and s = z + r·d (FIPS 186-5, section 6.4.1), which is an
//! addition for small keys d. Whoever sees one can compute the key; here everyone knows it anyway.

use aws_lc_rs::agreement::{ECDH_P384, PrivateKey};
use aws_lc_rs::digest::{SHA384, digest};

use crate::part::Part;

type Number = [u8; 48];

/// The order n of the group, big endian (SEC 2, section 2.5.1).
const ORDER: Number = number(
    0xFFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF_FFFF,
    0xFFFF_FFFF_FFFF_FFFF_C763_4D81_F437_2DDF,
    0x581A_0DB2_48B0_A77A_ECEC_196A_CCC5_2973,
);

/// The first coordinate of the generator (SEC 2, section 2.5.1).
const GENERATOR_X: Number = number(
    0xAA87_CA22_BE8B_0537_8EB1_C71E_F320_AD74,
    0x6E1D_3B62_8BA7_9B98_59F7_41E0_8254_2A38,
    0x5502_F25D_BF55_296C_3A54_5E38_7276_0AB7,
);

/// A private key: a small number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key(pub(crate) u8);

impl Key {
    /// The public key, an uncompressed point.
    pub(crate) fn point(self) -> Vec<u8> {
        let mut scalar = [0; 48];
        scalar[47] = self.0;
        let key = PrivateKey::from_private_key(&ECDH_P384, &scalar).expect("1 to 255 are keys");
        key.compute_public_key().expect("every key has a point").as_ref().to_vec()
    }

    /// `r ‖ s` over SHA-384 of `message`, as COSE has it (RFC 9053, section 2.1).
    pub(crate) fn sign(self, message: &[u8]) -> Vec<u8> {
        [GENERATOR_X, self.s(message)].concat()
    }

    /// The same as DER, as X.509 has it (RFC 5758, section 3.2).
    pub(crate) fn sign_der(self, message: &[u8]) -> Vec<u8> {
        let integers = [GENERATOR_X, self.s(message)].map(|value| integer(&value));
        Part::der(0x30, integers.into()).encoded()
    }

    fn s(self, message: &[u8]) -> Number {
        let mut hash = [0; 48];
        hash.copy_from_slice(digest(&SHA384, message).as_ref());
        let hash = add(hash, [0; 48]);
        (0..self.0).fold(hash, |sum, _| add(sum, GENERATOR_X))
    }
}

fn integer(value: &Number) -> Part {
    let mut content: Vec<u8> = value.iter().copied().skip_while(|byte| *byte == 0).collect();
    if content.first().is_none_or(|byte| *byte >= 0x80) {
        content.insert(0, 0);
    }
    Part::der_bytes(0x02, content)
}

/// The sum modulo n of numbers below 2n of which one is below n.
fn add(left: Number, right: Number) -> Number {
    let mut sum = [0; 48];
    let mut carry = false;
    for at in (0..48).rev() {
        let (partial, first) = left[at].overflowing_add(right[at]);
        let (byte, second) = partial.overflowing_add(u8::from(carry));
        (sum[at], carry) = (byte, first || second);
    }
    let mut reduced = [0; 48];
    let mut borrow = false;
    for at in (0..48).rev() {
        let (partial, first) = sum[at].overflowing_sub(ORDER[at]);
        let (byte, second) = partial.overflowing_sub(u8::from(borrow));
        (reduced[at], borrow) = (byte, first || second);
    }
    if carry || !borrow { reduced } else { sum }
}

const fn number(high: u128, middle: u128, low: u128) -> Number {
    let parts = [high.to_be_bytes(), middle.to_be_bytes(), low.to_be_bytes()];
    let mut number = [0; 48];
    let mut at = 0;
    while at < 48 {
        number[at] = parts[at / 16][at % 16];
        at += 1;
    }
    number
}
