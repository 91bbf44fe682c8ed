//! What a host or its enclave pool lacks, in numbers.

use super::{cpu_list::CpuList, pages::Pages};
use crate::ports::Size;
use std::fmt;

/// What the host or the enclave pool lacks.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Shortage {
    /// No NUMA node has so many CPUs.
    #[error("needs {wanted} vCPUs on one NUMA node; {}", Listed(offers))]
    Cpus {
        /// vCPUs wanted.
        wanted: u32,
        /// The whole cores that each node has for enclaves, in vCPUs.
        offers: Vec<Offer>,
    },
    /// The pages would do, were they of other sizes.
    #[error(
        "{} MiB in {pages} on node {node} cannot be divided among {} in every order of starts",
        pages.mib(), Enclaves(enclaves)
    )]
    Division {
        /// The node.
        node: u32,
        /// Its free huge pages that an enclave can be made of.
        pages: Pages,
        /// The enclaves that are to have them.
        enclaves: Vec<Size>,
    },
    /// A parent runs no more enclaves at a time.
    #[error("a parent runs 1 to {most} enclaves at a time, not {wanted}")]
    Enclaves {
        /// Enclaves wanted.
        wanted: usize,
        /// As many can be.
        most: usize,
    },
    /// The cores of CPUs in the pool are not known.
    #[error(
        "needs {wanted} vCPUs, and of the CPUs {cpus} in the enclave pool it is not known which \
         are one core while they are offline; empty the pool or reboot"
    )]
    HiddenCores {
        /// vCPUs wanted.
        wanted: u32,
        /// The CPUs.
        cpus: CpuList,
    },
    /// No NUMA node with enough CPUs has so much memory.
    #[error(
        "needs {wanted_mib} MiB in whole huge pages on one NUMA node for the {asked_mib} MiB asked \
         for; {}",
        Listed(offers)
    )]
    Memory {
        /// What the allocator would have to reserve, in MiB.
        wanted_mib: u64,
        /// What the enclaves ask for, in MiB.
        asked_mib: u64,
        /// What each node with enough CPUs can reserve, in MiB.
        offers: Vec<Offer>,
    },
    /// An enclave without a CPU.
    #[error("an enclave needs at least one vCPU")]
    NoCpus,
    /// The kernel has no huge pages of a size that nitro-cli maps.
    #[error("node {node} has no sizes of huge pages that an enclave can be made of")]
    NoPages {
        /// The node.
        node: u32,
    },
    /// The pool does not hold the CPUs that were planned.
    #[error("the enclave pool holds the CPUs `{found}` instead of `{planned}`")]
    OtherCpus {
        /// What was planned.
        planned: CpuList,
        /// What there is.
        found: CpuList,
    },
    /// The pool has too few CPUs.
    #[error("needs {wanted} vCPUs, {free} of the {} in the enclave pool are free", pool.count())]
    PoolCpus {
        /// vCPUs wanted.
        wanted: u32,
        /// vCPUs in the pool that no enclave has.
        free: u32,
        /// The pool.
        pool: CpuList,
    },
    /// The pool has too little memory.
    #[error(
        "needs {wanted_mib} MiB, node {node} has {} MiB free in huge pages for enclaves ({pages}); \
         {} MiB are missing",
        pages.mib(), wanted_mib.saturating_sub(pages.mib())
    )]
    PoolMemory {
        /// Memory wanted, in MiB.
        wanted_mib: u64,
        /// The pool's node.
        node: u32,
        /// Its free huge pages that an enclave can be made of.
        pages: Pages,
    },
    /// The hypervisor does not take so many memory regions.
    #[error(
        "an enclave's memory may be in {regions} huge pages, and the hypervisor takes {most} \
         memory regions"
    )]
    Regions {
        /// Memory regions, one a page.
        regions: u64,
        /// The most that it takes, as configured.
        most: u64,
    },
    /// An enclave would share a core with the parent or with another enclave.
    #[error("cpu_count {cpu_count} is not a whole number of cores of {threads_per_core} vCPUs")]
    SplitCore {
        /// vCPUs wanted.
        cpu_count: u32,
        /// vCPUs of a core.
        threads_per_core: u32,
    },
    /// nitro-cli could take pages of another node than the enclave's, which the driver refuses.
    #[error(
        "{} MiB in huge pages are free on node {node}, which the allocator does not give back when \
         the pool is on another node; free them or reboot", pages.mib()
    )]
    StrayPages {
        /// The node.
        node: u32,
        /// Its free huge pages.
        pages: Pages,
    },
    /// The driver starts no enclave with so little memory.
    #[error("memory_mib {memory_mib} is less than the {least_mib} MiB that an enclave needs")]
    TooSmall {
        /// Memory wanted, in MiB.
        memory_mib: u32,
        /// The least, in MiB.
        least_mib: u32,
    },
}

impl Shortage {
    /// Whether the request is at fault, which no host could fulfil.
    #[must_use]
    pub fn is_of_the_request(&self) -> bool {
        matches!(self, Self::NoCpus | Self::SplitCore { .. } | Self::TooSmall { .. })
    }
}

/// What one NUMA node has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offer {
    /// So many vCPUs.
    Cpus {
        /// The node.
        node: u32,
        /// vCPUs, in whole cores.
        count: u32,
        /// Whether the parent's own core is on the node and left out.
        beside_the_parent: bool,
    },
    /// So much memory.
    Memory {
        /// The node.
        node: u32,
        /// What can be reserved, in MiB.
        mib: u64,
    },
}

impl fmt::Display for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpus { node, count, beside_the_parent: true } => {
                write!(f, "node {node} has {count} free beside the parent's core 0")
            }
            Self::Cpus { node, count, beside_the_parent: false } => {
                write!(f, "node {node} has {count} free")
            }
            Self::Memory { node, mib } => write!(f, "node {node} can give {mib} MiB"),
        }
    }
}

struct Listed<'a>(&'a [Offer]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("there is none");
        }
        for (index, offer) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{offer}")?;
        }
        Ok(())
    }
}

struct Enclaves<'a>(&'a [Size]);

impl fmt::Display for Enclaves<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("enclaves of ")?;
        for (index, size) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { " and " };
            write!(f, "{separator}{}", size.memory_mib)?;
        }
        f.write_str(" MiB")
    }
}
