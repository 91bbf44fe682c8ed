//! The CPUs of a simulated host: cores, and the pool that is set apart for enclaves.

use std::fs;

use super::{Host, HostError};
use crate::cpu_list::CpuList;

/// Where the driver shows and takes its pool.
pub(crate) const POOL: &str = "sys/module/nitro_enclaves/parameters/ne_cpus";

impl Host {
    /// Every CPU of the machine, whether the parent or an enclave has it.
    #[must_use]
    pub fn cpus(&self) -> CpuList {
        (0..self.facts().vcpus).collect()
    }

    /// The threads of the core that `cpu` belongs to, itself included.
    ///
    /// EC2 numbers the first thread of every core before the second of any.
    #[must_use]
    pub fn core_of(&self, cpu: u32) -> CpuList {
        siblings(cpu, self.facts().vcpus, self.facts().threads_per_core)
    }

    /// The CPUs of the enclave pool, those that enclaves have included; empty when there is none.
    pub fn pool(&self) -> Result<CpuList, HostError> {
        let path = self.root(POOL);
        let failed = |source| HostError::File { action: "read", path: path.clone(), source };
        let text = fs::read_to_string(&path).map_err(failed)?;
        text.parse().map_err(|err| failed(std::io::Error::other(err)))
    }

    /// Sets the pool apart. The kernel takes its CPUs offline, and their node loses them.
    pub(crate) fn set_pool(&self, pool: &CpuList) -> Result<(), HostError> {
        let online = self.cpus().without(pool);
        let files = [
            (POOL, pool),
            ("sys/devices/system/cpu/online", &online),
            ("sys/devices/system/cpu/offline", pool),
            ("sys/devices/system/node/node0/cpulist", &online),
        ];
        for (name, cpus) in files {
            let path = self.root(name);
            fs::write(&path, format!("{cpus}\n")).map_err(|source| HostError::File {
                action: "write",
                path,
                source,
            })?;
        }
        Ok(())
    }
}

/// The threads of the core that `cpu` belongs to.
pub(super) fn siblings(cpu: u32, vcpus: u32, threads_per_core: u32) -> CpuList {
    let cores = vcpus.checked_div(threads_per_core).unwrap_or(vcpus).max(1);
    (0..threads_per_core).map(|thread| cpu % cores + thread * cores).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siblings_are_half_of_the_cpus_apart() {
        assert_eq!(siblings(0, 4, 2).to_string(), "0,2");
        assert_eq!(siblings(3, 4, 2).to_string(), "1,3");
        assert_eq!(siblings(5, 16, 2).to_string(), "5,13");
    }

    #[test]
    fn a_core_with_one_thread_has_no_sibling() {
        assert_eq!(siblings(1, 2, 1).to_string(), "1");
    }
}
