//! Measurements as files and flags give them.

use crate::exit::Advise;
use bailey_model::{Pcr, PcrError, PcrSet};
use serde_json::{Map, Value};
use std::{io, path::Path, path::PathBuf, str::FromStr};

/// Reads the measurements in a file: an image build's manifest, the output of
/// `nitro-cli describe-eif` or `build-enclave`, or a plain map from index to hex.
pub(crate) fn read(path: &Path) -> Result<PcrSet, PcrFileError> {
    let file = || path.to_owned();
    let text = std::fs::read_to_string(path)
        .map_err(|source| PcrFileError::Read { file: file(), source })?;
    let json: Map<String, Value> = serde_json::from_str(&text)
        .map_err(|source| PcrFileError::Json { file: file(), source })?;
    parse(&json).map_err(|source| PcrFileError::Content { file: file(), source })
}

/// Takes the measurements out of a manifest, a description, or a plain map.
fn parse(json: &Map<String, Value>) -> Result<PcrSet, PcrMapError> {
    let inner = ["measurements", "Measurements"]
        .into_iter()
        .find_map(|name| json.get(name).and_then(Value::as_object));
    // A plain map holds nothing but PCRs; what else lies beside them in `Measurements` is named.
    let pcrs: PcrSet = inner
        .unwrap_or(json)
        .iter()
        .filter(|(name, _)| *name != "HashAlgorithm")
        .map(|(name, value)| entry(name, value))
        .collect::<Result<_, _>>()?;
    if pcrs.is_empty() {
        return Err(PcrMapError::Empty);
    }
    Ok(pcrs)
}

fn entry(name: &str, value: &Value) -> Result<(u8, Pcr), PcrMapError> {
    let index = parse_index(name).ok_or_else(|| PcrMapError::Index { name: name.to_owned() })?;
    let text = value.as_str().unwrap_or_default();
    let pcr = text.parse().map_err(|source| PcrMapError::Value { index, source })?;
    Ok((index, pcr))
}

/// `0` or `PCR0`, up to 31.
fn parse_index(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("PCR").unwrap_or(text);
    digits.parse().ok().filter(|index| *index <= 31)
}

/// One measurement as a flag gives it: `N=HEX`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct PcrArgument {
    pub(crate) index: u8,
    pub(crate) value: Pcr,
}

impl FromStr for PcrArgument {
    type Err = PcrArgumentError;

    fn from_str(text: &str) -> Result<Self, PcrArgumentError> {
        let (name, value) = text.split_once('=').ok_or(PcrArgumentError::Form)?;
        let index = parse_index(name).ok_or(PcrArgumentError::Form)?;
        // clap shows this error alone, without its cause.
        let value = value
            .parse()
            .map_err(|error: PcrError| PcrArgumentError::Value { reason: error.to_string() })?;
        Ok(Self { index, value })
    }
}

/// Why a flag gives no measurement.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum PcrArgumentError {
    /// It is not of the form `N=HEX`, N from 0 to 31.
    #[error("write N=HEX, with N from 0 to 31")]
    Form,
    /// The value is no PCR.
    #[error("{reason}")]
    Value { reason: String },
}

/// Why a file gives no measurements.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PcrFileError {
    /// Its JSON holds something else.
    #[error("`{}` holds no measurements", file.display())]
    Content { file: PathBuf, source: PcrMapError },
    /// It is not a JSON object.
    #[error("`{}` is not a JSON object", file.display())]
    Json { file: PathBuf, source: serde_json::Error },
    /// It cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read { file: PathBuf, source: io::Error },
}

impl Advise for PcrFileError {
    fn advice(&self) -> Option<String> {
        let forms = "give the manifest that `bailey image build` wrote, the output of \
                     `nitro-cli describe-eif`, or {\"0\": \"<96 hex digits>\", …}";
        Some(forms.to_owned())
    }
}

/// What is wrong with a map of measurements.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum PcrMapError {
    /// There are none.
    #[error("there is not one PCR in it")]
    Empty,
    /// A name is no PCR's.
    #[error("`{name}` is not a PCR (0 to 31, or PCR0 to PCR31)")]
    Index { name: String },
    /// A value is no PCR's.
    #[error("PCR{index} cannot be read")]
    Value { index: u8, source: PcrError },
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parsed(json: Value) -> Result<PcrSet, PcrMapError> {
        let Value::Object(map) = json else { panic!("not an object") };
        parse(&map)
    }

    #[test]
    fn manifests_descriptions_and_plain_maps_give_the_same_measurements() {
        let pcr = "ab".repeat(48);
        let expected = PcrSet::from([(0, pcr.parse().unwrap()), (8, pcr.parse().unwrap())]);
        let manifest = json!({"name": "x", "measurements": {"PCR0": pcr, "PCR8": pcr}});
        let description = json!({"Measurements": {"HashAlgorithm": "Sha384 { ... }", "PCR0": pcr,
            "PCR8": pcr}, "IsSigned": true});
        assert_eq!(parsed(manifest).unwrap(), expected);
        assert_eq!(parsed(description).unwrap(), expected);
        assert_eq!(parsed(json!({"0": pcr, "8": pcr})).unwrap(), expected);
    }

    #[test]
    fn a_file_that_demands_nothing_is_refused() {
        assert_eq!(parsed(json!({})), Err(PcrMapError::Empty));
        assert_eq!(parsed(json!({"Measurements": {}})), Err(PcrMapError::Empty));
    }

    #[test]
    fn what_is_no_measurement_is_named() {
        assert_eq!(parsed(json!({"32": ""})), Err(PcrMapError::Index { name: "32".to_owned() }));
        assert!(matches!(parsed(json!({"3": 5})), Err(PcrMapError::Value { index: 3, .. })));
    }

    #[test]
    fn a_flag_names_its_register() {
        let pcr = "cd".repeat(48);
        let argument: PcrArgument = format!("PCR4={pcr}").parse().unwrap();
        assert_eq!(argument, PcrArgument { index: 4, value: pcr.parse().unwrap() });
        assert_eq!("4".parse::<PcrArgument>(), Err(PcrArgumentError::Form));
        assert!(matches!("4=ab".parse::<PcrArgument>(), Err(PcrArgumentError::Value { .. })));
    }
}
