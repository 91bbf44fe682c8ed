//! Signed manifests as the source of what an image has to measure to.
//!
//! A manifest counts when a configured key signed it, wherever it came from. It says which file it
//! is about, so a parent cannot run another image of the same builder under it.

use crate::{
    config::Config,
    judge::names_image,
    ledger::{Entry, ImageManifest, SignedMeasurements, Spec},
};
use bailey_manifest::{ENVELOPE_SUFFIX, OpenError};
use bailey_model::{
    Base64Bytes, S3Location, UnixMillis,
    failure::{Failure, FailureCode},
    manifest::Manifest,
    report::SignedManifest,
};

/// What lies where an image's signed manifest would be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ManifestObject {
    /// Nothing.
    Absent,
    /// It may not be read; S3 answers so, too, for an absent object that may not be listed.
    Denied,
    /// These bytes; at least one more than [`bailey_manifest::MAX_ENVELOPE_BYTES`] of a longer one.
    Found(Vec<u8>),
}

/// What came of a manifest that does not end the generation.
pub(crate) struct Judged {
    pub(crate) manifest: ImageManifest,
    pub(crate) event: String,
}

/// Whether what the image has to measure to is left to a manifest.
pub(crate) fn wants_manifest(spec: &Spec, config: &Config) -> bool {
    let configuration = &spec.configuration;
    !config.manifest_keys.is_empty()
        && !configuration.debug_mode
        && !names_image(&configuration.expected_pcrs)
}

/// Where the signed manifest of the image at `image` is.
pub(crate) fn manifest_of(image: &S3Location) -> S3Location {
    S3Location { bucket: image.bucket.clone(), key: format!("{}{ENVELOPE_SUFFIX}", image.key) }
}

pub(crate) fn judged(
    entry: &Entry,
    found: &ManifestObject,
    config: &Config,
    now: UnixMillis,
) -> Result<Judged, Failure> {
    let Some(configuration) = entry.configuration() else {
        return Ok(Judged { manifest: ImageManifest::Missing, event: String::new() });
    };
    let location = manifest_of(&configuration.eif_path);
    let missing = match found {
        ManifestObject::Found(bytes) => {
            let signed = believed(entry, bytes, &location, config);
            let failure = |reason| {
                let message = format!("{location}: {reason}");
                Failure::new(FailureCode::ManifestRejected, message, now)
            };
            return signed.map_err(failure).map(|signed| Judged {
                event: format!("{location} counts; key {} signed it", signed.evidence.key_id),
                manifest: ImageManifest::Signed(signed),
            });
        }
        ManifestObject::Absent => format!("there is no {location}"),
        ManifestObject::Denied => format!("{location} is not there, or may not be read"),
    };
    if configuration.require_verified {
        let message = format!("nothing says what the image must measure to: {missing}");
        return Err(Failure::new(FailureCode::NotVerified, message, now));
    }
    Ok(Judged { manifest: ImageManifest::Missing, event: missing })
}

fn believed(
    entry: &Entry,
    bytes: &[u8],
    location: &S3Location,
    config: &Config,
) -> Result<SignedMeasurements, String> {
    let signed = config.manifest_keys.open(bytes).map_err(|error| with_cause(&error))?;
    let manifest = signed.manifest();
    agrees(entry, manifest)?;
    Ok(SignedMeasurements {
        evidence: SignedManifest {
            location: location.clone(),
            envelope: Base64Bytes(bytes.to_vec()),
            key_id: signed.key_id().to_owned(),
        },
        pcrs: manifest.measurements.pcrs(),
        eif_sha384: manifest.eif_sha384,
    })
}

/// A record that pins something else than the manifest says means another image.
fn agrees(entry: &Entry, manifest: &Manifest) -> Result<(), String> {
    let Some(configuration) = entry.configuration() else { return Ok(()) };
    if let Some(stated) = configuration.eif_sha384.filter(|stated| *stated != manifest.eif_sha384) {
        let signed = manifest.eif_sha384;
        return Err(format!(
            "it is about the file {signed}; the record states eif_sha384 {stated}"
        ));
    }
    for (index, signed) in manifest.measurements.pcrs() {
        let stated = configuration.expected_pcrs.get(&index);
        if let Some(stated) = stated.filter(|stated| **stated != signed) {
            return Err(format!("it states PCR{index} {signed}; the record expects {stated}"));
        }
    }
    Ok(())
}

fn with_cause(error: &OpenError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
