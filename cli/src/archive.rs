//! An enclave's reports as they lie in the bucket: `reports/<id>/<generation>/<sequence>.json`.

use crate::objects::{ObjectError, Objects};
use bailey_model::{EnclaveId, S3Location};
use std::path::PathBuf;

/// The reports of one enclave.
#[derive(Debug)]
pub(crate) struct Archive {
    objects: Objects,
    bucket: String,
    /// With which the keys of all its reports begin.
    prefix: String,
}

/// Which report; they sort in the order of the chain.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Place {
    generation: u64,
    sequence: u64,
}

impl Archive {
    /// The reports of `id` in `bucket`.
    pub(crate) fn new(objects: Objects, bucket: String, id: &EnclaveId) -> Self {
        Self { objects, bucket, prefix: format!("reports/{id}/") }
    }

    /// Where its reports are, in the order of the chain. Other objects are nobody's history.
    pub(crate) async fn places(&self) -> Result<Vec<Place>, ObjectError> {
        let keys = self.objects.list(&self.bucket, &self.prefix).await?;
        let place = |key: &String| Place::parse(key.strip_prefix(&self.prefix)?);
        let mut places: Vec<_> = keys.iter().filter_map(place).collect();
        places.sort();
        Ok(places)
    }

    /// The object that holds a report.
    pub(crate) fn location(&self, place: Place) -> S3Location {
        let key = format!("{}{}", self.prefix, place.file().display());
        S3Location { bucket: self.bucket.clone(), key }
    }

    /// The bytes of a report.
    pub(crate) async fn read(&self, place: Place) -> Result<Vec<u8>, ObjectError> {
        self.objects.read(&self.location(place)).await
    }
}

impl Place {
    /// Reads what comes after the prefix. A key that a file name could not be made of again is
    /// refused, and so nothing is ever written outside of the directory that was asked for.
    fn parse(key: &str) -> Option<Self> {
        let (generation, file) = key.split_once('/')?;
        let sequence = file.strip_suffix(".json")?.parse().ok()?;
        let place = Self { generation: generation.parse().ok()?, sequence };
        (place.file().to_str() == Some(key)).then_some(place)
    }

    /// The file of a copy of the history, relative to its directory.
    pub(crate) fn file(self) -> PathBuf {
        PathBuf::from(format!("{}/{:010}.json", self.generation, self.sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written_and_sorts_by_number() {
        let place = |key| Place::parse(key).unwrap();
        assert_eq!(place("3/0000000012.json"), Place { generation: 3, sequence: 12 });
        assert_eq!(place("3/0000000012.json").file().to_str(), Some("3/0000000012.json"));
        assert!(place("9/0000000002.json") < place("10/0000000001.json"));
    }

    #[test]
    fn a_key_of_another_form_is_no_place() {
        for key in ["../../0000000001.json", "1/1.json", "+1/0000000001.json", "1/0000000001", ""] {
            assert_eq!(Place::parse(key), None, "{key}");
        }
    }
}
