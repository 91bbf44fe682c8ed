//! The making of a simulated host's directory.

use std::fs;
use std::path::Path;

use super::cpus::{POOL, siblings};
use super::memory::{HugePages, NODE_MEMINFO, meminfo, node_meminfo};
use super::{Host, HostError, HostFacts};
use crate::cpu_list::CpuList;

/// Makes the directory of a simulated parent that has just booted, with no enclave pool.
///
/// `dir` may exist; what a former call left in it is overwritten, except for what is in `state`.
pub fn create(dir: &Path, facts: &HostFacts) -> Result<Host, HostError> {
    let cores = facts.vcpus.checked_div(facts.threads_per_core).unwrap_or_default();
    if cores == 0 || cores * facts.threads_per_core != facts.vcpus {
        return Err(HostError::Topology {
            vcpus: facts.vcpus,
            threads_per_core: facts.threads_per_core,
        });
    }
    for name in ["run", "vsock", "state"] {
        make_dir(&dir.join(name))?;
    }
    for (path, text) in files(facts, cores, &boot_id()?) {
        write(&dir.join(path), &text)?;
    }
    let json = serde_json::to_string_pretty(facts)
        .map_err(|source| HostError::Facts { path: dir.join("host.json"), source })?;
    write(&dir.join("host.json"), &json)?;
    Host::open(dir)
}

/// Every file below the host's directory but `host.json`, with its text.
fn files(facts: &HostFacts, cores: u32, boot_id: &str) -> Vec<(String, String)> {
    let online = line(&(0..facts.vcpus).collect());
    let cpus = "root/sys/devices/system/cpu";
    let node = "root/sys/devices/system/node";
    let mut files = vec![
        (format!("{cpus}/online"), online.clone()),
        (format!("{node}/online"), "0\n".to_owned()),
        (format!("{node}/node0/cpulist"), online),
        ("root/proc/sys/kernel/random/boot_id".to_owned(), format!("{boot_id}\n")),
        ("root/proc/meminfo".to_owned(), meminfo(facts.memory_mib, HugePages::default())),
        (format!("root/{NODE_MEMINFO}"), node_meminfo(facts.memory_mib, HugePages::default())),
        (format!("root/{POOL}"), "\n".to_owned()),
        (format!("{cpus}/offline"), "\n".to_owned()),
        ("root/dev/nitro_enclaves".to_owned(), String::new()),
        ("etc/allocator.yaml".to_owned(), ALLOCATOR.to_owned()),
    ];
    for size in ["2048kB", "1048576kB"] {
        for count in ["nr_hugepages", "free_hugepages"] {
            let path = format!("{node}/node0/hugepages/hugepages-{size}/{count}");
            files.push((path, "0\n".to_owned()));
        }
    }
    for cpu in 0..facts.vcpus {
        let topology = format!("{cpus}/cpu{cpu}/topology");
        let siblings = siblings(cpu, facts.vcpus, facts.threads_per_core);
        files.push((format!("{topology}/thread_siblings_list"), line(&siblings)));
        files.push((format!("{topology}/core_id"), format!("{}\n", cpu % cores)));
    }
    files
}

/// What the nitro-cli package installs: a pool of 2 CPUs and 512 MiB.
const ALLOCATOR: &str = "---\nmemory_mib: 512\ncpu_count: 2\n";

/// A list as sysfs shows it: with a newline.
fn line(cpus: &CpuList) -> String {
    format!("{cpus}\n")
}

/// The kernel of this machine makes a fresh identifier at each reading.
fn boot_id() -> Result<String, HostError> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    let text = fs::read_to_string(path).map_err(|source| HostError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(text.trim().to_owned())
}

fn write(path: &Path, text: &str) -> Result<(), HostError> {
    if let Some(parent) = path.parent() {
        make_dir(parent)?;
    }
    fs::write(path, text).map_err(|source| HostError::File {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

fn make_dir(path: &Path) -> Result<(), HostError> {
    fs::create_dir_all(path).map_err(|source| HostError::File {
        action: "make the directory",
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn facts(vcpus: u32, threads_per_core: u32) -> HostFacts {
        HostFacts {
            instance_id: "i-0123456789abcdef0".to_owned(),
            instance_type: "m5.xlarge".to_owned(),
            instance_arn: "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0"
                .to_owned(),
            role_arn: "arn:aws:iam::123456789012:role/parent".to_owned(),
            availability_zone: "eu-west-1a".to_owned(),
            region: "eu-west-1".to_owned(),
            vcpus,
            memory_mib: 16_384,
            threads_per_core,
            authority: PathBuf::from("/nowhere/authority.pem"),
        }
    }

    fn read(host: &Host, path: &str) -> String {
        fs::read_to_string(host.root(path)).unwrap()
    }

    #[test]
    fn a_fresh_host_looks_like_a_parent_without_a_pool() {
        let dir = tempfile::tempdir().unwrap();
        let host = create(dir.path(), &facts(4, 2)).unwrap();
        assert_eq!(host.facts(), &facts(4, 2));
        assert_eq!(read(&host, "sys/devices/system/cpu/online"), "0-3\n");
        assert_eq!(
            read(&host, "sys/devices/system/cpu/cpu3/topology/thread_siblings_list"),
            "1,3\n"
        );
        assert_eq!(read(&host, "sys/module/nitro_enclaves/parameters/ne_cpus"), "\n");
        assert_eq!(HugePages::read(&host).unwrap(), HugePages::default());
        assert!(host.root("dev/nitro_enclaves").exists());
    }

    #[test]
    fn a_core_of_graviton_has_one_thread() {
        let dir = tempfile::tempdir().unwrap();
        let host = create(dir.path(), &facts(2, 1)).unwrap();
        let path = "sys/devices/system/cpu/cpu1/topology/thread_siblings_list";
        assert_eq!(read(&host, path), "1\n");
    }

    #[test]
    fn every_boot_has_its_own_id() {
        let dir = tempfile::tempdir().unwrap();
        let path = "proc/sys/kernel/random/boot_id";
        let first = read(&create(dir.path(), &facts(4, 2)).unwrap(), path);
        let second = read(&create(dir.path(), &facts(4, 2)).unwrap(), path);
        assert_ne!(first, second);
        assert_eq!(first.len(), 37);
    }

    #[test]
    fn a_machine_with_part_of_a_core_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        for (vcpus, threads_per_core) in [(3, 2), (4, 0), (0, 1)] {
            let refused = create(dir.path(), &facts(vcpus, threads_per_core));
            assert!(matches!(refused, Err(HostError::Topology { .. })));
        }
    }
}
