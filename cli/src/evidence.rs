//! What `bailey verify` is given: a report, or a bare document.

use crate::{exit::Advise, objects::REPORT_LIMIT};
use bailey_model::report::{Report, SCHEMA};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// Something that can be judged.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Evidence {
    /// A bare `COSE_Sign1`.
    Document(Vec<u8>),
    /// A report, with the document inside.
    Report(Box<Report>),
}

impl Evidence {
    /// Reads a file, or standard input when its name is `-`.
    pub(crate) fn read(path: &Path) -> Result<Self, EvidenceError> {
        let read = if path == Path::new("-") {
            bounded(io::stdin().lock())
        } else {
            File::open(path).and_then(bounded)
        };
        let bytes = read.map_err(|source| EvidenceError::Read { file: path.to_owned(), source })?;
        Self::parse(&bytes)
            .map_err(|source| EvidenceError::Content { file: path.to_owned(), source })
    }

    /// Tells a report (JSON) from a document, and a document in base64 from one in binary.
    fn parse(bytes: &[u8]) -> Result<Self, ContentError> {
        let trimmed = bytes.trim_ascii();
        if trimmed.is_empty() {
            return Err(ContentError::Empty);
        }
        if bytes.len() > REPORT_LIMIT {
            return Err(ContentError::TooLarge);
        }
        // Neither a CBOR array nor a CBOR tag starts with a byte that JSON could start with.
        if trimmed.starts_with(b"{") {
            return Ok(Self::Report(Box::new(parse_report(trimmed)?)));
        }
        let line: Vec<u8> =
            trimmed.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let from_base64 = trimmed.is_ascii().then(|| STANDARD.decode(line).ok()).flatten();
        Ok(Self::Document(from_base64.unwrap_or_else(|| bytes.to_owned())))
    }
}

/// Reads the report in a file, and the bytes that it consists of.
pub(crate) fn read_report(path: &Path) -> Result<(Vec<u8>, Report), EvidenceError> {
    let bytes = File::open(path)
        .and_then(bounded)
        .map_err(|source| EvidenceError::Read { file: path.to_owned(), source })?;
    let report = parse_report(&bytes)
        .map_err(|source| EvidenceError::Content { file: path.to_owned(), source })?;
    Ok((bytes, report))
}

/// Reads one byte more than is allowed, so that too much can be told from enough.
pub(crate) fn bounded(source: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(REPORT_LIMIT).unwrap_or(u64::MAX).saturating_add(1);
    source.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads a report of the schema that this version knows.
pub(crate) fn parse_report(bytes: &[u8]) -> Result<Report, ContentError> {
    if bytes.len() > REPORT_LIMIT {
        return Err(ContentError::TooLarge);
    }
    let json: Value =
        serde_json::from_slice(bytes).map_err(|source| ContentError::Json { source })?;
    match json.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => {
            serde_json::from_value(json).map_err(|source| ContentError::Json { source })
        }
        schema => Err(ContentError::Schema { found: schema.unwrap_or("none").to_owned() }),
    }
}

/// Why nothing can be judged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvidenceError {
    /// The file holds neither a report nor a document.
    #[error("`{}` cannot be judged", file.display())]
    Content { file: PathBuf, source: ContentError },
    /// The file cannot be read.
    #[error("cannot read `{}`", file.display())]
    Read { file: PathBuf, source: io::Error },
}

impl Advise for EvidenceError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::Content { .. } => Some(
                "give a report that `bailey report --out` wrote, or an attestation document \
                 (COSE_Sign1, binary or base64)"
                    .to_owned(),
            ),
            Self::Read { .. } => None,
        }
    }
}

/// Why bytes are neither a report nor a document.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContentError {
    /// There are no bytes.
    #[error("it is empty")]
    Empty,
    /// It starts like JSON and is no report.
    #[error("it is not a report in JSON")]
    Json { source: serde_json::Error },
    /// It is JSON of another kind or version.
    #[error("its schema is `{found}`, this version reads `{SCHEMA}`")]
    Schema { found: String },
    /// It is larger than any report.
    #[error("it is larger than {REPORT_LIMIT} bytes, which no report is")]
    TooLarge,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_taken_in_binary_and_in_base64() {
        let document = Evidence::Document(vec![0x84, 0x44, 0xa1, 0x01]);
        assert_eq!(Evidence::parse(&[0x84, 0x44, 0xa1, 0x01]).unwrap(), document);
        assert_eq!(Evidence::parse(b"hEShAQ==\n").unwrap(), document);
        assert_eq!(Evidence::parse(b"hESh\nAQ==").unwrap(), document);
    }

    #[test]
    fn json_of_another_kind_is_no_report() {
        let error = |text: &str| Evidence::parse(text.as_bytes()).unwrap_err().to_string();
        assert_eq!(error("{}"), "its schema is `none`, this version reads `bailey.report/1`");
        assert_eq!(error("{\"schema\": \"bailey.report/1\"}"), "it is not a report in JSON");
        assert_eq!(error("{"), "it is not a report in JSON");
        assert_eq!(error(" \n"), "it is empty");
    }
}
