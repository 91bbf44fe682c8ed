//! CMS enveloped data (RFC 5652, section 6), as far as KMS writes it.
//!
//! One recipient, known by its key's identifier; the content's key encrypted with RSAES-OAEP; the
//! content with AES-256 in CBC mode (KMS API Reference, `RecipientInfo`, and AWS's Nitro Enclaves SDK).

use crate::ber::{BerError, Reader};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OCTETS_IN_PARTS: u8 = 0x24;
const IDENTIFIER: u8 = 0x06;
/// `[0]`, explicit or of several parts.
const ZERO_CONSTRUCTED: u8 = 0xa0;
/// `[0]` of one part.
const ZERO: u8 = 0x80;

/// 1.2.840.113549.1.7.3, `id-envelopedData`
const ENVELOPED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03];
/// 1.2.840.113549.1.7.1, `id-data`
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// 1.2.840.113549.1.1.7, `id-RSAES-OAEP`
const RSAES_OAEP: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x07];
/// 2.16.840.1.101.3.4.1.42, `id-aes256-CBC`
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];

/// The version of enveloped data, and of its recipient's part, when the recipient is known by its key.
const BY_KEY: &[u8] = &[2];

/// What is needed to decrypt.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Enveloped {
    /// The content's key, encrypted to the recipient.
    pub(crate) encrypted_key: Vec<u8>,
    /// The initialisation vector of the content's cipher.
    pub(crate) iv: [u8; 16],
    /// The encrypted content.
    pub(crate) content: Vec<u8>,
}

/// Why bytes are not the enveloped data that KMS writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EnvelopedError {
    /// They are not even elements.
    #[error("it is not ASN.1")]
    Ber(#[from] BerError),
    /// Something that belongs there is not.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// Something is there that is not what KMS writes.
    #[error("its {0} is not the one that KMS writes")]
    Other(&'static str),
}

use EnvelopedError::{Missing, Other};

/// Reads enveloped data.
pub(crate) fn parse(bytes: &[u8]) -> Result<Enveloped, EnvelopedError> {
    let mut outer = Reader::new(need(&mut Reader::new(bytes), SEQUENCE, "content info")?);
    equals(&mut outer, IDENTIFIER, ENVELOPED_DATA, "content type")?;
    let explicit = need(&mut outer, ZERO_CONSTRUCTED, "enveloped data")?;
    let mut data = Reader::new(need(&mut Reader::new(explicit), SEQUENCE, "enveloped data")?);
    equals(&mut data, INTEGER, BY_KEY, "version")?;
    // Who encrypted may be said; nothing is made of it.
    data.take(ZERO_CONSTRUCTED)?;
    let encrypted_key = recipient(need(&mut data, SET, "recipients")?)?;
    let (iv, content) = content(need(&mut data, SEQUENCE, "encrypted content")?)?;
    Ok(Enveloped { encrypted_key, iv, content })
}

/// The encrypted key of the only recipient.
fn recipient(set: &[u8]) -> Result<Vec<u8>, EnvelopedError> {
    let mut set = Reader::new(set);
    let mut info = Reader::new(need(&mut set, SEQUENCE, "recipient")?);
    if set.next()?.is_some() {
        return Err(Other("number of recipients"));
    }
    equals(&mut info, INTEGER, BY_KEY, "recipient's version")?;
    need(&mut info, ZERO, "identifier of the recipient's key")?;
    let mut algorithm = Reader::new(need(&mut info, SEQUENCE, "algorithm of the key")?);
    equals(&mut algorithm, IDENTIFIER, RSAES_OAEP, "algorithm of the key")?;
    Ok(need(&mut info, OCTETS, "encrypted key")?.to_vec())
}

/// Initialisation vector and encrypted content.
fn content(info: &[u8]) -> Result<([u8; 16], Vec<u8>), EnvelopedError> {
    let mut info = Reader::new(info);
    equals(&mut info, IDENTIFIER, DATA, "type of the content")?;
    let mut algorithm = Reader::new(need(&mut info, SEQUENCE, "algorithm of the content")?);
    equals(&mut algorithm, IDENTIFIER, AES_256_CBC, "algorithm of the content")?;
    let iv = need(&mut algorithm, OCTETS, "initialisation vector")?;
    let iv = iv.try_into().map_err(|_| Other("initialisation vector"))?;
    if let Some(whole) = info.take(ZERO)? {
        return Ok((iv, whole.to_vec()));
    }
    let mut content = Vec::new();
    gather(need(&mut info, ZERO_CONSTRUCTED, "content")?, &mut content)?;
    Ok((iv, content))
}

/// Puts the parts of an octet string together; parts may have parts.
fn gather(parts: &[u8], whole: &mut Vec<u8>) -> Result<(), EnvelopedError> {
    let mut parts = Reader::new(parts);
    while let Some(part) = parts.next()? {
        match part.tag {
            OCTETS => whole.extend_from_slice(part.contents),
            OCTETS_IN_PARTS => {
                let mut inner = Reader::new(part.contents);
                while let Some(part) = inner.take(OCTETS)? {
                    whole.extend_from_slice(part);
                }
                if inner.next()?.is_some() {
                    return Err(Other("content"));
                }
            }
            _ => return Err(Other("content")),
        }
    }
    Ok(())
}

fn need<'a>(
    reader: &mut Reader<'a>,
    tag: u8,
    what: &'static str,
) -> Result<&'a [u8], EnvelopedError> {
    reader.take(tag)?.ok_or(Missing(what))
}

fn equals(
    reader: &mut Reader<'_>,
    tag: u8,
    wanted: &[u8],
    what: &'static str,
) -> Result<(), EnvelopedError> {
    if need(reader, tag, what)? == wanted { Ok(()) } else { Err(Other(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
        let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
        [&[tag, 0x82][..], &length, contents].concat()
    }

    fn stream(tag: u8, contents: &[u8]) -> Vec<u8> {
        [&[tag, 0x80][..], contents, &[0, 0]].concat()
    }

    fn oaep(key: &[u8]) -> Vec<u8> {
        let algorithm = element(SEQUENCE, &element(IDENTIFIER, RSAES_OAEP));
        let parts =
            [element(INTEGER, &[2]), element(ZERO, &[1; 20]), algorithm, element(OCTETS, key)];
        element(SEQUENCE, &parts.concat())
    }

    /// Enveloped data with this content element, around which everything is written by `outer`.
    fn enveloped(
        outer: fn(u8, &[u8]) -> Vec<u8>,
        version: u8,
        recipients: &[u8],
        content: &[u8],
    ) -> Vec<u8> {
        let algorithm = [element(IDENTIFIER, AES_256_CBC), element(OCTETS, &[9; 16])].concat();
        let content =
            [element(IDENTIFIER, DATA), element(SEQUENCE, &algorithm), content.to_vec()].concat();
        let data =
            [element(INTEGER, &[version]), element(SET, recipients), outer(SEQUENCE, &content)]
                .concat();
        let data = outer(ZERO_CONSTRUCTED, &outer(SEQUENCE, &data));
        outer(SEQUENCE, &[element(IDENTIFIER, ENVELOPED_DATA), data].concat())
    }

    fn wanted() -> Enveloped {
        Enveloped { encrypted_key: vec![3; 4], iv: [9; 16], content: vec![1, 2, 3, 4] }
    }

    #[test]
    fn definite_and_streamed_data_with_whole_and_divided_content_are_read_alike() {
        let two = [element(OCTETS, &[1, 2]), element(OCTETS, &[3, 4])].concat();
        let contents = [
            element(ZERO, &[1, 2, 3, 4]),
            stream(ZERO_CONSTRUCTED, &two),
            element(ZERO_CONSTRUCTED, &two),
            stream(ZERO_CONSTRUCTED, &stream(OCTETS_IN_PARTS, &two)),
        ];
        for content in contents {
            for outer in [element, stream] {
                assert_eq!(parse(&enveloped(outer, 2, &oaep(&[3; 4]), &content)), Ok(wanted()));
            }
        }
    }

    #[test]
    fn what_kms_does_not_write_is_refused_with_its_reason() {
        let content = element(ZERO, &[1, 2, 3, 4]);
        let one = oaep(&[3; 4]);
        let refused = |bytes: &[u8]| parse(bytes).unwrap_err();
        assert_eq!(refused(&[]), Missing("content info"));
        assert_eq!(refused(&enveloped(element, 0, &one, &content)), Other("version"));
        let two = [one.clone(), one.clone()].concat();
        assert_eq!(refused(&enveloped(element, 2, &two, &content)), Other("number of recipients"));
        assert_eq!(refused(&enveloped(element, 2, &[], &content)), Missing("recipient"));
        let odd = element(ZERO_CONSTRUCTED, &element(INTEGER, &[1]));
        assert_eq!(refused(&enveloped(element, 2, &one, &odd)), Other("content"));
        assert_eq!(refused(&enveloped(element, 2, &one, &[])), Missing("content"));
        let mut cut = enveloped(element, 2, &one, &content);
        cut.pop();
        assert_eq!(refused(&cut), EnvelopedError::Ber(BerError::Cut));
    }

    proptest! {
        #[test]
        fn no_change_of_a_byte_makes_the_parser_panic(at in 0_usize..200, byte in any::<u8>()) {
            let parts = stream(ZERO_CONSTRUCTED, &element(OCTETS, &[1, 2, 3, 4]));
            let mut bytes = enveloped(stream, 2, &oaep(&[3; 4]), &parts);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = parse(&bytes);
        }
    }
}
