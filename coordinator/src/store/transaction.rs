//! Items of several tables, read or written at one instant.

use super::{HostView, Hosts, Ledger, ReadRecord, Records, StoreError};
use aws_sdk_dynamodb::{
    Client,
    error::{ProvideErrorMetadata, SdkError},
    operation::transact_write_items::TransactWriteItemsError,
    types::{Get, TransactGetItem, TransactWriteItem},
};
use bailey_lifecycle::ledger::Entry;
use bailey_model::EnclaveId;
use bailey_runtime::items::Item;

/// What the tables hold about one id, as it was at one instant.
#[derive(Debug)]
pub struct Look {
    /// The ledger's entry.
    pub entry: Option<Entry>,
    /// The web app's record.
    pub record: ReadRecord,
    /// What the host says of itself; nothing when none was asked for.
    pub host: HostView,
}

impl Look {
    /// Reads all that the tables hold about `id`, with the items of the host that is given.
    pub async fn at(
        (ledger, records, hosts): (&Ledger, &Records, &Hosts),
        id: &EnclaveId,
        instance_arn: Option<&str>,
    ) -> Result<Self, StoreError> {
        let mut gets = vec![ledger.get(id)?, records.get(id.as_str())?];
        if let Some(arn) = instance_arn {
            gets.extend(hosts.gets(arn)?);
        }
        let place = || format!("what is known of {id}");
        let mut items = read(ledger.client(), gets, &place()).await?.into_iter();
        let mut next = || items.next().flatten();
        Ok(Self {
            entry: next().map(|item| ledger.parse(id, item)).transpose()?,
            record: next().map_or(ReadRecord::Absent, ReadRecord::parse),
            host: HostView::parse(next(), next()),
        })
    }
}

/// The items, in the order of what was asked for.
pub(super) async fn read(
    client: &Client,
    gets: Vec<Get>,
    place: &str,
) -> Result<Vec<Option<Item>>, StoreError> {
    let wanted = gets.len();
    let gets = gets.into_iter().map(|get| TransactGetItem::builder().get(get).build()).collect();
    let output = client.transact_get_items().set_transact_items(Some(gets)).send().await;
    let output = output.map_err(|error| match error.code() {
        // Somebody was just writing one of the items.
        Some("TransactionCanceledException") => StoreError::Contended { place: place.to_owned() },
        _ => StoreError::call("read", place)(error),
    })?;
    let mut items: Vec<_> =
        output.responses.unwrap_or_default().into_iter().map(|response| response.item).collect();
    items.resize_with(wanted, || None);
    Ok(items)
}

/// What came of several writes that take place together or not at all.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum WrittenTogether<T> {
    /// All of them took place.
    Done(T),
    /// The first one's condition does not hold.
    Outdated,
    /// Another one's condition does not hold.
    OthersOutdated,
}

/// Writes the items together, if the condition of each holds.
pub(super) async fn write(
    client: &Client,
    items: Vec<TransactWriteItem>,
    place: &str,
) -> Result<WrittenTogether<()>, StoreError> {
    match client.transact_write_items().set_transact_items(Some(items)).send().await {
        Ok(_) => Ok(WrittenTogether::Done(())),
        Err(error) => match outcome(&reasons(&error)) {
            Some(Cancelled::First) => Ok(WrittenTogether::Outdated),
            Some(Cancelled::Other) => Ok(WrittenTogether::OthersOutdated),
            Some(Cancelled::Contended) => Err(StoreError::Contended { place: place.to_owned() }),
            None => Err(StoreError::call("write", place)(error)),
        },
    }
}

/// Why each item of a cancelled transaction was not written; empty for any other error.
fn reasons<R>(error: &SdkError<TransactWriteItemsError, R>) -> Vec<&str> {
    let Some(TransactWriteItemsError::TransactionCanceledException(cancelled)) =
        error.as_service_error()
    else {
        return Vec::new();
    };
    cancelled.cancellation_reasons().iter().map(|reason| reason.code().unwrap_or("None")).collect()
}

/// Why a transaction was cancelled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Cancelled {
    /// The first item's condition does not hold.
    First,
    /// Only another item's condition does not hold.
    Other,
    /// Somebody else was writing one of the items.
    Contended,
}

/// What the reasons mean; none when the cause lies elsewhere, as in throttling.
fn outcome(reasons: &[&str]) -> Option<Cancelled> {
    const CONDITION: &str = "ConditionalCheckFailed";
    let known = ["None", CONDITION, "TransactionConflict"];
    if reasons.is_empty() || reasons.iter().any(|reason| !known.contains(reason)) {
        return None;
    }
    match reasons {
        [CONDITION, ..] => Some(Cancelled::First),
        _ if reasons.contains(&"TransactionConflict") => Some(Cancelled::Contended),
        _ if reasons.contains(&CONDITION) => Some(Cancelled::Other),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancelled_transaction_says_whose_condition_did_not_hold() {
        let of = |reasons: &[&str]| outcome(reasons);
        assert_eq!(of(&["ConditionalCheckFailed", "None"]), Some(Cancelled::First));
        assert_eq!(of(&["ConditionalCheckFailed", "TransactionConflict"]), Some(Cancelled::First));
        assert_eq!(of(&["None", "ConditionalCheckFailed"]), Some(Cancelled::Other));
        assert_eq!(of(&["None", "TransactionConflict"]), Some(Cancelled::Contended));
    }

    #[test]
    fn any_other_cause_is_an_error() {
        assert_eq!(outcome(&[]), None);
        assert_eq!(outcome(&["None", "None"]), None);
        assert_eq!(outcome(&["ConditionalCheckFailed", "ThrottlingError"]), None);
    }
}
