//! Choices that are the same in every run, unless another seed is asked for.

use std::env;

use proptest::prelude::Rng as _;
use proptest::test_runner::{RngAlgorithm, TestRng};

pub(crate) struct Random(TestRng);

impl Random {
    /// Its own choices for each `purpose`.
    pub(crate) fn new(purpose: &str) -> Self {
        let number = env::var("BAILEY_DIFFERENTIAL_SEED").unwrap_or_default();
        let text = format!("{purpose} {number}");
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        Self(TestRng::from_seed(RngAlgorithm::ChaCha, digest.as_ref()))
    }

    /// A number below `limit`, which is not 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let limit = u64::try_from(limit).unwrap();
        usize::try_from(self.0.next_u64() % limit).unwrap()
    }

    /// True once in `odds` times.
    pub(crate) fn one_in(&mut self, odds: usize) -> bool {
        self.below(odds) == 0
    }

    pub(crate) fn byte(&mut self) -> u8 {
        self.0.next_u64().to_be_bytes()[0]
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.byte()).collect()
    }

    pub(crate) fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// `bytes` with one to three small changes. Half of them go to the first 1,100 bytes or the
    /// last 150, where the fields of a document are that are not certificates.
    pub(crate) fn edited(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            self.edit(&mut bytes);
        }
        bytes
    }

    fn edit(&mut self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let at = match self.below(4) {
            0 => self.below(length.min(1_100)),
            1 => length - 1 - self.below(length.min(150)),
            _ => self.below(length),
        };
        match self.below(6) {
            0 | 1 => bytes[at] ^= 1 << self.below(8),
            2 => bytes[at] = self.byte(),
            3 => bytes.insert(at, self.byte()),
            4 => drop(bytes.drain(at..length.min(at + 1 + self.below(4)))),
            _ => {
                let end = length.min(at + 1 + self.below(60));
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
}
