//! The tables and the bucket, each behind a type that knows its own rules.

mod checkpoints;
mod hosts;
mod images;
mod ledger;
mod records;
mod reports;
mod transaction;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use bailey_runtime::items::ItemError;
pub use checkpoints::Checkpoints;
pub use hosts::{HostView, Hosts};
pub use images::Images;
pub use ledger::{Active, Ledger};
pub use records::{ReadRecord, Records};
pub use reports::Reports;
pub use transaction::{Look, WrittenTogether};

/// What came of a conditional write.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Written<T> {
    /// The write took place.
    Done(T),
    /// Somebody else wrote first; read again.
    Outdated,
}

/// Why a table or bucket could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The service answered with an error, or not at all.
    #[error("cannot {doing} {place}")]
    Call {
        /// What was being done.
        doing: &'static str,
        /// Table or bucket, and key.
        place: String,
        /// The SDK's reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Somebody else was writing the same items at that moment.
    #[error("{place} is being written by somebody else")]
    Contended {
        /// Table and key.
        place: String,
    },
    /// An item is not of the form that Bailey writes.
    #[error("{place} is damaged")]
    Item {
        /// Table and key.
        place: String,
        /// What is wrong with it.
        source: ItemError,
    },
    /// A report under the key of ours has other contents.
    #[error("{place} exists with other contents")]
    ReportConflict {
        /// Bucket and key.
        place: String,
    },
}

impl StoreError {
    fn call<E>(doing: &'static str, place: impl Into<String>) -> impl FnOnce(E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let place = place.into();
        move |source| Self::Call { doing, place, source: Box::new(source) }
    }

    fn item(place: impl Into<String>) -> impl FnOnce(ItemError) -> Self {
        let place = place.into();
        move |source| Self::Item { place, source }
    }
}

/// Tells a write whose condition did not hold from one that failed.
fn condition<T, E, R>(
    result: Result<T, SdkError<E, R>>,
    doing: &'static str,
    place: &str,
) -> Result<Written<T>, StoreError>
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    R: std::fmt::Debug + Send + Sync + 'static,
{
    match result {
        Ok(output) => Ok(Written::Done(output)),
        Err(error) if error.code() == Some("ConditionalCheckFailedException") => {
            Ok(Written::Outdated)
        }
        Err(error) if error.code() == Some("TransactionConflictException") => {
            Err(StoreError::Contended { place: place.to_owned() })
        }
        Err(error) => Err(StoreError::call(doing, place)(error)),
    }
}
