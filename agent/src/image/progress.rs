//! How far the fetches are, for the heartbeat.

use bailey_model::{EnclaveId, Generation, hosts::FetchProgress};
use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU64, Ordering},
};

/// The fetches that are under way; clones show the same.
#[derive(Clone, Debug, Default)]
pub struct ProgressBoard(Arc<Mutex<Vec<Weak<Counters>>>>);

/// One fetch that is under way; it leaves the board when it is dropped.
#[derive(Debug)]
pub struct Progressing(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    enclave_id: EnclaveId,
    generation: Generation,
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
}

impl ProgressBoard {
    /// Puts a fetch on the board.
    #[must_use]
    pub fn begin(&self, enclave_id: EnclaveId, generation: Generation) -> Progressing {
        let counters = Arc::new(Counters {
            enclave_id,
            generation,
            done_bytes: AtomicU64::new(0),
            total_bytes: AtomicU64::new(0),
        });
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        board.retain(|fetch| fetch.strong_count() > 0);
        board.push(Arc::downgrade(&counters));
        Progressing(counters)
    }

    /// Every fetch whose size is known.
    #[must_use]
    pub fn progress(&self) -> Vec<FetchProgress> {
        let board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fetches = board.iter().filter_map(Weak::upgrade);
        fetches
            .map(|fetch| FetchProgress {
                enclave_id: fetch.enclave_id.clone(),
                generation: fetch.generation,
                done_bytes: fetch.done_bytes.load(Ordering::Relaxed),
                total_bytes: fetch.total_bytes.load(Ordering::Relaxed),
            })
            .filter(|fetch| fetch.total_bytes > 0)
            .collect()
    }
}

impl Progressing {
    /// Says how many bytes there will be.
    pub fn expect(&self, total_bytes: u64) {
        self.0.total_bytes.store(total_bytes, Ordering::Relaxed);
    }

    /// Says that reading and measuring begin again.
    pub fn restart(&self) {
        self.0.done_bytes.store(0, Ordering::Relaxed);
    }

    /// Says that so many bytes more were read and measured.
    pub fn advance(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.0.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_is_shown_from_when_its_size_is_known_until_it_ends() {
        let board = ProgressBoard::default();
        let fetch = board.begin("a".parse().unwrap(), Generation(1));
        assert_eq!(board.progress(), []);
        fetch.expect(100);
        fetch.advance(40);
        let shown = FetchProgress {
            enclave_id: "a".parse().unwrap(),
            generation: Generation(1),
            done_bytes: 40,
            total_bytes: 100,
        };
        assert_eq!(board.progress(), [shown]);
        drop(fetch);
        assert_eq!(board.progress(), []);
    }
}
