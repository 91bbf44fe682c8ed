//! An answer that only a document's key opens: CMS enveloped data in the encoding that KMS writes.

use aws_lc_rs::{
    cipher::{AES_256, DecryptionContext, PaddedBlockEncryptingKey, UnboundCipherKey},
    error::Unspecified,
    rand,
    rsa::{OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey},
};

const OID_ENVELOPED: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 3];
const OID_DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
const OID_AES_256_CBC: &[u8] = &[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 1, 0x2a];
const OID_OAEP: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 7];
const OID_MGF1: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
const OID_SHA256: &[u8] = &[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const VERSION_2: &[u8] = &[0x02, 1, 2];

/// Encrypts to the owner of an RSA key, given as the DER of its `SubjectPublicKeyInfo`.
pub(super) fn seal(public_key: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, Unspecified> {
    let recipient = PublicEncryptingKey::from_der(public_key).map_err(|_| Unspecified)?;
    let recipient = OaepPublicEncryptingKey::new(recipient)?;
    let mut key = [0; 32];
    rand::fill(&mut key)?;
    let mut wrapped = vec![0; recipient.ciphertext_size()];
    let wrapped = recipient.encrypt(&OAEP_SHA256_MGF1SHA256, &key, &mut wrapped, None)?.to_vec();
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, &key)?)?;
    let mut content = plaintext.to_vec();
    let DecryptionContext::Iv128(iv) = cipher.encrypt(&mut content)? else {
        return Err(Unspecified);
    };
    Ok(enveloped(&wrapped, iv.as_ref(), &content))
}

/// RFC 5652, section 6.1; what surrounds the recipient and the content is of indefinite length.
fn enveloped(wrapped: &[u8], iv: &[u8], content: &[u8]) -> Vec<u8> {
    let hash = element(0x30, &[OID_SHA256]);
    let mask = element(0x30, &[OID_MGF1, &hash]);
    let parameters = element(0x30, &[&element(0xa0, &[&hash]), &element(0xa1, &[&mask])]);
    let algorithm = element(0x30, &[OID_OAEP, &parameters]);
    let key_identifier = element(0x80, &[&[0x4b; 20]]);
    let recipient =
        element(0x30, &[VERSION_2, &key_identifier, &algorithm, &element(0x04, &[wrapped])]);
    let cipher = element(0x30, &[OID_AES_256_CBC, &element(0x04, &[iv])]);
    // In parts, as a stream has it.
    let (one, other) = content.split_at(content.len() / 2);
    let parts = stream(0xa0, &[&element(0x04, &[one]), &element(0x04, &[other])]);
    let content = stream(0x30, &[OID_DATA, &cipher, &parts]);
    let data = stream(0x30, &[VERSION_2, &element(0x31, &[&recipient]), &content]);
    stream(0x30, &[OID_ENVELOPED, &stream(0xa0, &[&data])])
}

fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let contents = parts.concat();
    let length = u16::try_from(contents.len()).unwrap_or(u16::MAX).to_be_bytes();
    [&[tag, 0x82][..], &length, &contents].concat()
}

fn stream(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[tag, 0x80][..], &parts.concat(), &[0, 0]].concat()
}
