//! Sets of CPUs in the kernel's list form, as sysfs shows them: `0-3,5`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A set of CPU ids.
///
/// Its text is the kernel's (`bitmap_parselist`): ids and inclusive ranges, joined by commas; the
/// empty set is the empty text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CpuList(BTreeSet<u32>);

/// No machine of EC2's has more; a range is never expanded beyond it.
const MAX_CPUS: u32 = 1_024;

impl CpuList {
    /// The ids, ascending.
    #[must_use]
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// How many CPUs the set has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set has no CPU.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `cpu` is in the set.
    #[must_use]
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }

    /// The CPUs of this set that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self(self.0.difference(&other.0).copied().collect())
    }
}

impl FromIterator<u32> for CpuList {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

impl Extend<u32> for CpuList {
    fn extend<I: IntoIterator<Item = u32>>(&mut self, cpus: I) {
        self.0.extend(cpus);
    }
}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let wrong = || CpuListError { part: part.to_owned() };
            let first: u32 = first.trim().parse().map_err(|_| wrong())?;
            let last: u32 = last.trim().parse().map_err(|_| wrong())?;
            if first > last || last >= MAX_CPUS {
                return Err(wrong());
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut cpus = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = cpus.next() {
            let mut last = first;
            while let Some(next) = cpus.next_if(|cpu| *cpu == last + 1) {
                last = next;
            }
            if first == last {
                write!(f, "{separator}{first}")?;
            } else {
                write!(f, "{separator}{first}-{last}")?;
            }
            separator = ",";
        }
        Ok(())
    }
}

/// A text is no list of CPUs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{part}` is neither a CPU id below {MAX_CPUS} nor an ascending range of such")]
pub struct CpuListError {
    /// The part between two commas that could not be read.
    pub part: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_read_as_the_kernel_writes_them() {
        let list: CpuList = "0-2,5,7-8\n".parse().unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), [0, 1, 2, 5, 7, 8]);
        assert_eq!(list.to_string(), "0-2,5,7-8");
        assert_eq!(CpuList::from_iter([1, 3]).to_string(), "1,3");
        assert_eq!("\n".parse::<CpuList>().unwrap(), CpuList::default());
    }

    #[test]
    fn what_is_no_list_is_refused_with_the_part_at_fault() {
        for (text, part) in [("1,x", "x"), ("3-1", "3-1"), ("0-4294967295", "0-4294967295")] {
            assert_eq!(text.parse::<CpuList>(), Err(CpuListError { part: part.to_owned() }));
        }
    }

    proptest! {
        #[test]
        fn every_set_survives_its_text(cpus in prop::collection::btree_set(0_u32..MAX_CPUS, 0..40)) {
            let list: CpuList = cpus.into_iter().collect();
            prop_assert_eq!(list.to_string().parse::<CpuList>().unwrap(), list);
        }
    }
}
