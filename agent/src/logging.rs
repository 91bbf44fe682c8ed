//! The agent's log: the journal when it runs under systemd, standard error otherwise.

use log::LevelFilter;
use systemd_journal_logger::{JournalLog, connected_to_journal};

/// Starts logging. Key-values become fields of the journal: `ENCLAVE_ID`, `PHASE`, `CODE`, …
pub fn start() {
    if !connected_to_journal() {
        return bailey_runtime::logging::to_stderr();
    }
    let installed = JournalLog::new().ok().and_then(|journal| journal.install().ok());
    match installed {
        Some(()) => log::set_max_level(LevelFilter::Info),
        // A journal that is announced and cannot be reached still has our standard error.
        None => bailey_runtime::logging::to_stderr(),
    }
}
