//! Huge pages: how many there are of each size, and which of them an enclave can be made of.

use std::{collections::BTreeMap, fmt};

/// A size of huge pages, in KiB, as in sysfs's `hugepages-<size>kB`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct PageSize(pub u64);

impl PageSize {
    /// 2 MiB.
    pub const SMALL: Self = Self(2 * 1_024);

    /// The sizes that nitro-cli maps (`HUGE_PAGE_MAP` of its `resource_manager.rs`), in MiB.
    ///
    /// The driver, too, takes multiples of 2 MiB only (`NE_MIN_MEM_REGION_SIZE`): the pages of
    /// 64 KiB that Graviton has are of no use to an enclave.
    const MAPPED_MIB: [u64; 9] = [16_384, 2_048, 1_024, 512, 256, 32, 16, 8, 2];

    /// The size in MiB, rounded down.
    #[must_use]
    pub fn mib(self) -> u64 {
        self.0 / 1_024
    }

    /// Whether an enclave can be made of such pages.
    #[must_use]
    pub fn is_mapped(self) -> bool {
        self.0.is_multiple_of(1_024) && Self::MAPPED_MIB.contains(&self.mib())
    }
}

/// Some huge pages.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct Pages(BTreeMap<PageSize, u64>);

impl Pages {
    /// How many there are of a size.
    #[must_use]
    pub fn count(&self, size: PageSize) -> u64 {
        self.0.get(&size).copied().unwrap_or(0)
    }

    /// How many there are of all sizes.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// What they hold, in MiB, rounded down.
    #[must_use]
    pub fn mib(&self) -> u64 {
        let kib = self.0.iter().map(|(size, count)| size.0.saturating_mul(*count));
        kib.fold(0_u64, u64::saturating_add) / 1_024
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that an enclave can be made of.
    #[must_use]
    pub fn mapped(&self) -> Self {
        self.iter().filter(|(size, _)| size.is_mapped()).collect()
    }

    /// Adds pages of a size.
    pub fn add(&mut self, size: PageSize, count: u64) {
        if count > 0 {
            let entry = self.0.entry(size).or_default();
            *entry = entry.saturating_add(count);
        }
    }

    /// What is left of these when `others` are taken.
    #[must_use]
    pub fn without(&self, others: &Self) -> Self {
        self.iter().map(|(size, count)| (size, count.saturating_sub(others.count(size)))).collect()
    }

    /// The sizes and their counts, smallest first; no count is 0.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (PageSize, u64)> + '_ {
        self.0.iter().map(|(size, count)| (*size, *count))
    }
}

impl FromIterator<(PageSize, u64)> for Pages {
    fn from_iter<I: IntoIterator<Item = (PageSize, u64)>>(pages: I) -> Self {
        let mut all = Self::default();
        for (size, count) in pages {
            all.add(size, count);
        }
        all
    }
}

/// Largest first: `1 x 1024 MiB + 256 x 2 MiB`.
impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("no huge pages");
        }
        for (index, (size, count)) in self.iter().rev().enumerate() {
            let separator = if index == 0 { "" } else { " + " };
            match size.mib() {
                0 => write!(f, "{separator}{count} x {} KiB", size.0)?,
                mib => write!(f, "{separator}{count} x {mib} MiB")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_counted_by_size() {
        let pages: Pages = [
            (PageSize(1_048_576), 1),
            (PageSize(64), 3),
            (PageSize::SMALL, 256),
            (PageSize(32), 0),
        ]
        .into_iter()
        .collect();
        assert_eq!(pages.to_string(), "1 x 1024 MiB + 256 x 2 MiB + 3 x 64 KiB");
        assert_eq!((pages.total(), pages.mib()), (260, 1_536));
        assert_eq!(pages.mapped().to_string(), "1 x 1024 MiB + 256 x 2 MiB");
        assert_eq!(pages.without(&pages), Pages::default());
    }

    #[test]
    fn an_enclave_is_made_of_the_sizes_that_nitro_cli_maps() {
        let mapped = |kib| PageSize(kib).is_mapped();
        assert!(mapped(2_048) && mapped(32_768) && mapped(524_288) && mapped(1_048_576));
        assert!(!mapped(64) && !mapped(4_096) && !mapped(2_049) && !mapped(0));
    }
}
