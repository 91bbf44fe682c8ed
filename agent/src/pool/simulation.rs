//! Parents as trees of files, and an allocator that works on them. For tests.

use super::{
    cpu_list::CpuList,
    facts::{FactsError, HostFacts},
    pages::{PageSize, Pages},
};
use std::{cell::RefCell, collections::BTreeMap, fs, path::Path};
use tempfile::TempDir;

const CPUS: &str = "sys/devices/system/cpu";
const POOL: &str = "sys/module/nitro_enclaves/parameters/ne_cpus";

/// The types that there are trees of.
pub(crate) const TYPES: [&str; 5] =
    ["m5.xlarge", "m6i.4xlarge", "c6i.32xlarge", "r5.24xlarge", "m6g.xlarge"];

/// The files that describe a parent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Tree {
    instance_type: &'static str,
    /// By path; that of a directory ends in `/`.
    files: Files,
}

type Files = BTreeMap<String, String>;

thread_local! {
    /// A directory for each type with the files that were last written there, because writing all of
    /// them takes longer than everything else in these tests.
    static WRITTEN: RefCell<BTreeMap<&'static str, (TempDir, Files)>> = RefCell::default();
}

impl Tree {
    /// A parent of a type as it has booted, without an enclave pool.
    pub(crate) fn of(instance_type: &'static str) -> Self {
        let text = match instance_type {
            "m5.xlarge" => include_str!("../../tests/hosts/m5.xlarge.txt"),
            "m6i.4xlarge" => include_str!("../../tests/hosts/m6i.4xlarge.txt"),
            "c6i.32xlarge" => include_str!("../../tests/hosts/c6i.32xlarge.txt"),
            "r5.24xlarge" => include_str!("../../tests/hosts/r5.24xlarge.txt"),
            "m6g.xlarge" => include_str!("../../tests/hosts/m6g.xlarge.txt"),
            other => panic!("there is no tree of {other}"),
        };
        let mut files = Files::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (path, line) = line.split_once(':').unwrap();
            let file = files.entry(path.to_owned()).or_default();
            file.push_str(line);
            file.push('\n');
        }
        Self { instance_type, files }
    }

    pub(crate) fn write(&mut self, path: &str, text: &str) {
        self.files.insert(path.to_owned(), format!("{text}\n"));
    }

    pub(crate) fn remove(&mut self, path: &str) {
        self.files.remove(path).unwrap();
    }

    /// The facts, read from real files.
    pub(crate) fn read(&self) -> Result<HostFacts, FactsError> {
        WRITTEN.with_borrow_mut(|all| {
            let fresh = || (tempfile::tempdir().unwrap(), Files::new());
            let (root, written) = all.entry(self.instance_type).or_insert_with(fresh);
            write_changes(root.path(), written, &self.files);
            written.clone_from(&self.files);
            HostFacts::read(root.path())
        })
    }

    pub(crate) fn facts(&self) -> HostFacts {
        self.read().unwrap()
    }

    /// Writes all files below `root`, where files of the same type may be.
    pub(crate) fn write_below(&self, root: &Path) {
        write_changes(root, &Files::new(), &self.files);
    }

    fn list(&self, path: &str) -> CpuList {
        self.files[path].parse().unwrap()
    }

    fn number(&self, path: &str) -> u64 {
        self.files[path].trim().parse().unwrap()
    }

    fn node_of(&self, cpu: u32) -> u32 {
        let start = format!("{CPUS}/cpu{cpu}/node");
        let (path, _) = self.files.range(start.clone()..).next().unwrap();
        path.strip_prefix(&start).unwrap().trim_end_matches('/').parse().unwrap()
    }

    /// The core of a CPU that is online.
    fn core_of(&self, cpu: u32) -> CpuList {
        self.list(&format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list"))
    }

    /// Does to the files what the kernel does when the driver takes CPUs for its pool.
    pub(crate) fn take_offline(&mut self, pool: &CpuList) {
        for cpu in pool.iter() {
            let node = self.node_of(cpu);
            for path in
                [format!("{CPUS}/online"), format!("sys/devices/system/node/node{node}/cpulist")]
            {
                let mut list = self.list(&path);
                list.0.remove(&cpu);
                self.write(&path, &list.to_string());
            }
            self.remove(&format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list"));
        }
        self.write(&format!("{CPUS}/offline"), &pool.to_string());
        self.write(POOL, &pool.to_string());
    }

    /// The opposite, by the files of a parent that has no pool.
    fn bring_online(&mut self, booted: &Self) {
        let cpus = booted.files.iter().filter(|(path, _)| {
            path.starts_with(CPUS) || path.ends_with("cpulist") || *path == POOL
        });
        self.files.extend(cpus.map(|(path, text)| (path.clone(), text.clone())));
    }

    fn page_sizes(&self, node: u32) -> Vec<PageSize> {
        let dir = format!("sys/devices/system/node/node{node}/hugepages/hugepages-");
        let files = self.files.keys().filter_map(|path| path.strip_prefix(&dir));
        let sizes = files.filter_map(|rest| rest.strip_suffix("kB/nr_hugepages"));
        let mut sizes: Vec<PageSize> = sizes.map(|size| PageSize(size.parse().unwrap())).collect();
        sizes.sort_unstable();
        sizes
    }

    pub(crate) fn reserved(&self, node: u32) -> Pages {
        let count = |size| self.number(&hugepages(node, size, "nr_hugepages"));
        self.page_sizes(node).into_iter().map(|size| (size, count(size))).collect()
    }

    /// Sets the pages of one size, and takes their memory from what is free.
    pub(crate) fn reserve(&mut self, node: u32, size: PageSize, count: u64) {
        let before = self.reserved(node).count(size);
        for which in ["nr_hugepages", "free_hugepages"] {
            self.write(&hugepages(node, size, which), &count.to_string());
        }
        let node_meminfo = format!("sys/devices/system/node/node{node}/meminfo");
        for (path, name) in [
            ("proc/meminfo", "MemFree"),
            ("proc/meminfo", "MemAvailable"),
            (node_meminfo.as_str(), "MemFree"),
        ] {
            let freed = (i128::from(before) - i128::from(count)) * i128::from(size.0);
            self.change_meminfo(path, name, freed);
        }
    }

    fn change_meminfo(&mut self, path: &str, name: &str, kib: i128) {
        let text = self.files[path].lines().map(|line| {
            let (key, value) = line.split_once(':').unwrap();
            if key.split_whitespace().last() != Some(name) {
                return format!("{line}\n");
            }
            let value: i128 = value.trim().trim_end_matches(" kB").parse().unwrap();
            format!("{key}: {} kB\n", value + kib)
        });
        let text: String = text.collect();
        self.files.insert(path.to_owned(), text);
    }

    /// Memory that pages can be made of on a node, in KiB.
    fn free_kib(&self, node: u32) -> u64 {
        let text = &self.files[&format!("sys/devices/system/node/node{node}/meminfo")];
        let value = |name: &str| -> u64 {
            let line = text.lines().find(|line| line.contains(&format!(" {name}:"))).unwrap();
            line.rsplit(' ').nth(1).unwrap().parse().unwrap()
        };
        ["MemFree", "Active(file)", "Inactive(file)", "SReclaimable"].map(value).iter().sum()
    }
}

fn hugepages(node: u32, size: PageSize, which: &str) -> String {
    format!("sys/devices/system/node/node{node}/hugepages/hugepages-{}kB/{which}", size.0)
}

/// Makes the files below `root`, which are `old`, those of `new`.
fn write_changes(root: &Path, old: &Files, new: &Files) {
    for path in old.keys().filter(|path| !new.contains_key(*path)) {
        fs::remove_file(root.join(path)).unwrap();
    }
    for (path, text) in new.iter().filter(|(path, text)| old.get(*path) != Some(text)) {
        let file = root.join(path);
        if path.ends_with('/') {
            fs::create_dir_all(file).unwrap();
        } else {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
    }
}

/// nitro-enclaves-allocator on a [`Tree`].
#[derive(Clone, Debug, Default)]
pub(crate) struct Allocator {
    /// The most pages of a size that fragmented memory gives.
    pub(crate) at_most: BTreeMap<PageSize, u64>,
    /// Whether it says that it succeeded when it got too little, and keeps what it got
    /// (aws-nitro-enclaves-cli, issue 313); it fails and gives all back since.
    pub(crate) is_old: bool,
}

impl Allocator {
    /// Carries out an allocator file; the error is what the real one says.
    pub(crate) fn run(
        &self,
        tree: &mut Tree,
        booted: &Tree,
        file: &str,
    ) -> Result<(), &'static str> {
        let value = |key: &str| {
            let mut lines = file.lines().skip_while(|line| *line != "---");
            lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).unwrap()
        };
        let pool: CpuList = value("cpu_pool").parse().unwrap();
        tree.bring_online(booted);
        let node = driver_node(tree, &pool).ok_or("Failed to configure the CPU pool.")?;
        tree.take_offline(&pool);
        self.reserve(tree, node, value("memory_mib").parse().unwrap())
    }

    fn reserve(&self, tree: &mut Tree, node: u32, memory_mib: u64) -> Result<(), &'static str> {
        let sizes = tree.page_sizes(node);
        for size in &sizes {
            tree.reserve(node, *size, 0);
        }
        let smallest = sizes.first().unwrap().0;
        let mut missing = (memory_mib * 1_024).div_ceil(smallest) * smallest;
        for size in sizes.iter().rev() {
            let most = self.at_most.get(size).copied().unwrap_or(u64::MAX);
            let count = (missing / size.0).min(most).min(tree.free_kib(node) / size.0);
            tree.reserve(node, *size, count);
            missing -= count * size.0;
        }
        if missing == 0 || self.is_old {
            return Ok(());
        }
        for size in &sizes {
            tree.reserve(node, *size, 0);
        }
        Err("Failed to configure entire amount of requested memory.")
    }
}

/// The node of a pool that the driver takes (`ne_setup_cpu_pool`).
fn driver_node(tree: &Tree, pool: &CpuList) -> Option<u32> {
    let online = tree.list(&format!("{CPUS}/online"));
    let node = tree.node_of(pool.iter().next()?);
    let parents = tree.core_of(0);
    let good = pool.iter().all(|cpu| {
        online.contains(cpu)
            && tree.node_of(cpu) == node
            && !parents.contains(cpu)
            && tree.core_of(cpu).iter().all(|sibling| pool.contains(sibling))
    });
    good.then_some(node)
}
