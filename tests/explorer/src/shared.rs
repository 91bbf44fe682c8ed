//! Values that many states of the world share, with a fingerprint that is made once.

use serde::Serialize;
use std::{
    hash::{DefaultHasher, Hash, Hasher},
    ops::Deref,
    sync::Arc,
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
