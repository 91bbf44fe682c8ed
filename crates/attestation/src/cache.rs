//! Chains of certificates that were verified before.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};

use crate::TrustedRoots;
use crate::chain::VerifiedChain;
use crate::document::AttestationDocument;

/// Chains of certificates that [`verify_cached`](crate::verify_cached) has found good, so that the
/// next document of the same module costs one signature instead of five.
///
/// A chain is found again by SHA-256 over the trusted roots and over every byte of its
/// certificates, and is used only at times at which all of them are valid: what is reported of a
/// document is the same with and without the cache. Only chains that were found good get in;
/// whoever has many of those can push others out, which costs time and no trust. Threads may share
/// one cache.
///
/// ```
/// use bailey_attestation::{
///     BytesRule, ChainCache, DebugRule, ModuleIdRule, Policy, TrustedRoots, VerifyTime,
///     verify_cached,
/// };
///
/// let cache = ChainCache::new(1_024);
/// let policy = Policy {
///     roots: TrustedRoots::aws(),
///     time: VerifyTime::At(1_760_000_000_000),
///     skew_ms: 5_000,
///     max_age_ms: Some(300_000),
///     issued_at_ms: None,
///     nonce: BytesRule::Exactly(b"the one that was sent".to_vec()),
///     user_data: BytesRule::Any,
///     public_key: BytesRule::Any,
///     module_id: ModuleIdRule::Any,
///     instance: None,
///     debug: DebugRule::Refuse,
///     pcrs: Vec::new(),
/// };
/// let judged = verify_cached(b"no document", &policy, &cache);
/// assert_eq!(judged.result.unwrap_err().code(), "wrong_type");
/// assert!(cache.is_empty());
/// ```
pub struct ChainCache {
    capacity: usize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    chains: HashMap<ChainKey, Entry>,
    /// Counts the uses, to tell which is the oldest.
    uses: u64,
}

struct Entry {
    chain: Arc<VerifiedChain>,
    last_use: u64,
}

/// What a chain is found by: a digest of all that its verification depends on but for the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ChainKey([u8; 32]);

impl ChainCache {
    /// A cache of at most `capacity` chains, about 4 KiB each; the one that was not used for the
    /// longest time makes room. With a capacity of 0 it holds none.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { capacity, entries: Mutex::default() }
    }

    /// How many chains it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries().chains.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The chain with this key if it is valid at `at_ms`, with clocks that differ by `skew_ms`.
    pub(crate) fn find(
        &self,
        key: ChainKey,
        at_ms: u64,
        skew_ms: u64,
    ) -> Option<Arc<VerifiedChain>> {
        let mut entries = self.entries();
        let last_use = entries.next_use();
        let entry = entries.chains.get_mut(&key)?;
        if !entry.chain.is_valid_at(at_ms, skew_ms) {
            return None;
        }
        entry.last_use = last_use;
        Some(Arc::clone(&entry.chain))
    }

    pub(crate) fn insert(&self, key: ChainKey, chain: Arc<VerifiedChain>) {
        let mut entries = self.entries();
        let last_use = entries.next_use();
        entries.chains.insert(key, Entry { chain, last_use });
        while entries.chains.len() > self.capacity {
            entries.remove_oldest();
        }
    }

    /// A thread that panicked cannot have left an entry half made: each is put in by one call.
    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn next_use(&mut self) -> u64 {
        self.uses = self.uses.wrapping_add(1);
        self.uses
    }

    fn remove_oldest(&mut self) {
        let oldest =
            self.chains.iter().min_by_key(|(_, entry)| entry.last_use).map(|(key, _)| *key);
        if let Some(oldest) = oldest {
            self.chains.remove(&oldest);
        }
    }
}

impl ChainKey {
    pub(crate) fn of(document: &AttestationDocument, roots: &TrustedRoots) -> Self {
        let mut context = Context::new(&SHA256);
        let roots = roots.sorted();
        update_counted(&mut context, roots.len(), &[]);
        for root in roots {
            context.update(root.as_bytes());
        }
        update_counted(&mut context, document.bundle().len(), &[]);
        for certificate in document.bundle() {
            update_counted(&mut context, certificate.len(), certificate);
        }
        update_counted(&mut context, document.certificate().len(), document.certificate());
        let mut key = [0; 32];
        key.copy_from_slice(context.finish().as_ref());
        Self(key)
    }
}

/// Every part is preceded by its size, so that no two chains give the same bytes.
fn update_counted(context: &mut Context, count: usize, bytes: &[u8]) {
    context.update(&u64::try_from(count).unwrap_or(u64::MAX).to_be_bytes());
    context.update(bytes);
}

impl fmt::Debug for ChainCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("ChainCache")
            .field("capacity", &self.capacity)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
