//! The kernel's CPU list format: `0-3,8,10-11`, or nothing.

use std::{collections::BTreeSet, str::FromStr};

/// No machine has more CPUs; the bound keeps a damaged file from filling the memory.
const MOST_CPUS: u32 = 65_536;

/// A set of CPUs, read from the format of the kernel's `Documentation/admin-guide/cputopology`.
#[derive(Clone, Debug, Default, Eq, Ord, PartialEq, PartialOrd)]
pub struct CpuList(pub BTreeSet<u32>);

impl CpuList {
    /// How many CPUs are in it.
    #[must_use]
    pub fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

impl FromStr for CpuList {
    type Err = CpuListError;

    fn from_str(text: &str) -> Result<Self, CpuListError> {
        let mut cpus = BTreeSet::new();
        for part in text.trim().split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (cpu(first, text)?, cpu(last, text)?);
            if first > last {
                return Err(CpuListError { text: text.to_owned() });
            }
            cpus.extend(first..=last);
        }
        Ok(Self(cpus))
    }
}

fn cpu(number: &str, text: &str) -> Result<u32, CpuListError> {
    let number = number.trim().parse().ok().filter(|number| *number < MOST_CPUS);
    number.ok_or_else(|| CpuListError { text: text.to_owned() })
}

/// The text is not a list of CPUs.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not a list of CPUs such as `0-3,8`")]
pub struct CpuListError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Vec<u32> {
        text.parse::<CpuList>().unwrap().0.into_iter().collect()
    }

    #[test]
    fn lists_and_ranges_are_read_as_the_kernel_writes_them() {
        assert_eq!(parse("0-3\n"), [0, 1, 2, 3]);
        assert_eq!(parse("0,2"), [0, 2]);
        assert_eq!(parse("1-2,8,10-11"), [1, 2, 8, 10, 11]);
        assert_eq!(parse("\n"), [0_u32; 0]);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["a", "3-1", "1-", "-1", "1;2", "0-4294967295", "1--2"] {
            assert!(text.parse::<CpuList>().is_err(), "{text} was accepted");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,64}") {
            let _ = text.parse::<CpuList>();
        }

        #[test]
        fn every_set_is_read_back(cpus in prop::collection::btree_set(0_u32..1_000, 0..40)) {
            let text: Vec<String> = cpus.iter().map(ToString::to_string).collect();
            prop_assert_eq!(text.join(",").parse::<CpuList>().unwrap(), CpuList(cpus));
        }
    }
}
