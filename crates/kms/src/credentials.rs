//! Whose request it is.
//!
//! Credentials alone decrypt nothing when the key's policy asks for an attestation document, so they
//! may come from outside: from a client of the workload, or from the parent.

use serde::Deserialize;
use std::{env, fs, io, path::PathBuf};
use zeroize::Zeroizing;

/// Keys of AWS's, long-lived or temporary.
#[derive(Clone)]
pub struct Credentials {
    /// `AKIA…` or `ASIA…`
    pub access_key_id: String,
    /// The secret that signs.
    pub secret_access_key: Zeroizing<String>,
    /// What temporary ones have beside it.
    pub session_token: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

impl From<Credentials> for aws_credential_types::Credentials {
    fn from(it: Credentials) -> Self {
        Self::new(
            it.access_key_id,
            it.secret_access_key.as_str(),
            it.session_token,
            None,
            "keep-kms",
        )
    }
}

/// Where credentials come from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN`.
    Environment,
    /// A file that is read for each call, in the form that AWS's `credential_process` prints
    /// (AWS SDKs Reference, "Process credential provider"): so others may renew it.
    File(PathBuf),
}

/// Why there are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file's text has another form.
    #[error("{} has not the form that a credential_process prints", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The file cannot be read.
    #[error("cannot read the credentials in {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A variable is not set.
    #[error("{0} is not set, and no file with credentials was given")]
    Variable(&'static str),
}

impl Source {
    /// The credentials as they are now.
    pub fn load(&self) -> Result<Credentials, CredentialsError> {
        match self {
            Self::Environment => from_variables(|name| env::var(name).ok()),
            Self::File(path) => {
                let text = fs::read_to_string(path)
                    .map_err(|source| CredentialsError::Read { path: path.clone(), source })?;
                parse(&Zeroizing::new(text))
                    .map_err(|source| CredentialsError::Form { path: path.clone(), source })
            }
        }
    }
}

fn from_variables(
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Credentials, CredentialsError> {
    let need = |name: &'static str| {
        variable(name).filter(|value| !value.is_empty()).ok_or(CredentialsError::Variable(name))
    };
    Ok(Credentials {
        access_key_id: need("AWS_ACCESS_KEY_ID")?,
        secret_access_key: need("AWS_SECRET_ACCESS_KEY")?.into(),
        session_token: variable("AWS_SESSION_TOKEN").filter(|value| !value.is_empty()),
    })
}

fn parse(text: &str) -> Result<Credentials, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Printed {
        access_key_id: String,
        secret_access_key: String,
        session_token: Option<String>,
    }
    let printed: Printed = serde_json::from_str(text)?;
    Ok(Credentials {
        access_key_id: printed.access_key_id,
        secret_access_key: printed.secret_access_key.into(),
        session_token: printed.session_token,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_give_long_lived_and_temporary_credentials() {
        let all = |name: &str| Some(format!("value of {name}"));
        let found = from_variables(all).unwrap();
        assert_eq!(found.session_token.as_deref(), Some("value of AWS_SESSION_TOKEN"));
        let found = from_variables(|name| all(name).filter(|_| name != "AWS_SESSION_TOKEN"));
        assert_eq!(found.unwrap().session_token, None);
        let found = from_variables(|_| Some(String::new())).unwrap_err();
        assert!(found.to_string().starts_with("AWS_ACCESS_KEY_ID is not set"));
    }

    #[test]
    fn a_file_is_read_in_the_form_of_a_credential_process_and_never_shown() {
        let text = r#"{"Version":1,"AccessKeyId":"ASIA","SecretAccessKey":"hush","SessionToken":"t",
            "Expiration":"2030-01-01T00:00:00Z"}"#;
        let found = parse(text).unwrap();
        assert_eq!(found.access_key_id, "ASIA");
        let shown = format!("{found:?}");
        assert!(shown.contains("ASIA") && !shown.contains("hush"), "{shown}");
        assert!(parse("{}").is_err());
        let missing = Source::File("/nonexistent/credentials".into()).load().unwrap_err();
        assert!(missing.to_string().contains("/nonexistent/credentials"));
    }
}
