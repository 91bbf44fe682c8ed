//! Structures that arrive in pieces.

/// The part of a fixed-size structure that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Partial<const N: usize> {
    bytes: [u8; N],
    filled: usize,
}

impl<const N: usize> Default for Partial<N> {
    fn default() -> Self {
        Self { bytes: [0; N], filled: 0 }
    }
}

impl<const N: usize> Partial<N> {
    /// Moves bytes from `input`; the whole structure as soon as it is complete.
    pub(crate) fn fill(&mut self, input: &mut &[u8]) -> Option<[u8; N]> {
        let missing = self.bytes.get_mut(self.filled..)?;
        let count = missing.len().min(input.len());
        let (taken, rest) = input.split_at_checked(count)?;
        missing.get_mut(..count)?.copy_from_slice(taken);
        *input = rest;
        self.filled = self.filled.saturating_add(count);
        (self.filled == N).then_some(self.bytes)
    }

    /// What has arrived.
    pub(crate) fn so_far(&self) -> &[u8] {
        self.bytes.get(..self.filled).unwrap_or_default()
    }
}
