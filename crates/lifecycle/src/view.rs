//! Everything that is known about one enclave id when a decision is made.

use crate::{launch::Place, ledger::Entry, spare::Slot};
use bailey_model::{
    UnixMillis,
    hosts::{Beat, Observed, ObservedAssignment},
    record::Request,
};
use serde_json::{Map, Value};

/// Everything that is known about one enclave id at one instant.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The time of the decision.
    pub now: UnixMillis,
    /// The web app's record; none when it is absent.
    pub record: Option<&'a RecordState>,
    /// The ledger's entry; none before the first request.
    pub entry: Option<&'a Entry>,
    /// The host's report, when the entry has a host and that host has reported.
    pub observed: Option<&'a Observed>,
    /// The host's heartbeat.
    pub beat: Option<&'a Beat>,
    /// What EC2 said last about the entry's instance; none when it said nothing.
    pub instance: Option<InstanceState>,
    /// The newest version of the host's `desired` item that this process wrote.
    pub desired_written: u64,
    /// 32 fresh random bytes, for the case that a nonce is due.
    pub fresh: [u8; 32],
    /// Places that were short of capacity a little while ago.
    pub short: &'a [Place],
    /// Spare hosts that may be taken, and shared ones that may be joined.
    pub spares: &'a [Slot],
    /// The slot on whose host the entry has a place, read after the entry.
    pub slot: Option<&'a Slot>,
    /// Whether the record could not be written in this pass: then everything else goes on.
    pub unwritable: bool,
    /// Why the last step did not succeed, while it is being retried.
    pub retrying: Option<&'a str>,
}

impl<'a> View<'a> {
    /// The host's words about this entry's generation.
    pub(crate) fn assignment(&self, entry: &Entry) -> Option<&'a ObservedAssignment> {
        self.observed?.assignments.iter().find(|assignment| {
            assignment.enclave_id == entry.id && assignment.generation == entry.generation
        })
    }
}

/// A record as it was read.
#[derive(Clone, Debug)]
pub struct RecordState {
    /// What it asks for.
    pub request: Request,
    /// All of its attributes.
    pub attributes: Map<String, Value>,
}

impl RecordState {
    /// The status as it stands in the record, on which writes are conditional; none when the
    /// attribute is absent or no text.
    #[must_use]
    pub fn raw_status(&self) -> Option<&str> {
        self.attributes.get("status").and_then(Value::as_str)
    }
}

/// The state of an instance, in EC2's words.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum InstanceState {
    /// `pending`.
    Pending,
    /// `running`.
    Running,
    /// `shutting-down`.
    ShuttingDown,
    /// `stopped`.
    Stopped,
    /// `stopping`.
    Stopping,
    /// `terminated`.
    Terminated,
}

impl InstanceState {
    /// Every state, in alphabetical order.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Running,
        Self::ShuttingDown,
        Self::Stopped,
        Self::Stopping,
        Self::Terminated,
    ];

    /// Whether the instance is no more, or will be in a moment: it cannot be started again.
    #[must_use]
    pub fn is_ended(self) -> bool {
        matches!(self, Self::ShuttingDown | Self::Terminated)
    }

    /// Whether nothing of the instance's enclaves can be alive, or will be in a moment.
    #[must_use]
    pub fn is_gone(self) -> bool {
        match self {
            Self::ShuttingDown | Self::Stopped | Self::Stopping | Self::Terminated => true,
            Self::Pending | Self::Running => false,
        }
    }

    /// EC2's word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::ShuttingDown => "shutting-down",
            Self::Stopped => "stopped",
            Self::Stopping => "stopping",
            Self::Terminated => "terminated",
        }
    }

    /// Reads EC2's word.
    #[must_use]
    pub fn from_ec2(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}
