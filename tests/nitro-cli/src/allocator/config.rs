//! `allocator.yaml`, as the real allocator reads it: line by line, everything before `---` skipped.

use crate::cpu_list::CpuList;

/// What is to be set apart.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Config {
    /// The memory, in MiB.
    pub(super) memory_mib: u32,
    /// The CPUs.
    pub(super) cpus: Cpus,
}

/// Which CPUs are to be set apart.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Cpus {
    /// So many.
    Count(u32),
    /// These.
    Pool(CpuList),
}

impl Config {
    pub(super) fn parse(text: &str) -> Result<Self, ConfigError> {
        let (mut memory, mut count, mut pool) = (None, None, None);
        let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let document = lines.skip_while(|(_, line)| *line != "---").skip(1);
        for (number, line) in
            document.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        {
            let (key, value) = line.split_once(':').unwrap_or((line, ""));
            let (key, value) = (key.trim(), value.trim().trim_matches('"'));
            let place = match key {
                "memory_mib" => &mut memory,
                "cpu_count" => &mut count,
                "cpu_pool" => &mut pool,
                _ => return Err(ConfigError::Unexpected { line: number, key: key.to_owned() }),
            };
            if value.is_empty() {
                return Err(ConfigError::NoValue { line: number, key: key.to_owned() });
            }
            *place = Some(value.to_owned());
        }
        let memory = memory.ok_or(ConfigError::NoMemory)?;
        let cpus = match (count, pool) {
            (None, None) => return Err(ConfigError::NoCpus),
            (Some(_), Some(_)) => return Err(ConfigError::CountAndPool),
            (Some(count), None) => {
                Cpus::Count(count.parse().map_err(|_| ConfigError::Count { value: count })?)
            }
            (None, Some(pool)) => {
                Cpus::Pool(pool.parse().map_err(|_| ConfigError::Pool { value: pool })?)
            }
        };
        let memory_mib = memory.parse().map_err(|_| ConfigError::Memory { value: memory })?;
        Ok(Self { memory_mib, cpus })
    }
}

/// Why `allocator.yaml` makes no sense; most texts are the real allocator's.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ConfigError {
    /// The count is no number.
    #[error("The CPU count value ({value}) is invalid.")]
    Count {
        /// What it is.
        value: String,
    },
    /// The two ways to say which CPUs exclude each other.
    #[error("Config error: `cpu_count` conflicts with `cpu_pool`.")]
    CountAndPool,
    /// The memory is no number.
    #[error("The needed memory amount ({value}) is invalid.")]
    Memory {
        /// What it is.
        value: String,
    },
    /// Neither way to say which CPUs was used.
    #[error("Config error: missing CPU reservation (either `cpu_count` or `cpu_pool`).")]
    NoCpus,
    /// The memory is missing, or nothing follows a `---`.
    #[error("Config error: missing memory reservation (`memory_mib`).")]
    NoMemory,
    /// A key has no value.
    #[error("Error in /etc/nitro_enclaves/allocator.yaml:{line} - missing value for {key}")]
    NoValue {
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
    },
    /// The pool is no list of CPUs.
    #[error("Failed to configure the CPU pool ({value}).")]
    Pool {
        /// What it is.
        value: String,
    },
    /// A key means nothing.
    #[error("Error in /etc/nitro_enclaves/allocator.yaml:{line} - unexpected: {key}")]
    Unexpected {
        /// The line, from 1.
        line: usize,
        /// The key.
        key: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn comments_quotes_and_what_precedes_the_document_do_not_matter() {
        let text = "# a comment\nold: 1\n---\n# another\nmemory_mib: 512\n\ncpu_pool: \"2,6-7\"\n";
        let pool = "2,6-7".parse().unwrap();
        assert_eq!(Config::parse(text), Ok(Config { memory_mib: 512, cpus: Cpus::Pool(pool) }));
    }

    #[test]
    fn each_mistake_has_its_text() {
        for (text, message) in [
            ("memory_mib: 1", "Config error: missing memory reservation (`memory_mib`)."),
            (
                "---\nmemory_mib: 1",
                "Config error: missing CPU reservation (either `cpu_count` or `cpu_pool`).",
            ),
            (
                "---\nmemory_mib: 1\ncpu_count: 2\ncpu_pool: 1",
                "Config error: `cpu_count` conflicts with `cpu_pool`.",
            ),
            ("---\ncpus: 1", "Error in /etc/nitro_enclaves/allocator.yaml:2 - unexpected: cpus"),
            (
                "---\ncpu_count:",
                "Error in /etc/nitro_enclaves/allocator.yaml:2 - missing value for cpu_count",
            ),
            ("---\nmemory_mib: x\ncpu_count: 2", "The needed memory amount (x) is invalid."),
            ("---\nmemory_mib: 1\ncpu_count: y", "The CPU count value (y) is invalid."),
        ] {
            assert_eq!(Config::parse(text).unwrap_err().to_string(), message);
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC*") {
            let _ = Config::parse(&format!("---\n{text}"));
        }
    }
}
