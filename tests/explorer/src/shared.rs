//! Values that many states of the world share, with a fingerprint that is made once.

use serde::Serialize;
use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    ops::Deref,
    sync::{Arc, Mutex, PoisonError},
};

/// A value that is never changed in place.
#[derive(Clone, Debug)]
pub struct Shared<T> {
    value: Arc<T>,
    fingerprint: u64,
}

impl<T: Serialize> Shared<T> {
    /// Takes the value; two that are written alike in JSON are alike.
    pub fn new(value: T) -> Self {
        let mut hasher = DefaultHasher::new();
        serde_json::to_vec(&value).unwrap_or_default().hash(&mut hasher);
        Self { value: Arc::new(value), fingerprint: hasher.finish() }
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// What was worked out once, by the fingerprint of all that it depends on.
pub(crate) struct Memo<T> {
    known: Mutex<HashMap<u64, T>>,
    most: usize,
}

impl<T: Clone> Memo<T> {
    /// Remembers so many; more would take gigabytes and spare little.
    pub(crate) fn new(most: usize) -> Self {
        Self { known: Mutex::default(), most }
    }

    /// What follows from these, worked out unless it is known.
    pub(crate) fn get(&self, depends_on: impl Hash, work_out: impl FnOnce() -> T) -> T {
        let mut hasher = DefaultHasher::new();
        depends_on.hash(&mut hasher);
        let key = hasher.finish();
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known().get(&key) {
            return known.clone();
        }
        // Others are not held up meanwhile; two may work out the same.
        let new = work_out();
        let mut known = known();
        if known.len() >= self.most {
            known.clear();
        }
        known.insert(key, new.clone());
        new
    }
}
