//! The signed file: a DSSE envelope around a manifest.

use crate::{PublicKey, SigningKey};
use bailey_model::manifest::Manifest;
use base64::{
    Engine as _, alphabet,
    engine::{
        DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig,
        general_purpose::{PAD, STANDARD},
    },
};
use serde::{Deserialize, Serialize};

/// What a signed manifest's payload is called; another version of its form gets another name.
pub const PAYLOAD_TYPE: &str = "application/vnd.bailey.image-manifest.v1+json";

/// Where the signed manifest of an image lies: at the image's name with this after it.
pub const ENVELOPE_SUFFIX: &str = ".manifest.dsse.json";

/// The longest envelope that is read, in bytes; one of ours has about 1,500.
pub const MAX_ENVELOPE_BYTES: usize = 16 * 1_024;

/// More than anybody needs to change keys.
const MAX_SIGNATURES: usize = 16;

#[derive(Deserialize, Serialize)]
struct Envelope {
    #[serde(rename = "payloadType")]
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize, Serialize)]
struct Signature {
    /// A hint of the signer's; which key it was is found by trying.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keyid: Option<String>,
    sig: String,
}

/// A manifest that a trusted key signed. Only [`TrustedKeys::open`](crate::TrustedKeys::open) makes
/// one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SignedManifest {
    manifest: Manifest,
    key_id: String,
}

impl SignedManifest {
    /// What was signed.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// [`PublicKey::id`] of the key that signed it.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }
}

/// Why an envelope is not believed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is no DSSE envelope.
    #[error("it is no DSSE envelope")]
    Envelope(#[source] serde_json::Error),
    /// It is longer than [`MAX_ENVELOPE_BYTES`].
    #[error("it has {found} bytes; at most {MAX_ENVELOPE_BYTES} are read")]
    TooLong {
        /// How many it has.
        found: usize,
    },
    /// Its payload is something else.
    #[error("its payload is `{found}`; `{PAYLOAD_TYPE}` is expected")]
    PayloadType {
        /// What the payload is.
        found: String,
    },
    /// Its payload is not base64.
    #[error("its payload is not base64")]
    PayloadEncoding(#[source] base64::DecodeError),
    /// It has more signatures than are tried.
    #[error("it has {found} signatures; at most {MAX_SIGNATURES} are tried")]
    TooManySignatures {
        /// How many.
        found: usize,
    },
    /// No trusted key made any of its signatures.
    #[error("no trusted key signed it; it names the keys: {}", list(.named))]
    NotTrusted {
        /// The keys that its signatures name.
        named: Vec<String>,
    },
    /// What was signed is no manifest.
    #[error("what was signed is no manifest")]
    Manifest(#[source] serde_json::Error),
    /// What was signed is the manifest of a debug or an unmeasured image.
    #[error("what was signed has PCR{index} zero, as only debug mode has it")]
    ZeroPcr {
        /// The first such register.
        index: u8,
    },
}

fn list(keys: &[String]) -> String {
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}

/// Why a manifest is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The bytes are no manifest.
    #[error("it is no manifest")]
    Manifest(#[source] serde_json::Error),
    /// The cryptographic library fails.
    #[error("the key does not sign")]
    Key,
}

/// Signs the manifest in `json`, as the image builder wrote it, byte for byte.
pub fn sign(json: &[u8], key: &SigningKey) -> Result<String, SignError> {
    serde_json::from_slice::<Manifest>(json).map_err(SignError::Manifest)?;
    let signature = key.sign(&pae(PAYLOAD_TYPE, json)).ok_or(SignError::Key)?;
    let public = key.public_key().map_err(|_| SignError::Key)?;
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_owned(),
        payload: STANDARD.encode(json),
        signatures: vec![Signature {
            keyid: Some(public.id().to_owned()),
            sig: STANDARD.encode(signature),
        }],
    };
    serde_json::to_string_pretty(&envelope).map_err(SignError::Manifest)
}

/// Opens `text` if one of `keys` signed it.
///
/// Nothing of the payload is looked at before a signature over it has held.
pub(crate) fn open(text: &[u8], keys: &[PublicKey]) -> Result<SignedManifest, OpenError> {
    if text.len() > MAX_ENVELOPE_BYTES {
        return Err(OpenError::TooLong { found: text.len() });
    }
    let envelope: Envelope = serde_json::from_slice(text).map_err(OpenError::Envelope)?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(OpenError::PayloadType { found: envelope.payload_type });
    }
    let found = envelope.signatures.len();
    if found > MAX_SIGNATURES {
        return Err(OpenError::TooManySignatures { found });
    }
    let payload = decode(&envelope.payload).map_err(OpenError::PayloadEncoding)?;
    let message = pae(&envelope.payload_type, &payload);
    let signer = envelope.signatures.iter().find_map(|signature| {
        // A signature that cannot be read is one that does not hold; another one may.
        let signature = decode(&signature.sig).ok()?;
        keys.iter().find(|key| key.verifies(&message, &signature))
    });
    let Some(signer) = signer else {
        let named = envelope.signatures.into_iter().filter_map(|signature| signature.keyid);
        return Err(OpenError::NotTrusted { named: named.collect() });
    };
    let manifest: Manifest = serde_json::from_slice(&payload).map_err(OpenError::Manifest)?;
    let zero = manifest.measurements.pcrs().into_iter().find(|(_, pcr)| pcr.is_zero());
    if let Some((index, _)) = zero {
        return Err(OpenError::ZeroPcr { index });
    }
    Ok(SignedManifest { manifest, key_id: signer.id().to_owned() })
}

/// Pre-authentication encoding: DSSE 1.0, `protocol.md`.
fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    let mut encoded = head.into_bytes();
    encoded.extend_from_slice(payload);
    encoded
}

/// Either alphabet of RFC 4648, with or without padding: DSSE asks readers to accept both.
fn decode(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    const LENIENT: GeneralPurposeConfig =
        PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&alphabet::STANDARD, LENIENT)
        .decode(text)
        .or_else(|_| GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT).decode(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TrustedKeys;
    use proptest::prelude::*;

    fn key() -> SigningKey {
        SigningKey::from_pem(&SigningKey::generate_pem().unwrap()).unwrap()
    }

    fn trusting(key: &SigningKey) -> TrustedKeys {
        TrustedKeys::new(vec![key.public_key().unwrap()])
    }

    fn manifest() -> String {
        let pcr = |digit: &str| digit.repeat(96);
        serde_json::json!({
            "name": "demo", "version": "1", "profile": "local", "size_bytes": 7,
            "eif_sha384": pcr("d"),
            "measurements": { "PCR0": pcr("a"), "PCR1": pcr("b"), "PCR2": pcr("c") },
        })
        .to_string()
    }

    /// The envelope with one of its members changed.
    fn changed(envelope: &str, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
        let mut json = serde_json::from_str(envelope).unwrap();
        change(&mut json);
        json.to_string().into_bytes()
    }

    #[test]
    fn what_a_trusted_key_signed_is_believed() {
        let key = key();
        let envelope = sign(manifest().as_bytes(), &key).unwrap();
        let signed = trusting(&key).open(envelope.as_bytes()).unwrap();
        assert_eq!(serde_json::to_value(signed.manifest()).unwrap(), {
            serde_json::from_str::<serde_json::Value>(&manifest()).unwrap()
        });
        assert_eq!(signed.key_id(), key.public_key().unwrap().id());
        let indices: Vec<u8> = signed.manifest().measurements.pcrs().into_keys().collect();
        assert_eq!(indices, [0, 1, 2]);
    }

    #[test]
    fn the_preauthentication_encoding_is_that_of_the_specification() {
        assert_eq!(
            pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn another_key_is_not_believed_whatever_name_it_gives_itself() {
        let (trusted, other) = (key(), key());
        let envelope = sign(manifest().as_bytes(), &other).unwrap();
        let name = trusted.public_key().unwrap().id().to_owned();
        let envelope = changed(&envelope, |json| json["signatures"][0]["keyid"] = name.into());
        let refused = trusting(&trusted).open(&envelope).unwrap_err();
        assert!(matches!(refused, OpenError::NotTrusted { named } if named.len() == 1));
    }

    #[test]
    fn no_key_and_no_signature_believe_nothing() {
        let key = key();
        let envelope = sign(manifest().as_bytes(), &key).unwrap();
        let refused = TrustedKeys::default().open(envelope.as_bytes()).unwrap_err();
        assert!(matches!(refused, OpenError::NotTrusted { .. }));
        let unsigned = changed(&envelope, |json| json["signatures"] = serde_json::json!([]));
        let refused = trusting(&key).open(&unsigned).unwrap_err();
        assert_eq!(refused.to_string(), "no trusted key signed it; it names the keys: none");
    }

    #[test]
    fn one_good_signature_among_others_is_enough() {
        let (old, new) = (key(), key());
        let mine = sign(manifest().as_bytes(), &new).unwrap();
        let both = changed(&mine, |json| {
            let bad = serde_json::json!([{ "sig": "!" }, { "sig": "" }]);
            let good = json["signatures"][0].take();
            json["signatures"] = bad;
            json["signatures"].as_array_mut().unwrap().push(good);
        });
        let keys = [&old, &new].map(|key| key.public_key().unwrap());
        assert_eq!(TrustedKeys::new(keys.to_vec()).open(&both).unwrap().key_id(), keys[1].id());
    }

    #[test]
    fn a_payload_that_was_signed_as_something_else_is_refused() {
        let key = key();
        let envelope = sign(manifest().as_bytes(), &key).unwrap();
        let other = changed(&envelope, |json| json["payloadType"] = "text/plain".into());
        assert!(matches!(
            trusting(&key).open(&other).unwrap_err(),
            OpenError::PayloadType { found } if found == "text/plain"
        ));
    }

    #[test]
    fn a_signed_payload_that_is_no_manifest_is_refused() {
        let key = key();
        let payload = br#"{"name":"demo"}"#;
        let envelope = serde_json::json!({
            "payloadType": PAYLOAD_TYPE, "payload": STANDARD.encode(payload),
            "signatures": [{ "sig": STANDARD.encode(key.sign(&pae(PAYLOAD_TYPE, payload)).unwrap()) }],
        });
        let refused = trusting(&key).open(envelope.to_string().as_bytes()).unwrap_err();
        assert!(matches!(refused, OpenError::Manifest(_)));
        assert!(matches!(sign(payload, &key), Err(SignError::Manifest(_))));
    }

    #[test]
    fn measurements_of_zero_are_refused() {
        let key = key();
        let zero = manifest().replace(&"b".repeat(96), &"0".repeat(96));
        let envelope = sign(zero.as_bytes(), &key).unwrap();
        let refused = trusting(&key).open(envelope.as_bytes()).unwrap_err();
        assert!(matches!(refused, OpenError::ZeroPcr { index: 1 }));
    }

    #[test]
    fn what_is_too_much_is_refused_before_it_is_read() {
        let key = key();
        let long = vec![b' '; MAX_ENVELOPE_BYTES + 1];
        assert!(matches!(trusting(&key).open(&long), Err(OpenError::TooLong { .. })));
        let envelope = sign(manifest().as_bytes(), &key).unwrap();
        let many = changed(&envelope, |json| {
            json["signatures"] = vec![json["signatures"][0].clone(); MAX_SIGNATURES + 1].into();
        });
        assert!(matches!(
            trusting(&key).open(&many),
            Err(OpenError::TooManySignatures { found: 17 })
        ));
    }

    #[test]
    fn both_alphabets_of_base64_are_read() {
        assert_eq!(decode("-_8").unwrap(), decode("+/8=").unwrap());
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_and_never_a_panic(
            bytes in proptest::collection::vec(any::<u8>(), 0..512)
        ) {
            prop_assert!(TrustedKeys::default().open(&bytes).is_err());
        }

        #[test]
        fn a_changed_byte_of_the_payload_is_noticed(at in any::<prop::sample::Index>(), by in 1_u8..) {
            let key = key();
            let envelope = sign(manifest().as_bytes(), &key).unwrap();
            let mut payload = manifest().into_bytes();
            let at = at.index(payload.len());
            payload[at] ^= by;
            let forged = changed(&envelope, |json| json["payload"] = STANDARD.encode(&payload).into());
            let refused = trusting(&key).open(&forged).unwrap_err();
            let is_refused = matches!(refused, OpenError::NotTrusted { .. });
            prop_assert!(is_refused);
        }
    }
}
