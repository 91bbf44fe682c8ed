//! What the kernel says about this parent's CPUs, memory and enclave pool.
//!
//! Read below a root directory, so that tests and the local cloud can show other machines.

use super::cpu_list::{CpuList, CpuListError};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

const CPUS: &str = "sys/devices/system/cpu";
const NODES: &str = "sys/devices/system/node";
const POOL: &str = "sys/module/nitro_enclaves/parameters/ne_cpus";

/// A parent as the kernel describes it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HostFacts {
    /// The CPUs that the parent can schedule on; those of the pool are offline and not among them.
    pub online: CpuList,
    /// The CPUs of each core, by any CPU in it.
    pub cores: BTreeMap<u32, CpuList>,
    /// The NUMA nodes.
    pub nodes: BTreeMap<u32, Node>,
    /// Memory that could still be reserved, in MiB (`MemAvailable`).
    pub available_mib: u64,
    /// The CPUs in the enclave pool, used or not.
    pub pool: CpuList,
}

/// One NUMA node.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Node {
    /// Its CPUs that are online.
    pub cpus: CpuList,
    /// Memory reserved in huge pages of any size, in MiB.
    pub reserved_mib: u64,
    /// The part of it that no enclave uses, in MiB.
    pub free_mib: u64,
}

impl HostFacts {
    /// Reads the facts below `root`, which is `/` on a real parent.
    pub fn read(root: &Path) -> Result<Self, FactsError> {
        let pool = cpu_list(&root.join(POOL))?;
        let online = cpu_list(&root.join(CPUS).join("online"))?;
        Ok(Self {
            cores: cores(root, &online, &pool)?,
            nodes: nodes(root)?,
            available_mib: available_mib(root)?,
            online,
            pool,
        })
    }

    /// How many CPUs a core has.
    #[must_use]
    pub fn threads_per_core(&self) -> u32 {
        self.cores.values().map(CpuList::count).max().unwrap_or(1).max(1)
    }

    /// Memory reserved in huge pages on all nodes, in MiB.
    #[must_use]
    pub fn reserved_mib(&self) -> u64 {
        self.nodes.values().map(|node| node.reserved_mib).sum()
    }

    /// The part of it that no enclave uses, in MiB.
    #[must_use]
    pub fn free_mib(&self) -> u64 {
        self.nodes.values().map(|node| node.free_mib).sum()
    }
}

/// A CPU of the pool is offline and has no topology any more on some kernels; it is left out then.
fn cores(
    root: &Path,
    online: &CpuList,
    pool: &CpuList,
) -> Result<BTreeMap<u32, CpuList>, FactsError> {
    let siblings =
        |cpu: &u32| root.join(CPUS).join(format!("cpu{cpu}")).join("topology/thread_siblings_list");
    let mut cores = BTreeMap::new();
    for cpu in online.0.union(&pool.0) {
        let path = siblings(cpu);
        if pool.0.contains(cpu) && !path.exists() {
            continue;
        }
        cores.insert(*cpu, cpu_list(&path)?);
    }
    Ok(cores)
}

fn nodes(root: &Path) -> Result<BTreeMap<u32, Node>, FactsError> {
    let dir = root.join(NODES);
    let mut nodes = BTreeMap::new();
    for entry in read_dir(&dir)? {
        let name = entry.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let index = name.strip_prefix("node").and_then(|index| index.parse().ok());
        if let Some(index) = index {
            nodes.insert(index, node(&entry)?);
        }
    }
    Ok(nodes)
}

fn node(dir: &Path) -> Result<Node, FactsError> {
    let mut node = Node { cpus: cpu_list(&dir.join("cpulist"))?, ..Node::default() };
    for pages in read_dir(&dir.join("hugepages"))? {
        let name = pages.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let size_kib = name.strip_prefix("hugepages-").and_then(|rest| rest.strip_suffix("kB"));
        let Some(size_kib) = size_kib.and_then(|size| size.parse::<u64>().ok()) else { continue };
        let mib = |count: u64| count.saturating_mul(size_kib) / 1_024;
        node.reserved_mib += mib(number(&pages.join("nr_hugepages"))?);
        node.free_mib += mib(number(&pages.join("free_hugepages"))?);
    }
    Ok(node)
}

fn available_mib(root: &Path) -> Result<u64, FactsError> {
    let path = root.join("proc/meminfo");
    let text = read(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB"));
    let kib: Option<u64> = kib.and_then(|kib| kib.trim().parse().ok());
    kib.map(|kib| kib / 1_024).ok_or(FactsError::Form { path, wanted: "a MemAvailable line in kB" })
}

fn cpu_list(path: &Path) -> Result<CpuList, FactsError> {
    let text = read(path)?;
    text.parse().map_err(|source| FactsError::CpuList { path: path.to_owned(), source })
}

fn number(path: &Path) -> Result<u64, FactsError> {
    let text = read(path)?;
    let number = text.trim().parse().ok();
    number.ok_or_else(|| FactsError::Form { path: path.to_owned(), wanted: "a number" })
}

fn read(path: &Path) -> Result<String, FactsError> {
    fs::read_to_string(path).map_err(|source| FactsError::Read { path: path.to_owned(), source })
}

fn read_dir(path: &Path) -> Result<Vec<PathBuf>, FactsError> {
    let unreadable = |source| FactsError::Read { path: path.to_owned(), source };
    let entries = fs::read_dir(path).map_err(unreadable)?;
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(unreadable)).collect()
}

/// Why the facts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A file does not hold a list of CPUs.
    #[error("cannot understand `{}`", path.display())]
    CpuList {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        source: CpuListError,
    },
    /// A file does not hold what it should.
    #[error("`{}` does not hold {wanted}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// A file or directory cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An m5.xlarge with one core in the pool and 512 of 1,024 MiB used by an enclave.
    fn tree() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let pages = format!("{NODES}/node0/hugepages/hugepages");
        let files = [
            (format!("{CPUS}/online"), "0,2\n"),
            (format!("{CPUS}/cpu0/topology/thread_siblings_list"), "0,2\n"),
            (format!("{CPUS}/cpu2/topology/thread_siblings_list"), "0,2\n"),
            (format!("{NODES}/node0/cpulist"), "0,2\n"),
            (format!("{pages}-2048kB/nr_hugepages"), "0\n"),
            (format!("{pages}-2048kB/free_hugepages"), "0\n"),
            (format!("{pages}-1048576kB/nr_hugepages"), "1\n"),
            (format!("{pages}-1048576kB/free_hugepages"), "0\n"),
            ("proc/meminfo".to_owned(), "MemTotal: 16000000 kB\nMemAvailable:   1048576 kB\n"),
            (POOL.to_owned(), "1,3\n"),
        ];
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_parent_with_a_pool_is_read() {
        let facts = HostFacts::read(tree().path()).unwrap();
        assert_eq!(facts.pool, "1,3".parse().unwrap());
        assert_eq!(facts.threads_per_core(), 2);
        assert_eq!(facts.available_mib, 1_024);
        assert_eq!((facts.reserved_mib(), facts.free_mib()), (1_024, 0));
    }

    #[test]
    fn a_missing_file_is_named() {
        let root = tree();
        fs::remove_file(root.path().join(POOL)).unwrap();
        let err = HostFacts::read(root.path()).unwrap_err();
        assert!(err.to_string().contains("ne_cpus"), "{err}");
    }
}
