//! What the kernel says about this parent's CPUs, memory and enclave pool.
//!
//! Read below a root directory, so that tests and the local cloud can show other machines.

use super::{
    cores,
    cpu_list::{CpuList, CpuListError},
    pages::{PageSize, Pages},
};
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
    /// The CPUs of each core, by any CPU in it; CPUs of the pool whose core is not known are left
    /// out.
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
    /// Its CPUs that are online or in the enclave pool.
    pub cpus: CpuList,
    /// Memory that could still be reserved, in MiB, were all of the page cache given up.
    pub available_mib: u64,
    /// The sizes of huge pages that the kernel offers.
    pub page_sizes: Vec<PageSize>,
    /// The huge pages that are reserved.
    pub reserved: Pages,
    /// Those of them that nobody uses.
    pub free: Pages,
}

impl HostFacts {
    /// Reads the facts below `root`, which is `/` on a real parent.
    pub fn read(root: &Path) -> Result<Self, FactsError> {
        let pool = cpu_list(&root.join(POOL))?;
        let online = cpu_list(&root.join(CPUS).join("online"))?;
        Ok(Self {
            cores: cores(root, &online, &pool)?,
            nodes: nodes(root, &pool)?,
            available_mib: kib(&root.join("proc/meminfo"), &["MemAvailable"])? / 1_024,
            online,
            pool,
        })
    }

    /// How many CPUs a core has.
    #[must_use]
    pub fn threads_per_core(&self) -> u32 {
        self.cores.values().map(CpuList::count).max().unwrap_or(1).max(1)
    }

    /// The node of the enclave pool; the driver allows no second one. `None` without a pool.
    #[must_use]
    pub fn pool_node(&self) -> Option<(u32, &Node)> {
        let mut nodes = self.nodes.iter().map(|(index, node)| (*index, node));
        nodes.find(|(_, node)| self.pool.iter().any(|cpu| node.cpus.contains(cpu)))
    }
}

/// A CPU of the pool is offline and has no topology any more; its core follows from the others'.
fn cores(
    root: &Path,
    online: &CpuList,
    pool: &CpuList,
) -> Result<BTreeMap<u32, CpuList>, FactsError> {
    let siblings =
        |cpu: u32| root.join(CPUS).join(format!("cpu{cpu}")).join("topology/thread_siblings_list");
    let mut visible = BTreeMap::new();
    let mut hidden = CpuList::default();
    for cpu in online.0.union(&pool.0).copied() {
        let path = siblings(cpu);
        if pool.contains(cpu) && !path.exists() {
            hidden.0.insert(cpu);
        } else {
            visible.insert(cpu, cpu_list(&path)?);
        }
    }
    Ok(cores::with_hidden(&visible, &hidden))
}

fn nodes(root: &Path, pool: &CpuList) -> Result<BTreeMap<u32, Node>, FactsError> {
    let mut nodes = BTreeMap::new();
    for dir in read_dir(&root.join(NODES))? {
        if let Some(index) = numbered("node", &dir) {
            nodes.insert(index, node(&dir)?);
        }
    }
    // A node's list has no CPUs that are offline.
    let only = if nodes.len() == 1 { nodes.keys().next().copied() } else { None };
    for cpu in pool.iter() {
        let index = if only.is_some() { only } else { node_of(root, cpu)? };
        if let Some(node) = index.and_then(|index| nodes.get_mut(&index)) {
            node.cpus.0.insert(cpu);
        }
    }
    Ok(nodes)
}

/// The node of a CPU by the link `cpu<N>/node<M>`, which stays when the CPU goes offline; the
/// allocator finds the node of its pool in the same way (`get_numa_node_from_cpus`).
fn node_of(root: &Path, cpu: u32) -> Result<Option<u32>, FactsError> {
    let entries = read_dir(&root.join(CPUS).join(format!("cpu{cpu}")))?;
    Ok(entries.iter().find_map(|entry| numbered("node", entry)))
}

/// What the kernel counts as available on a whole machine, without its margins: free memory, the
/// page cache, and reclaimable slabs. Nodes have no `MemAvailable`.
const NODE_AVAILABLE: [&str; 4] = ["MemFree", "Active(file)", "Inactive(file)", "SReclaimable"];

fn node(dir: &Path) -> Result<Node, FactsError> {
    let mut node = Node {
        cpus: cpu_list(&dir.join("cpulist"))?,
        available_mib: kib(&dir.join("meminfo"), &NODE_AVAILABLE)? / 1_024,
        ..Node::default()
    };
    for pages in read_dir(&dir.join("hugepages"))? {
        let name = pages.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let size = name.strip_prefix("hugepages-").and_then(|rest| rest.strip_suffix("kB"));
        let Some(size) = size.and_then(|size| size.parse().ok()).map(PageSize) else { continue };
        node.page_sizes.push(size);
        node.reserved.add(size, number(&pages.join("nr_hugepages"))?);
        node.free.add(size, number(&pages.join("free_hugepages"))?);
    }
    node.page_sizes.sort_unstable();
    Ok(node)
}

/// The number of an entry with the name `<prefix><number>`.
fn numbered(prefix: &str, entry: &Path) -> Option<u32> {
    entry.file_name()?.to_str()?.strip_prefix(prefix)?.parse().ok()
}

/// The sum of some values of a meminfo, in KiB: lines `[Node 0 ]<name>: <number> kB`.
fn kib(path: &Path, names: &[&str]) -> Result<u64, FactsError> {
    let text = read(path)?;
    let value = |name: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(key, _)| key.split_whitespace().last() == Some(name))?;
        value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()
    };
    let values: Option<Vec<u64>> = names.iter().map(|name| value(name)).collect();
    let sum = values.map(|values| values.into_iter().fold(0, u64::saturating_add));
    sum.ok_or_else(|| FactsError::Form {
        path: path.to_owned(),
        wanted: format!("lines in kB of {}", names.join(", ")),
    })
}

fn cpu_list(path: &Path) -> Result<CpuList, FactsError> {
    let text = read(path)?;
    text.parse().map_err(|source| FactsError::CpuList { path: path.to_owned(), source })
}

fn number(path: &Path) -> Result<u64, FactsError> {
    let text = read(path)?;
    let number = text.trim().parse().ok();
    number.ok_or_else(|| FactsError::Form { path: path.to_owned(), wanted: "a number".to_owned() })
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
        wanted: String,
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
    use crate::pool::simulation::Tree;

    fn pages(list: &[(u64, u64)]) -> Pages {
        list.iter().map(|(kib, count)| (PageSize(*kib), *count)).collect()
    }

    #[test]
    fn a_parent_without_a_pool_is_read() {
        let facts = Tree::of("m5.xlarge").facts();
        assert_eq!(
            (facts.online.to_string(), facts.pool.to_string()),
            ("0-3".into(), String::new())
        );
        assert_eq!((facts.threads_per_core(), facts.available_mib), (2, 15_063));
        let node = &facts.nodes[&0];
        assert_eq!(node.page_sizes, [PageSize(2_048), PageSize(1_048_576)]);
        assert_eq!((node.available_mib, &node.reserved), (15_141, &Pages::default()));
        assert_eq!(facts.pool_node(), None);
    }

    #[test]
    fn a_parent_with_a_pool_is_read() {
        let mut tree = Tree::of("r5.24xlarge");
        tree.take_offline(&"25-26,73-74".parse().unwrap());
        let pages_dir = format!("{NODES}/node1/hugepages/hugepages-1048576kB");
        tree.write(&format!("{pages_dir}/nr_hugepages"), "3");
        tree.write(&format!("{pages_dir}/free_hugepages"), "1");
        let facts = tree.facts();
        assert_eq!(facts.online.to_string(), "0-24,27-72,75-95");
        assert_eq!(facts.cores[&73].to_string(), "25,73");
        let (index, node) = facts.pool_node().unwrap();
        assert_eq!((index, node.cpus.to_string()), (1, "24-47,72-95".to_owned()));
        assert_eq!(node.reserved, pages(&[(1_048_576, 3)]));
        assert_eq!(node.free, pages(&[(1_048_576, 1)]));
    }

    #[test]
    fn graviton_has_one_thread_a_core_and_pages_of_four_sizes() {
        let facts = Tree::of("m6g.xlarge").facts();
        assert_eq!(facts.threads_per_core(), 1);
        let sizes: Vec<u64> = facts.nodes[&0].page_sizes.iter().map(|size| size.0).collect();
        assert_eq!(sizes, [64, 2_048, 32_768, 1_048_576]);
    }

    #[test]
    fn what_is_missing_or_damaged_is_named() {
        for (path, text, said) in [
            (POOL, None, "cannot read"),
            (POOL, Some("1;3"), "cannot understand"),
            ("proc/meminfo", Some("MemAvailable: 1 MB"), "lines in kB of MemAvailable"),
            ("sys/devices/system/node/node0/meminfo", Some("Node 0 MemFree: 1 kB"), "Active(file)"),
            (
                "sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages",
                Some("many"),
                "does not hold a number",
            ),
        ] {
            let mut tree = Tree::of("m5.xlarge");
            match text {
                Some(text) => tree.write(path, text),
                None => tree.remove(path),
            }
            let err = tree.read().unwrap_err().to_string();
            assert!(err.contains(said) && err.contains(path), "{err}");
        }
    }
}
