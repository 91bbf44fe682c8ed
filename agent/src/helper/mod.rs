//! What only root may do on a parent: set up the enclave pool, start an enclave outside the agent's
//! cgroup, power off. A helper does it, so that the agent needs no rights of its own.
//!
//! One request a connection, one line of JSON, and one line in answer. systemd accepts the connection
//! on a socket that only the agent's group may use, and starts the helper for it
//! (`bailey-helper@.service`): at other times no process of ours runs as root.
//!
//! # Guarantees
//! - The helper takes nothing but a few checked requests; programs and paths come from
//!   root's own configuration file.
//! - nitro-cli runs as the agent's user. A start is carried out under the lock that the agent waits for,
//!   and finds an enclave that has the name already: asking twice starts one enclave.

mod client;
mod serve;

pub use client::{Helper, HelperError};
pub use serve::{ServeError, serve};

use crate::{name::EnclaveName, ports::Size};
use bailey_model::{failure::FailureCode, hosts::RunningEnclave};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Something to do.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// Write the allocator's file and make the allocator read it.
    ApplyPlan {
        /// The file's text.
        allocator_yaml: String,
    },
    /// Power the instance off.
    PowerOff,
    /// Start an enclave unless one has the name.
    RunEnclave {
        /// Its name.
        name: String,
        /// Its image, a file of the agent's cache.
        image: PathBuf,
        /// The image's size, by which nitro-cli is given its time.
        size_bytes: u64,
        /// vCPUs.
        cpu_count: u32,
        /// Memory, in MiB.
        memory_mib: u32,
        /// Whether to run it in debug mode.
        debug: bool,
    },
}

/// What came of it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum Answer {
    /// The command ran to its end.
    Ran {
        /// Whether it ended well.
        success: bool,
        /// The end of what it said.
        said: String,
    },
    /// The enclave runs.
    Started {
        /// The enclave.
        enclave: RunningEnclave,
    },
    /// It could not be done.
    Failed {
        /// As what.
        code: FailureCode,
        /// Why.
        message: String,
        /// What nitro-cli said, when it was nitro-cli that failed.
        nitro_cli: Option<NitroCliRefusal>,
    },
    /// It is nothing that the helper does.
    Refused {
        /// Why.
        why: String,
    },
}

/// An error of nitro-cli.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct NitroCliRefusal {
    /// Its number.
    pub code: u8,
    /// The log file that nitro-cli named, for whoever may read what nitro-cli may.
    pub log: Option<PathBuf>,
}

/// A request that may be carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Checked {
    ApplyPlan { allocator_yaml: String },
    PowerOff,
    RunEnclave { name: EnclaveName, image: PathBuf, size_bytes: u64, size: Size, debug: bool },
}

/// Why a request is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("line {line} of the allocator's file is none that the agent writes: {text:?}")]
    AllocatorLine { line: usize, text: String },
    #[error("the allocator's file lacks `{key}`")]
    AllocatorKey { key: &'static str },
    #[error("{name:?} is no name of an enclave of ours")]
    Name { name: String },
    #[error("`{}` is not in the cache `{}`", path.display(), cache.display())]
    Image { path: PathBuf, cache: PathBuf },
    #[error("an enclave without vCPUs or memory")]
    Empty,
}

impl Request {
    /// What may be done of it, given where the agent's images are.
    pub(crate) fn checked(self, cache: &Path) -> Result<Checked, Refusal> {
        match self {
            Self::PowerOff => Ok(Checked::PowerOff),
            Self::ApplyPlan { allocator_yaml } => {
                check_yaml(&allocator_yaml)?;
                Ok(Checked::ApplyPlan { allocator_yaml })
            }
            Self::RunEnclave { name, image, size_bytes, cpu_count, memory_mib, debug } => {
                let Some(name) = EnclaveName::recognise(&name) else {
                    return Err(Refusal::Name { name });
                };
                // A direct child of the cache, by its plain name.
                if image.parent() != Some(cache) || image.file_name().is_none() {
                    return Err(Refusal::Image { path: image, cache: cache.to_owned() });
                }
                if cpu_count == 0 || memory_mib == 0 {
                    return Err(Refusal::Empty);
                }
                let size = Size { cpu_count, memory_mib };
                Ok(Checked::RunEnclave { name, image, size_bytes, size, debug })
            }
        }
    }
}

/// The allocator reads YAML; only the few lines that the agent writes are let through.
fn check_yaml(text: &str) -> Result<(), Refusal> {
    let is_number = |value: &str| !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let is_list = |value: &str| {
        let part = |part: &str| {
            part.split_once('-').map_or_else(
                || is_number(part),
                |(first, last)| is_number(first) && is_number(last),
            )
        };
        value.split(',').all(part)
    };
    let (mut has_memory, mut has_cpus) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let is_known = match (index, line.split_once(": ")) {
            (0, None) => line == "---",
            (_, Some(("memory_mib", value))) if !has_memory => {
                has_memory = true;
                is_number(value)
            }
            (_, Some(("cpu_count", value))) if !has_cpus => {
                has_cpus = true;
                is_number(value)
            }
            (_, Some(("cpu_pool", value))) if !has_cpus => {
                has_cpus = true;
                is_list(value)
            }
            _ => false,
        };
        if !is_known {
            return Err(Refusal::AllocatorLine { line: index + 1, text: line.to_owned() });
        }
    }
    match (has_memory, has_cpus) {
        (false, _) => Err(Refusal::AllocatorKey { key: "memory_mib" }),
        (_, false) => Err(Refusal::AllocatorKey { key: "cpu_count" }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(name: &str, image: &str, cpu_count: u32) -> Request {
        Request::RunEnclave {
            name: name.to_owned(),
            image: image.into(),
            size_bytes: 1,
            cpu_count,
            memory_mib: 64,
            debug: false,
        }
    }

    fn refusal(request: Request) -> String {
        request.checked(Path::new("/state/cache")).unwrap_err().to_string()
    }

    const NAME: &str = "bailey-d8f2ac20b60eeef37c688a0e";

    #[test]
    fn an_enclave_of_the_agent_may_be_started() {
        let checked = run(NAME, "/state/cache/a.eif", 2).checked(Path::new("/state/cache"));
        assert!(matches!(checked, Ok(Checked::RunEnclave { .. })), "{checked:?}");
    }

    #[test]
    fn nothing_else_may() {
        for image in ["/etc/shadow", "/state/cache/../../etc/shadow", "/state/cache/..", "a.eif"] {
            let said = refusal(run(NAME, image, 2));
            assert!(said.contains("is not in the cache"), "{image}: {said}");
        }
        for name in ["", "bailey-", "other", "bailey-d8f2ac20b60eeef37c688a0e --debug-mode"] {
            assert!(refusal(run(name, "/state/cache/a.eif", 2)).contains("no name"), "{name}");
        }
        assert!(refusal(run(NAME, "/state/cache/a.eif", 0)).contains("without vCPUs"));
    }

    #[test]
    fn a_plan_is_the_lines_that_the_agent_writes_and_no_more() {
        let checked = |yaml: &str| {
            let request = Request::ApplyPlan { allocator_yaml: yaml.to_owned() };
            request.checked(Path::new("/state/cache")).map(drop).map_err(|it| it.to_string())
        };
        for good in [
            "---\nmemory_mib: 1024\ncpu_count: 2\n",
            "---\nmemory_mib: 1024\ncpu_pool: 1,3\n",
            "---\ncpu_pool: 2-3,6-7\nmemory_mib: 64\n",
        ] {
            assert_eq!(checked(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            "---\n",
            "---\nmemory_mib: 1024\n",
            "---\ncpu_count: 2\n",
            "---\nmemory_mib: 1024\nmemory_mib: 1\ncpu_count: 2\n",
            "---\nmemory_mib: 1024\ncpu_count: 2\ncpu_pool: 1\n",
            "---\nmemory_mib: 1024\ncpu_count: 2; reboot\n",
            "---\nmemory_mib: -1\ncpu_count: 2\n",
            "---\nmemory_mib: 1024\ncpu_pool: 1,,3\n",
            "---\nmemory_mib: 1024\ncpu_pool: 1-2-3\n",
            "memory_mib: 1024\n---\ncpu_count: 2\n",
            "---\nmemory_mib: 1024\ncpu_count: 2\nother: 1\n",
        ] {
            assert!(checked(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_unknown_request_or_field_is_not_understood() {
        for text in [
            r#"{"do":"reboot"}"#,
            r#"{"do":"apply_plan","allocator_yaml":"---","file":"/etc/passwd"}"#,
            "[]",
        ] {
            assert!(serde_json::from_str::<Request>(text).is_err(), "{text}");
        }
    }
}
