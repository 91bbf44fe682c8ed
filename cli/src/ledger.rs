//! The coordinator's table, of which only an enclave's events are read.

use crate::{CloudOptions, call_error::CallError, exit::Advise};
use aws_sdk_dynamodb::{Client, types::AttributeValue};
use bailey_lifecycle::ledger::Event;
use bailey_model::EnclaveId;
use bailey_runtime::{
    aws,
    items::{Item, ItemError, from_item},
};
use serde::Deserialize;

/// The ledger.
#[derive(Debug)]
pub(crate) struct Ledger {
    client: Client,
    name: String,
}

/// What is read of an entry: no more of it, so that a newer coordinator's can be read, too.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Story {
    /// What happened, oldest first.
    pub(crate) events: Vec<Event>,
    state: State,
}

#[derive(Clone, Debug, Deserialize)]
struct State {
    name: String,
}

impl Story {
    /// Whether nothing runs, and nothing more happens unless it is asked for.
    pub(crate) fn is_over(&self) -> bool {
        self.state.name == "ENDED"
    }
}

impl Ledger {
    /// Prepares a client; the first call shows whether the table can be reached.
    pub(crate) async fn open(cloud: &CloudOptions, name: String) -> Self {
        let config = aws::load(cloud.region.as_deref()).await;
        Self { client: Client::new(&config), name }
    }

    /// Reads an enclave's story; none when the coordinator has not taken it up.
    pub(crate) async fn story(&self, id: &EnclaveId) -> Result<Option<Story>, LedgerError> {
        let key = Item::from([
            ("pk".to_owned(), AttributeValue::S(format!("enclave#{id}"))),
            ("sk".to_owned(), AttributeValue::S("entry".to_owned())),
        ]);
        let get = self.client.get_item().table_name(&self.name).set_key(Some(key));
        // The rest of an entry may hold a whole report.
        let get = get
            .projection_expression("#events, #state.#name")
            .expression_attribute_names("#events", "events")
            .expression_attribute_names("#state", "state")
            .expression_attribute_names("#name", "name");
        let answer = get.consistent_read(true).send().await.map_err(|error| {
            let (table, source) = (self.name.clone(), CallError::from_sdk(error));
            LedgerError::Call { table, source }
        })?;
        let damaged =
            |source| LedgerError::Item { id: id.clone(), table: self.name.clone(), source };
        answer.item.map(from_item).transpose().map_err(damaged)
    }

    /// What to say of an enclave that the ledger does not know.
    pub(crate) fn unknown(&self, id: &EnclaveId) -> LedgerError {
        LedgerError::NotFound { id: id.clone(), table: self.name.clone() }
    }
}

/// Why the ledger did not do its part.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// DynamoDB refused the call or did not answer.
    #[error("cannot read the ledger `{table}`")]
    Call { table: String, source: CallError },
    /// An entry has no form that this program knows.
    #[error("the entry of `{id}` in the ledger `{table}` cannot be read")]
    Item { id: EnclaveId, table: String, source: ItemError },
    /// No entry has this id.
    #[error("the ledger `{table}` knows no enclave `{id}`")]
    NotFound { id: EnclaveId, table: String },
}

impl LedgerError {
    /// Whether the next look may succeed.
    pub(crate) fn passes(&self) -> bool {
        matches!(self, Self::Call { source, .. } if source.code().is_none())
    }
}

impl Advise for LedgerError {
    fn advice(&self) -> Option<String> {
        match self {
            Self::Call { source, .. } if source.code() == Some("ResourceNotFoundException") => {
                Some("check --ledger-table (or BAILEY_LEDGER_TABLE) and --region".to_owned())
            }
            Self::Call { source, .. } => Some(source.advice()),
            Self::Item { .. } => None,
            Self::NotFound { .. } => Some(
                "a request that was just written is taken up in a moment: --follow waits for that"
                    .to_owned(),
            ),
        }
    }
}
