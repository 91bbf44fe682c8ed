//! Calls to AWS that were not served, in words that lead somewhere.

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use std::{error::Error, fmt::Debug};

/// A call that AWS refused, or that never reached it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// AWS answered with an error.
    #[error("{code}: {message}")]
    Refused { code: String, message: String },
    /// No answer came: no credentials, no region, no connection, no time left.
    #[error("the call got no answer")]
    Unanswered { source: Box<dyn Error + Send + Sync> },
}

impl CallError {
    /// Keeps of an SDK's error what a person needs.
    pub(crate) fn from_sdk<E, R>(error: SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata + Error + Send + Sync + 'static,
        R: Debug + Send + Sync + 'static,
    {
        match error.code() {
            Some(code) => Self::Refused {
                code: code.to_owned(),
                message: error.message().unwrap_or("no message").to_owned(),
            },
            None => Self::Unanswered { source: Box::new(error) },
        }
    }

    /// AWS's error code, when it answered.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            Self::Unanswered { .. } => None,
        }
    }

    /// What usually helps.
    pub(crate) fn advice(&self) -> String {
        match self.code() {
            Some("ResourceNotFoundException") => {
                "check --table (or BAILEY_ENCLAVES_TABLE) and --region"
            }
            Some("NoSuchBucket" | "NoSuchKey") => "the object is gone, or was never written",
            Some("PermanentRedirect" | "AuthorizationHeaderMalformed") => {
                "the bucket lies in another region; give it with --region"
            }
            Some(code) if code.starts_with("AccessDenied") => {
                "these credentials lack the permission; check AWS_PROFILE"
            }
            Some(code) if code.contains("Token") || code.contains("UnrecognizedClient") => {
                "renew the credentials, or check AWS_PROFILE"
            }
            Some(_) => "try again; if it stays so, the message above is AWS's own",
            None => {
                "check the credentials and the region (AWS_PROFILE, AWS_REGION or --region) and, \
                 for a local cloud, AWS_ENDPOINT_URL"
            }
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: &str) -> CallError {
        CallError::Refused { code: code.to_owned(), message: "m".to_owned() }
    }

    #[test]
    fn a_refusal_leads_to_what_the_caller_can_change() {
        assert!(refused("ResourceNotFoundException").advice().contains("--table"));
        assert!(refused("AccessDeniedException").advice().contains("permission"));
        assert!(refused("PermanentRedirect").advice().contains("--region"));
        assert!(refused("ExpiredTokenException").advice().contains("renew"));
        assert_eq!(refused("AccessDenied").to_string(), "AccessDenied: m");
    }
}
