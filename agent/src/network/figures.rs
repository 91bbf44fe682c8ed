//! How much enclaves say and hear.

use bailey_model::{EnclaveId, Generation, hosts::Traffic};
use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU64, Ordering},
};

/// Counts of one enclave since its agent began to serve it.
#[derive(Debug, Default)]
pub struct Figures {
    /// Tunnels that were opened for it.
    pub(super) tunnels: AtomicU64,
    /// Requests that were refused.
    pub(super) refused: AtomicU64,
    /// Connections that were carried to it.
    pub(super) accepted: AtomicU64,
    /// Connections of both kinds that are open.
    pub(super) open: AtomicU64,
    /// Bytes from the enclave.
    pub(super) bytes_out: AtomicU64,
    /// Bytes to the enclave.
    pub(super) bytes_in: AtomicU64,
}

impl Figures {
    /// Counts one connection as open until it is dropped.
    pub(super) fn opened<'a>(&'a self, kind: &AtomicU64) -> Open<'a> {
        kind.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Open<'a>(&'a Figures);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The figures of all enclaves that are served; clones show the same.
#[derive(Clone, Debug, Default)]
pub struct FiguresBoard(Arc<Mutex<Vec<Entry>>>);

type Entry = (EnclaveId, Generation, Weak<Figures>);

impl FiguresBoard {
    /// Figures for one enclave, which leave the board when they are dropped.
    pub(super) fn begin(&self, enclave_id: EnclaveId, generation: Generation) -> Arc<Figures> {
        let figures = Arc::new(Figures::default());
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.retain(|(.., figures)| figures.strong_count() > 0);
        board.push((enclave_id, generation, Arc::downgrade(&figures)));
        figures
    }

    /// What there is to report.
    #[must_use]
    pub fn traffic(&self) -> Vec<Traffic> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = board.iter().filter_map(|(enclave_id, generation, figures)| {
            let figures = figures.upgrade()?;
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            Some(Traffic {
                enclave_id: enclave_id.clone(),
                generation: *generation,
                tunnels: of(&figures.tunnels),
                refused: of(&figures.refused),
                accepted: of(&figures.accepted),
                open: of(&figures.open),
                bytes_out: of(&figures.bytes_out),
                bytes_in: of(&figures.bytes_in),
            })
        });
        shown.collect()
    }
}
