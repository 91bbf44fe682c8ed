//! A stand-in for the service that sets CPUs and memory apart for enclaves.
//!
//! It works on a simulated host and does what `nitro-enclaves-allocator` of nitro-cli does there,
//! in its order and with its texts: it gives the old pool back, which the driver refuses while an
//! enclave runs, and then takes whole cores other than core 0's, and hugepages, of one NUMA node.

mod config;

use std::fs;
use std::process::ExitCode;

use crate::cpu_list::CpuList;
use crate::enclaves::Enclaves;
use crate::failure::Failure;
use crate::host::{Host, HostError, HugePages, PAGE_MIB, reservable_mib};
use crate::image::with_sources;
pub use config::ConfigError;
use config::{Config, Cpus};

/// Runs the allocator on the host that the environment names.
///
/// The exit code is 0, or 1 with the reason on standard error. (The real one prints it on standard
/// output; what its callers see is systemd's standard error, for which this stands.)
#[must_use]
pub fn main() -> ExitCode {
    let allocated = Host::from_environment()
        .map_err(AllocatorError::Host)
        .and_then(|host| allocate(&host, |line| println!("{line}")));
    match allocated {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("Error: {}", with_sources(&err));
            ExitCode::FAILURE
        }
    }
}

/// Sets apart what `allocator.yaml` of the host asks for, and tells `say` about each step.
pub fn allocate(host: &Host, mut say: impl FnMut(&str)) -> Result<(), AllocatorError> {
    let path = host.allocator_file();
    let text = fs::read_to_string(&path)
        .map_err(|source| HostError::File { action: "read", path, source })
        .map_err(AllocatorError::Host)?;
    let config = Config::parse(&text).map_err(AllocatorError::Config)?;
    // Held to the end: no enclave may start meanwhile.
    let enclaves = Enclaves::lock(host).map_err(AllocatorError::State)?;
    if !enclaves.all().is_empty() {
        return Err(AllocatorError::EnclaveRunning);
    }
    // Whatever fails from here on, the former pool is gone; so it is with the real one.
    host.set_pool(&CpuList::default()).map_err(AllocatorError::Host)?;
    let what = match config.cpus {
        Cpus::Count(count) => {
            say("Auto-generating the enclave CPU pool by using the CPU count...");
            let pool = choose_pool(host, count)?;
            say(&format!("Will try to reserve {} MB of memory on node 0.", config.memory_mib));
            reserve_memory(host, config.memory_mib, &mut say)?;
            say(&format!("Auto-generated the enclave CPU pool: {pool}."));
            configure_pool(host, &pool, &mut say)?;
            format!("{count} CPUs")
        }
        Cpus::Pool(pool) => {
            configure_pool(host, &pool, &mut say)?;
            reserve_memory(host, config.memory_mib, &mut say)?;
            format!("CPU pool: {pool}")
        }
    };
    say(&format!(
        "Successfully allocated Nitro Enclaves resources: {} MiB, {what}",
        config.memory_mib
    ));
    Ok(())
}

/// Whole cores in the order of their first CPU, core 0 left to the parent.
fn choose_pool(host: &Host, count: u32) -> Result<CpuList, AllocatorError> {
    let (vcpus, threads_per_core) = (host.facts().vcpus, host.facts().threads_per_core);
    if count == 0 {
        return Err(AllocatorError::CountZero);
    }
    if count > vcpus {
        return Err(AllocatorError::CountTooHigh { vcpus });
    }
    if !count.is_multiple_of(threads_per_core) {
        return Err(AllocatorError::CountOdd { threads_per_core });
    }
    let cores = usize::try_from(count / threads_per_core).unwrap_or(usize::MAX);
    let firsts = host.cpus();
    let firsts = firsts.iter().filter(|cpu| host.core_of(*cpu).iter().next() == Some(*cpu));
    let pool: CpuList = firsts
        .skip(1)
        .take(cores)
        .flat_map(|cpu| host.core_of(cpu).iter().collect::<Vec<_>>())
        .collect();
    if usize::try_from(count).is_ok_and(|count| count == pool.len()) {
        return Ok(pool);
    }
    Err(AllocatorError::NoSuitableCpus)
}

fn reserve_memory(
    host: &Host,
    memory_mib: u32,
    say: &mut impl FnMut(&str),
) -> Result<(), AllocatorError> {
    say("Configuring the huge page memory...");
    let pages = HugePages::needed_for(memory_mib);
    if pages.saturating_mul(PAGE_MIB) > reservable_mib(host.facts().memory_mib) {
        say("Memory configuration failed, rolling back memory reservations...");
        return Err(AllocatorError::InsufficientMemory);
    }
    HugePages { total: pages, free: pages }.write(host).map_err(AllocatorError::Host)?;
    say(&format!("- Reserved {pages} pages of type: 2048kB."));
    say("Done.");
    Ok(())
}

/// The driver takes whole cores only, and never that of CPU 0.
fn configure_pool(
    host: &Host,
    pool: &CpuList,
    say: &mut impl FnMut(&str),
) -> Result<(), AllocatorError> {
    say("Configuring the enclave CPU pool...");
    let exists = pool.without(&host.cpus()).is_empty();
    let whole = pool.iter().all(|cpu| host.core_of(cpu).without(pool).is_empty());
    if pool.is_empty() || !exists || !whole || pool.contains(0) {
        return Err(AllocatorError::Pool);
    }
    host.set_pool(pool).map_err(AllocatorError::Host)?;
    say("Done.");
    Ok(())
}

/// Why nothing was set apart; the texts are the real allocator's.
#[derive(Debug, thiserror::Error)]
pub enum AllocatorError {
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(ConfigError),
    /// The count would split a core.
    #[error("The CPU count is not multiple of {threads_per_core} (threads per core).")]
    CountOdd {
        /// How many CPUs a core has.
        threads_per_core: u32,
    },
    /// The machine is smaller than what was asked for.
    #[error("Provided CPU count is higher than available CPUs - {vcpus}.")]
    CountTooHigh {
        /// How many CPUs the machine has.
        vcpus: u32,
    },
    /// No CPU was asked for.
    #[error("Provided CPU count is not higher than 0.")]
    CountZero,
    /// The driver keeps its pool while an enclave runs.
    #[error(
        "Could not re-online CPUs because there is at least one enclave currently running. Make sure you stop all enclaves prior to re-starting the nitro-enclaves-allocator.service."
    )]
    EnclaveRunning,
    /// The simulated host could not be used.
    #[error("the simulated host cannot be used")]
    Host(#[source] HostError),
    /// The machine has too little memory.
    #[error(
        "Failed to configure entire amount of requested memory. This indicates insufficient system resources."
    )]
    InsufficientMemory,
    /// The cores other than core 0 are too few.
    #[error(
        "Failed to find suitable CPUs for the Nitro Enclaves CPU pool after checking all NUMA nodes."
    )]
    NoSuitableCpus,
    /// The driver refuses the pool.
    #[error("Failed to configure the CPU pool.")]
    Pool,
    /// The state of the host's enclaves could not be read.
    #[error("the state of the enclaves cannot be read")]
    State(#[source] Failure),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{HostFacts, create};

    fn host(dir: &std::path::Path, vcpus: u32, config: &str) -> Host {
        let facts = HostFacts {
            instance_id: "i-0123456789abcdef0".to_owned(),
            instance_type: "m5.xlarge".to_owned(),
            instance_arn: "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0"
                .to_owned(),
            role_arn: "arn:aws:iam::123456789012:role/parent".to_owned(),
            availability_zone: "eu-west-1a".to_owned(),
            region: "eu-west-1".to_owned(),
            vcpus,
            memory_mib: 4_096,
            threads_per_core: 2,
            authority: "/nowhere/authority.pem".into(),
        };
        let host = create(dir, &facts).unwrap();
        fs::write(host.allocator_file(), config).unwrap();
        host
    }

    fn allocate_with(vcpus: u32, config: &str) -> (String, HugePages, Result<(), AllocatorError>) {
        let dir = tempfile::tempdir().unwrap();
        let host = host(dir.path(), vcpus, config);
        let result = allocate(&host, |_| ());
        (host.pool().unwrap().to_string(), HugePages::read(&host).unwrap(), result)
    }

    #[test]
    fn whole_cores_other_than_core_0_and_whole_pages_are_taken() {
        let (pool, pages, result) = allocate_with(8, "---\nmemory_mib: 1023\ncpu_count: 4\n");
        result.unwrap();
        assert_eq!(pool, "1-2,5-6");
        assert_eq!(pages, HugePages { total: 512, free: 512 });
    }

    #[test]
    fn a_pool_can_be_named() {
        let (pool, _, result) = allocate_with(4, "---\nmemory_mib: 64\ncpu_pool: 1,3\n");
        result.unwrap();
        assert_eq!(pool, "1,3");
    }

    #[test]
    fn cpus_of_the_pool_are_offline() {
        let dir = tempfile::tempdir().unwrap();
        let host = host(dir.path(), 4, "---\nmemory_mib: 64\ncpu_count: 2\n");
        allocate(&host, |_| ()).unwrap();
        let read = |path: &str| fs::read_to_string(host.root(path)).unwrap();
        assert_eq!(read("sys/devices/system/cpu/online"), "0,2\n");
        assert_eq!(read("sys/devices/system/node/node0/cpulist"), "0,2\n");
        assert_eq!(read("sys/devices/system/cpu/offline"), "1,3\n");
    }

    #[test]
    fn what_the_machine_does_not_have_is_refused_in_the_real_ones_words() {
        for (config, text) in [
            ("memory_mib: 64\ncpu_count: 0", "Provided CPU count is not higher than 0."),
            (
                "memory_mib: 64\ncpu_count: 5",
                "Provided CPU count is higher than available CPUs - 4.",
            ),
            (
                "memory_mib: 64\ncpu_count: 3",
                "The CPU count is not multiple of 2 (threads per core).",
            ),
            (
                "memory_mib: 64\ncpu_count: 4",
                "Failed to find suitable CPUs for the Nitro Enclaves CPU pool after checking all NUMA nodes.",
            ),
            (
                "memory_mib: 4096\ncpu_count: 2",
                "Failed to configure entire amount of requested memory. This indicates insufficient system resources.",
            ),
            ("memory_mib: 64\ncpu_pool: 1", "Failed to configure the CPU pool."),
            ("memory_mib: 64\ncpu_pool: 0,2", "Failed to configure the CPU pool."),
            ("memory_mib: 64\ncpu_pool: 9", "Failed to configure the CPU pool."),
        ] {
            let (pool, pages, result) = allocate_with(4, &format!("---\n{config}\n"));
            assert_eq!(result.unwrap_err().to_string(), text);
            assert_eq!((pool.as_str(), pages.total), ("", 0), "{config}");
        }
    }

    #[test]
    fn the_largest_reservation_leaves_the_parent_its_memory() {
        let mib = reservable_mib(4_096);
        let (_, _, result) = allocate_with(4, &format!("---\nmemory_mib: {mib}\ncpu_count: 2\n"));
        result.unwrap();
        let above = mib + 1;
        let (_, _, result) = allocate_with(4, &format!("---\nmemory_mib: {above}\ncpu_count: 2\n"));
        assert!(matches!(result, Err(AllocatorError::InsufficientMemory)));
    }
}
