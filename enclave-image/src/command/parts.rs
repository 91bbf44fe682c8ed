//! Arguments that say several things at once.

use crate::{
    build::{ImagePath, ImagePathError, WorkloadFile},
    workload::Probe,
};
use std::str::FromStr;

/// A variable of an environment, as `NAME=VALUE`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Variable(pub (String, String));

impl FromStr for Variable {
    type Err = VariableError;

    fn from_str(text: &str) -> Result<Self, VariableError> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => Ok(Self((name.into(), value.into()))),
            _ => Err(VariableError),
        }
    }
}

/// The argument sets no variable.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("NAME=VALUE is expected")]
pub struct VariableError;

/// A probe over HTTP, as `PORT/PATH`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpProbe(pub Probe);

impl FromStr for HttpProbe {
    type Err = HttpProbeError;

    fn from_str(text: &str) -> Result<Self, HttpProbeError> {
        let end = text.find('/').unwrap_or(text.len());
        let (port, path) = text.split_at(end);
        let port = port.parse().map_err(|_| HttpProbeError)?;
        let path = if path.is_empty() { "/" } else { path };
        Ok(Self(Probe::Http { port, path: path.to_owned() }))
    }
}

/// The argument names no port.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("PORT/PATH is expected, such as 8080/healthz")]
pub struct HttpProbeError;

/// A [`WorkloadFile`] as `PATH=FILE[:MODE]`; the mode is octal, 0755 by default.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AddedFile(pub WorkloadFile);

impl FromStr for AddedFile {
    type Err = AddedFileError;

    fn from_str(text: &str) -> Result<Self, AddedFileError> {
        let (path, rest) = text.split_once('=').ok_or(AddedFileError::NoFile)?;
        let (source, mode) = match rest.rsplit_once(':') {
            Some((source, mode)) => (source, parse_mode(mode)?),
            None => (rest, 0o755),
        };
        let path: ImagePath = path.parse().map_err(AddedFileError::Path)?;
        Ok(Self(WorkloadFile { path, source: source.into(), mode }))
    }
}

fn parse_mode(text: &str) -> Result<u32, AddedFileError> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(AddedFileError::Mode { found: text.to_owned() }),
    }
}

/// Why an argument describes no file of the workload.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddedFileError {
    /// The part after the last colon is no octal mode.
    #[error("`{found}` is not an octal mode up to 7777")]
    Mode {
        /// That part.
        found: String,
    },
    /// There is no `=`.
    #[error("PATH=FILE[:MODE] is expected")]
    NoFile,
    /// The path in the enclave is not usable. The only text that a command line shows.
    #[error(transparent)]
    Path(ImagePathError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_probes_are_split_at_their_first_separator() {
        let variable = |text: &str| text.parse::<Variable>().map(|Variable(pair)| pair);
        assert_eq!(variable("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert_eq!(variable("A="), Ok(("A".into(), String::new())));
        assert_eq!((variable("A"), variable("=b")), (Err(VariableError), Err(VariableError)));
        let probe = |text: &str| text.parse::<HttpProbe>().map(|HttpProbe(probe)| probe);
        let http = |port, path: &str| Ok(Probe::Http { port, path: path.into() });
        assert_eq!(probe("80/a/b"), http(80, "/a/b"));
        assert_eq!(probe("80"), http(80, "/"));
        assert_eq!(probe("/a"), Err(HttpProbeError));
    }

    #[test]
    fn a_file_is_given_with_or_without_a_mode() {
        let parse = |text: &str| {
            text.parse::<AddedFile>()
                .map(|AddedFile(file)| (file.path.to_string(), file.source, file.mode))
        };
        assert_eq!(parse("/app=./app"), Ok(("/app".into(), "./app".into(), 0o755)));
        assert_eq!(parse("etc/app=/x/app:0600"), Ok(("/etc/app".into(), "/x/app".into(), 0o600)));
        assert_eq!(parse("/app"), Err(AddedFileError::NoFile));
        assert_eq!(parse("/app=x:rw"), Err(AddedFileError::Mode { found: "rw".into() }));
        assert!(matches!(parse("/init=x"), Err(AddedFileError::Path(_))));
    }
}
