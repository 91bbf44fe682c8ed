//! The memory of a simulated host: `/proc/meminfo`, and that of its one NUMA node with its hugepages.

use std::fs;
use std::path::PathBuf;

use super::{Host, HostError};

/// The size of the hugepages that the simulated allocator reserves, in MiB.
pub const PAGE_MIB: u32 = 2;

/// What the kernel keeps for itself of the machine's memory: a 32nd, as on instances of any size.
const KERNEL_SHARE: u32 = 32;

/// What the parent's programs use, in MiB.
const PROGRAMS_MIB: u32 = 384;

/// Where the kernel describes the memory of NUMA node 0.
pub(super) const NODE_MEMINFO: &str = "sys/devices/system/node/node0/meminfo";

/// Hugepages of 2 MiB on NUMA node 0.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct HugePages {
    /// How many are reserved.
    pub(crate) total: u32,
    /// How many of those no enclave has.
    pub(crate) free: u32,
}

impl HugePages {
    /// How many pages hold `memory_mib`.
    pub(crate) fn needed_for(memory_mib: u32) -> u32 {
        memory_mib.div_ceil(PAGE_MIB)
    }

    /// What the host's sysfs says now.
    pub(crate) fn read(host: &Host) -> Result<Self, HostError> {
        Ok(Self {
            total: read_count(host, "nr_hugepages")?,
            free: read_count(host, "free_hugepages")?,
        })
    }

    /// Makes the host's sysfs and procfs say this.
    pub(crate) fn write(self, host: &Host) -> Result<(), HostError> {
        write(host.root(&file("nr_hugepages")), &format!("{}\n", self.total))?;
        write(host.root(&file("free_hugepages")), &format!("{}\n", self.free))?;
        write(host.root("proc/meminfo"), &meminfo(host.facts().memory_mib, self))?;
        write(host.root(NODE_MEMINFO), &node_meminfo(host.facts().memory_mib, self))
    }
}

/// How much memory hugepages can have at most, in MiB: what the parent does not use itself.
pub(crate) fn reservable_mib(memory_mib: u32) -> u32 {
    total_mib(memory_mib).saturating_sub(PROGRAMS_MIB)
}

/// The text of `/proc/meminfo` on a machine of `memory_mib` with these hugepages.
pub(super) fn meminfo(memory_mib: u32, pages: HugePages) -> String {
    let total = total_mib(memory_mib);
    let available = reservable_mib(memory_mib).saturating_sub(pages.total * PAGE_MIB);
    let lines = [
        ("MemTotal", total),
        ("MemFree", available),
        ("MemAvailable", available),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
    ]
    .map(|(name, mib)| format!("{:<16}{:>8} kB\n", format!("{name}:"), u64::from(mib) * 1_024));
    let counts = [
        ("HugePages_Total", pages.total),
        ("HugePages_Free", pages.free),
        ("HugePages_Rsvd", 0),
        ("HugePages_Surp", 0),
    ]
    .map(|(name, count)| format!("{:<16}{count:>8}\n", format!("{name}:")));
    let size = u64::from(PAGE_MIB) * 1_024;
    format!("{}{}{:<16}{size:>8} kB\n", lines.concat(), counts.concat(), "Hugepagesize:")
}

/// The text of [`NODE_MEMINFO`] on a machine of `memory_mib` with these hugepages.
pub(super) fn node_meminfo(memory_mib: u32, pages: HugePages) -> String {
    let free = reservable_mib(memory_mib).saturating_sub(pages.total * PAGE_MIB);
    let lines = [
        ("MemTotal", total_mib(memory_mib)),
        ("MemFree", free),
        ("Active(file)", 0),
        ("Inactive(file)", 0),
        ("SReclaimable", 0),
    ];
    let kib = |mib| u64::from(mib) * 1_024;
    lines
        .map(|(name, mib)| format!("Node 0 {:<16}{:>8} kB\n", format!("{name}:"), kib(mib)))
        .concat()
}

fn total_mib(memory_mib: u32) -> u32 {
    memory_mib - memory_mib / KERNEL_SHARE
}

fn file(name: &str) -> String {
    format!("sys/devices/system/node/node0/hugepages/hugepages-2048kB/{name}")
}

fn read_count(host: &Host, name: &str) -> Result<u32, HostError> {
    let path = host.root(&file(name));
    let failed = |source| HostError::File { action: "read", path: path.clone(), source };
    let text = fs::read_to_string(&path).map_err(failed)?;
    text.trim().parse().map_err(|err| failed(std::io::Error::other(err)))
}

fn write(path: PathBuf, text: &str) -> Result<(), HostError> {
    fs::write(&path, text).map_err(|source| HostError::File { action: "write", path, source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hugepages_take_memory_from_what_is_available() {
        let text = meminfo(16_384, HugePages { total: 512, free: 100 });
        let expected = "\
MemTotal:       16252928 kB
MemFree:        14811136 kB
MemAvailable:   14811136 kB
Buffers:               0 kB
Cached:                0 kB
SwapTotal:             0 kB
SwapFree:              0 kB
HugePages_Total:     512
HugePages_Free:      100
HugePages_Rsvd:        0
HugePages_Surp:        0
Hugepagesize:       2048 kB
";
        assert_eq!(text, expected);
    }

    #[test]
    fn the_only_node_has_all_of_it() {
        let text = node_meminfo(16_384, HugePages { total: 512, free: 100 });
        let expected = "\
Node 0 MemTotal:       16252928 kB
Node 0 MemFree:        14811136 kB
Node 0 Active(file):          0 kB
Node 0 Inactive(file):        0 kB
Node 0 SReclaimable:          0 kB
";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_part_of_a_page_takes_a_whole_one() {
        assert_eq!(HugePages::needed_for(1_024), 512);
        assert_eq!(HugePages::needed_for(1_025), 513);
    }
}
