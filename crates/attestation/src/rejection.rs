//! Why a document is refused.

use std::fmt;

/// Which certificate of a document's chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CertificatePosition {
    /// The entry of `cabundle` with this index; 0 is the root.
    Bundle(usize),
    /// The certificate whose key signed the document (`certificate`).
    Leaf,
}

impl fmt::Display for CertificatePosition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bundle(index) => write!(formatter, "cabundle[{index}]"),
            Self::Leaf => formatter.write_str("the leaf certificate"),
        }
    }
}

/// Declares [`Rejection`] with a stable code beside each variant, so that none can be forgotten.
macro_rules! rejections {
    ($(
        $(#[$attribute:meta])*
        $code:literal $variant:ident $({ $( $(#[$field_attribute:meta])* $field:ident: $type:ty ),* $(,)? })?
    ),* $(,)?) => {
        /// Why a document is refused: one variant for each reason.
        ///
        /// "AWS" is AWS's *Nitro Enclaves Attestation Process*
        /// (`docs/attestation_process.md` of aws-nitro-enclaves-nsm-api). Byte strings are shown as
        /// hex, times as milliseconds since the Unix epoch, and texts out of the document with
        /// their control characters escaped: a terminal or a log may be where they end up.
        #[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum Rejection {
            $( $(#[$attribute])* $variant $({ $( $(#[$field_attribute])* $field: $type ),* })?, )*
        }

        impl Rejection {
            /// A short name of the reason that stays the same from version to version, for programs.
            #[must_use]
            pub fn code(&self) -> &'static str {
                match self {
                    $( Self::$variant $({ $( $field: _ ),* })? => $code, )*
                }
            }

            /// Every code that [`Self::code`] can return, in the order in which checks are made.
            pub const CODES: &'static [&'static str] = &[$($code),*];
        }
    };
}

rejections! {
    /// The input is longer than any document can be (AWS section 3.1), and was not looked at.
    #[error("the document has {found} bytes, at most {limit} are read")]
    "document_too_long" DocumentTooLong {
        /// The limit, in bytes.
        limit: usize,
        /// The input's length, in bytes.
        found: usize,
    },
    /// An item goes on beyond the end of the input (RFC 8949, appendix F).
    #[error("the input ends inside the item at byte {at}")]
    "truncated" Truncated {
        /// Where the item's missing part would be.
        at: usize,
    },
    /// An item's first byte is reserved, or says an indefinite length where none can be (RFC 8949,
    /// sections 3 and 3.2).
    #[error("the item at byte {at} is not well-formed CBOR")]
    "malformed" Malformed {
        /// Where the item starts.
        at: usize,
    },
    /// More bytes follow what should be the whole: they would be carried along unsigned.
    #[error("{count} bytes follow the end")]
    "trailing_bytes" TrailingBytes {
        /// How many.
        count: usize,
    },
    /// A field has another CBOR type than the specification says (AWS section 3.2.2.2).
    #[error("`{field}` is {found}, not {wanted}")]
    "wrong_type" WrongType {
        /// The field.
        field: &'static str,
        /// The type that it must have.
        wanted: &'static str,
        /// The type that it has.
        found: &'static str,
    },
    /// A text string is not UTF-8 (RFC 8949, section 3.1).
    #[error("`{field}` is not UTF-8")]
    "not_utf8" NotUtf8 {
        /// The field.
        field: &'static str,
    },
    /// A key occurs twice (RFC 8949, section 5.6): two readers could see two different documents.
    #[error("`{map}` has the key {key:?} twice")]
    "duplicate_key" DuplicateKey {
        /// The map.
        map: &'static str,
        /// The key.
        key: String,
    },
    /// A key is none that the specification lists (AWS section 3.2.2.1).
    #[error("`{map}` has the unknown key {key:?}")]
    "unknown_key" UnknownKey {
        /// The map.
        map: &'static str,
        /// The key.
        key: String,
    },
    /// A mandatory field is left out (AWS section 3.2.2.1).
    #[error("`{field}` is missing")]
    "missing_field" MissingField {
        /// The field.
        field: &'static str,
    },
    /// A field is shorter or longer than it may be (AWS sections 2.2 and 3.2.2.2).
    #[error("`{field}` has size {found}, allowed is {min} to {max}")]
    "field_size" FieldSize {
        /// The field.
        field: &'static str,
        /// The least size, in bytes or entries.
        min: usize,
        /// The greatest size.
        max: usize,
        /// The size that it has.
        found: usize,
    },
    /// The document has a tag that is not COSE_Sign1's (RFC 9052, section 2).
    #[error("the document has tag {found}, not 18")]
    "cose_tag" CoseTag {
        /// The tag.
        found: u64,
    },
    /// The COSE_Sign1 has not exactly four elements (RFC 9052, section 4.2).
    #[error("the COSE_Sign1 has {found} elements, not 4")]
    "cose_elements" CoseElements {
        /// How many were found.
        found: u64,
    },
    /// The unprotected header is not empty (AWS section 3.1); nobody signed what stands there.
    #[error("the unprotected header is not empty")]
    "unprotected_header" UnprotectedHeader,
    /// The protected header lists headers that must be understood (RFC 9052, section 3.1, `crit`).
    #[error("the protected header lists critical headers")]
    "critical_header" CriticalHeader,
    /// The protected header has more in it than the algorithm (AWS section 3.1).
    #[error("the protected header has the unknown label {label}")]
    "protected_header" ProtectedHeader {
        /// The label.
        label: i128,
    },
    /// The protected header names no algorithm (RFC 9052, section 3.1, `alg`).
    #[error("the protected header names no algorithm")]
    "algorithm_missing" AlgorithmMissing,
    /// The algorithm is not ECDSA with SHA-384 (AWS section 3.1).
    #[error("the algorithm is {found}, not -35 (ES384)")]
    "algorithm" Algorithm {
        /// The algorithm's number in the IANA registry of COSE algorithms.
        found: i128,
    },
    /// The signature cannot be one of ES384, which has 96 bytes (RFC 9053, section 2.1).
    #[error("the signature has {found} bytes, not 96")]
    "signature_length" SignatureLength {
        /// The signature's length, in bytes.
        found: usize,
    },
    /// The registers' digest is not SHA-384 (AWS section 3.2.2.2).
    #[error("the digest is {found:?}, not SHA384")]
    "digest" Digest {
        /// The digest's name.
        found: String,
    },
    /// The document says that it was made at the epoch (AWS section 3.2.2.2).
    #[error("the timestamp is 0")]
    "timestamp_zero" TimestampZero,
    /// A register's index is above 31 (AWS section 3.2.2.2).
    #[error("there is no PCR{found}, the highest is PCR31")]
    "pcr_index" PcrIndex {
        /// The index.
        found: u64,
    },
    /// A register's value is not as long as the digest says (AWS section 3.2.2.2).
    #[error("PCR{index} has {found} bytes, not 48")]
    "pcr_length" PcrLength {
        /// The register's index.
        index: u8,
        /// Its length, in bytes.
        found: usize,
    },
    /// The first certificate of the bundle is not a trusted root (AWS section 3.2).
    #[error("no trusted root has the fingerprint {found}")]
    "root_not_trusted" RootNotTrusted {
        /// SHA-256 of the certificate's DER.
        found: String,
    },
    /// A certificate is not the DER of an X.509 certificate (RFC 5280, section 4.1).
    #[error("{certificate} is no X.509 certificate: {reason}")]
    "certificate_malformed" CertificateMalformed {
        /// Which one.
        certificate: CertificatePosition,
        /// What the parser said.
        reason: String,
    },
    /// A certificate can be read but has another DER encoding than the only right one (X.690,
    /// section 11; RFC 5280, section 4.1.2.5 for times).
    #[error("{certificate} is not in its canonical encoding")]
    "certificate_not_canonical" CertificateNotCanonical {
        /// Which one.
        certificate: CertificatePosition,
    },
    /// A certificate is not of version 3 (RFC 5280, section 4.1.2.1).
    #[error("{certificate} is not of version 3")]
    "certificate_version" CertificateVersion {
        /// Which one.
        certificate: CertificatePosition,
    },
    /// A certificate is signed with anything but ECDSA with SHA-384, or says two different things
    /// about it (RFC 5280, section 4.1.1.2).
    #[error("{certificate} is signed with {found}, not ECDSA with SHA-384")]
    "certificate_algorithm" CertificateAlgorithm {
        /// Which one.
        certificate: CertificatePosition,
        /// The object identifiers that it names.
        found: String,
    },
    /// A certificate's key is not on P-384 (RFC 5480, section 2.1.1).
    #[error("{certificate} has a key of {found}, not P-384")]
    "certificate_curve" CertificateCurve {
        /// Which one.
        certificate: CertificatePosition,
        /// The object identifiers of the key's algorithm and curve.
        found: String,
    },
    /// A certificate's key is no uncompressed point of P-384 (RFC 5480, section 2.2).
    #[error("{certificate} has a key that is no point of P-384")]
    "certificate_key" CertificateKey {
        /// Which one.
        certificate: CertificatePosition,
    },
    /// A certificate has an extension twice (RFC 5280, section 4.2).
    #[error("{certificate} has the extension {oid} twice")]
    "extension_duplicate" ExtensionDuplicate {
        /// Which one.
        certificate: CertificatePosition,
        /// The extension's object identifier.
        oid: String,
    },
    /// A certificate has a critical extension that is not understood here (RFC 5280, section 4.2).
    #[error("{certificate} has the unknown critical extension {oid}")]
    "extension_unknown" ExtensionUnknown {
        /// Which one.
        certificate: CertificatePosition,
        /// The extension's object identifier.
        oid: String,
    },
    /// The content of an extension cannot be read, or contradicts itself (RFC 5280, section 4.2.1).
    #[error("{certificate} has a malformed extension {oid}")]
    "extension_malformed" ExtensionMalformed {
        /// Which one.
        certificate: CertificatePosition,
        /// The extension's object identifier.
        oid: String,
    },
    /// A certificate of the bundle is no authority (AWS section 3.2.3.2; RFC 5280, section 4.2.1.9).
    #[error("{certificate} is no certificate authority")]
    "not_an_authority" NotAnAuthority {
        /// Which one.
        certificate: CertificatePosition,
    },
    /// An authority's basicConstraints are not critical (AWS section 3.2.3.2; RFC 5280, section
    /// 4.2.1.9).
    #[error("{certificate} has basic constraints that are not critical")]
    "constraints_not_critical" ConstraintsNotCritical {
        /// Which one.
        certificate: CertificatePosition,
    },
    /// The leaf is an authority: it could have issued certificates instead of signing documents
    /// (RFC 5280, section 4.2.1.9).
    #[error("the leaf certificate is a certificate authority")]
    "leaf_is_authority" LeafIsAuthority,
    /// More authorities follow than a certificate allows (AWS section 3.2.3.2; RFC 5280, section
    /// 4.2.1.9).
    #[error("{certificate} allows {limit} authorities below it, {found} follow")]
    "path_too_long" PathTooLong {
        /// Which one.
        certificate: CertificatePosition,
        /// How many it allows.
        limit: u8,
        /// How many follow.
        found: usize,
    },
    /// A certificate may not be used for what it was used for (AWS section 3.2.3.3; RFC 5280,
    /// section 4.2.1.3).
    #[error("{certificate} lacks the key usage {wanted}")]
    "key_usage" KeyUsage {
        /// Which one.
        certificate: CertificatePosition,
        /// The usage that it must allow.
        wanted: &'static str,
    },
    /// A certificate was issued by another than the one before it (RFC 5280, section 6.1.3).
    #[error("{certificate} was issued by `{found}`, not `{wanted}`")]
    "issuer" Issuer {
        /// Which one.
        certificate: CertificatePosition,
        /// The subject of the certificate before it.
        wanted: String,
        /// The issuer that it names.
        found: String,
    },
    /// A certificate is not valid yet (AWS section 3.2.3.1; RFC 5280, section 6.1.3).
    #[error("{certificate} is valid from {not_before_ms}, and it is {at_ms}")]
    "certificate_not_yet_valid" CertificateNotYetValid {
        /// Which one.
        certificate: CertificatePosition,
        /// The start of its validity.
        not_before_ms: u64,
        /// The time of the verification.
        at_ms: u64,
    },
    /// A certificate is not valid any more (AWS section 3.2.3.1; RFC 5280, section 6.1.3).
    #[error("{certificate} was valid until {not_after_ms}, and it is {at_ms}")]
    "certificate_expired" CertificateExpired {
        /// Which one.
        certificate: CertificatePosition,
        /// The end of its validity.
        not_after_ms: u64,
        /// The time of the verification.
        at_ms: u64,
    },
    /// A certificate's signature is not its issuer's (RFC 5280, section 6.1.3).
    #[error("{certificate} is not signed by its issuer")]
    "certificate_signature" CertificateSignature {
        /// Which one.
        certificate: CertificatePosition,
    },
    /// The document's signature is not by the leaf's key (AWS section 3.2; RFC 9052, section 4.4).
    #[error("the document is not signed by the leaf's key")]
    "cose_signature" CoseSignature,
    /// The document is from the future: its timestamp, or the verifier's clock, cannot be trusted.
    #[error("the document was made at {timestamp_ms}, more than {skew_ms} ms after {at_ms}")]
    "timestamp_in_future" TimestampInFuture {
        /// When the document says that it was made.
        timestamp_ms: u64,
        /// The time of the verification.
        at_ms: u64,
        /// How far clocks may differ, in milliseconds.
        skew_ms: u64,
    },
    /// The document is older than the policy allows.
    #[error("the document is {age_ms} ms old, at most {max_age_ms} ms are allowed")]
    "too_old" TooOld {
        /// The document's age.
        age_ms: u64,
        /// The greatest age.
        max_age_ms: u64,
    },
    /// The document was made before the question was asked that it should answer.
    #[error("the document was made at {timestamp_ms}, more than {skew_ms} ms before {issued_at_ms}")]
    "before_issue" BeforeIssue {
        /// When the document says that it was made.
        timestamp_ms: u64,
        /// When the nonce was issued.
        issued_at_ms: u64,
        /// How far clocks may differ, in milliseconds.
        skew_ms: u64,
    },
    /// The document has no nonce, and the policy wants one (AWS section 2.2.2).
    #[error("the document has no nonce")]
    "nonce_missing" NonceMissing,
    /// The document answers another question than the one asked (AWS section 2.2.2).
    #[error("the nonce is {found}, not {expected}")]
    "nonce_mismatch" NonceMismatch {
        /// The nonce that was sent.
        expected: String,
        /// The nonce in the document.
        found: String,
    },
    /// The document has a nonce, and the policy wants none.
    #[error("the nonce is {found}, none was expected")]
    "nonce_unexpected" NonceUnexpected {
        /// The nonce in the document.
        found: String,
    },
    /// The document has no user data, and the policy wants some.
    #[error("the document has no user data")]
    "user_data_missing" UserDataMissing,
    /// The user data is not what the policy wants.
    #[error("the user data is {found}, not {expected}")]
    "user_data_mismatch" UserDataMismatch {
        /// What the policy wants.
        expected: String,
        /// What the document has.
        found: String,
    },
    /// The document has user data, and the policy wants none.
    #[error("the user data is {found}, none was expected")]
    "user_data_unexpected" UserDataUnexpected {
        /// What the document has.
        found: String,
    },
    /// The document has no public key, and the policy wants one.
    #[error("the document has no public key")]
    "public_key_missing" PublicKeyMissing,
    /// The public key is not the one that the policy wants.
    #[error("the public key is {found}, not {expected}")]
    "public_key_mismatch" PublicKeyMismatch {
        /// What the policy wants.
        expected: String,
        /// What the document has.
        found: String,
    },
    /// The document has a public key, and the policy wants none.
    #[error("the public key is {found}, none was expected")]
    "public_key_unexpected" PublicKeyUnexpected {
        /// What the document has.
        found: String,
    },
    /// The document is of another module than the one pinned.
    #[error("the module is {found:?}, not {expected:?}")]
    "module_id" ModuleId {
        /// The module that the policy wants.
        expected: String,
        /// The module that made the document.
        found: String,
    },
    /// The module is not on the instance that was launched.
    #[error("the module is {found:?}, which is not on instance {expected:?}")]
    "instance" Instance {
        /// The instance that the policy wants.
        expected: String,
        /// The module that made the document.
        found: String,
    },
    /// PCR4 is not that of the instance that was launched (AWS user guide, PCR4).
    #[error("PCR4 is {found}, not {expected} of the instance")]
    "instance_pcr" InstancePcr {
        /// The value for the instance.
        expected: String,
        /// The document's value, or `absent`.
        found: String,
    },
    /// PCR3 is not that of the parent's role (AWS user guide, PCR3).
    #[error("PCR3 is {found}, not {expected} of the role")]
    "role_pcr" RolePcr {
        /// The value for the role.
        expected: String,
        /// The document's value, or `absent`.
        found: String,
    },
    /// The enclave runs in debug mode, where its parent can read its console, and the policy
    /// refuses that. AWS user guide: PCRs are zeros in debug mode.
    #[error("the enclave runs in debug mode")]
    "debug" Debug,
    /// A register that the policy has a rule for is not in the document.
    #[error("PCR{index} is not in the document")]
    "pcr_missing" PcrMissing {
        /// The register's index.
        index: u8,
    },
    /// A register holds another value than any that the policy allows.
    #[error("PCR{index} is {found}, not {expected}")]
    "pcr_mismatch" PcrMismatch {
        /// The register's index.
        index: u8,
        /// The values that the policy allows.
        expected: String,
        /// The document's value.
        found: String,
    },
    /// A register is zero, and the policy wants it measured.
    #[error("PCR{index} is zero")]
    "pcr_zero" PcrZero {
        /// The register's index.
        index: u8,
    },
    /// A register holds something, and the policy wants it zero.
    #[error("PCR{index} is {found}, not zero")]
    "pcr_not_zero" PcrNotZero {
        /// The register's index.
        index: u8,
        /// The document's value.
        found: String,
    },
}
