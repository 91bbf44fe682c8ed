//! The kernel's CPU list format: `0-3,8,10-11`, or nothing.

use std::{collections::BTreeSet, fmt, str::FromStr};

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

    /// Whether `cpu` is in it.
    #[must_use]
    pub fn contains(&self, cpu: u32) -> bool {
        self.0.contains(&cpu)
    }

    /// The CPUs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<u32> for CpuList {
    fn from_iter<I: IntoIterator<Item = u32>>(cpus: I) -> Self {
        Self(cpus.into_iter().collect())
    }
}

/// As the kernel writes it, which is the shortest form; the driver takes 512 characters at most
/// (`NE_CPUS_SIZE`).
impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.iter().peekable();
        let mut separator = "";
        while let Some(first) = rest.next() {
            let mut last = first;
            while let Some(next) = rest.next_if(|next| Some(*next) == last.checked_add(1)) {
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
    fn lists_are_written_as_the_kernel_writes_them() {
        for text in ["", "7", "0-1", "0-3,5,8-9", "1-31,65-95"] {
            assert_eq!(text.parse::<CpuList>().unwrap().to_string(), text);
        }
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
        fn every_set_is_read_back(cpus in prop::collection::btree_set(0_u32..200, 0..40)) {
            let text: Vec<String> = cpus.iter().map(ToString::to_string).collect();
            let cpus = CpuList(cpus);
            prop_assert_eq!(text.join(",").parse::<CpuList>().unwrap(), cpus.clone());
            prop_assert_eq!(cpus.to_string().parse::<CpuList>().unwrap(), cpus);
        }
    }
}
