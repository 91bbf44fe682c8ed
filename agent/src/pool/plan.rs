//! How large the enclave pool should be, where it lies, and whether it is there. Pure.
//!
//! One plan for the whole host, made while no enclave runs: the driver refuses to change the CPU
//! pool afterwards, so that a pool of another size needs a drained host. All enclaves of a parent
//! share one NUMA node. CPUs go to the pool by whole cores, and the core of CPU 0 stays with the
//! parent (`ne_setup_cpu_pool` of the driver).

use super::{
    allocator::{self, Request},
    cpu_list::CpuList,
    division::{draw, regions_when_divided, whole_small_pages},
    facts::{HostFacts, Node},
    pages::Pages,
    shortage::{Offer, Shortage},
};
use crate::ports::Size;
use std::cmp::Reverse;

/// What the parent keeps for itself, in MiB, so that reserving memory never starves the agent.
const PARENT_MIB: u64 = 256;
/// The driver starts no enclave with less memory (`NE_MIN_ENCLAVE_MEM_SIZE`).
const LEAST_MIB: u32 = 64;
/// A parent runs no more at a time (AWS Nitro Enclaves User Guide, "Working with multiple enclaves").
const MOST_ENCLAVES: usize = 4;

/// What the allocator is asked for, and what is expected of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PoolPlan {
    /// The NUMA node.
    pub node: u32,
    /// The CPUs: whole cores of the node.
    pub cpus: CpuList,
    /// Memory and pages.
    pub request: Request,
    /// The enclaves that it is for.
    pub enclaves: Vec<Size>,
}

impl PoolPlan {
    /// The text of `allocator.yaml`.
    #[must_use]
    pub fn allocator_file(&self) -> String {
        allocator::file(&self.cpus, self.request.memory_mib)
    }
}

/// A pool that serves.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Held {
    /// Its free huge pages that enclaves can be made of.
    pub pages: Pages,
    /// How much they hold beyond what the enclaves ask for, in MiB.
    pub waste_mib: u64,
    /// How many memory regions the enclave with the most has at most.
    pub regions: u64,
}

/// Plans a pool that holds all of `enclaves` at once.
///
/// The enclaves that run are of no concern: a plan is made only while there is none. An enclave's
/// memory is handed to the hypervisor in as many regions as it has pages; `most_regions` is the most
/// that the hypervisor takes, where that is known: it tells the driver alone.
pub fn plan(
    facts: &HostFacts,
    enclaves: &[Size],
    most_regions: Option<u64>,
) -> Result<PoolPlan, Shortage> {
    let wanted = check_request(facts, enclaves)?;
    let nodes: Vec<Cores<'_>> =
        facts.nodes.iter().map(|(index, node)| Cores::of(facts, *index, node)).collect();
    let mut roomy: Vec<&Cores<'_>> = nodes.iter().filter(|node| node.count >= wanted).collect();
    if roomy.is_empty() {
        return Err(too_few_cpus(facts, wanted, &nodes));
    }
    // The node with the most of both can hold whatever any plan wants later.
    roomy.sort_by_key(|node| Reverse((node.count, node.memory_mib, Reverse(node.index))));
    let memories = memories(enclaves);
    let (mut wanted_mib, mut in_the_way) = (0, None);
    for node in &roomy {
        let request = allocator::request(&node.node.page_sizes, &memories)
            .ok_or(Shortage::NoPages { node: node.index })?;
        if request.memory_mib > node.memory_mib {
            wanted_mib = request.memory_mib;
            continue;
        }
        if let Some(stray) = stray(facts, node.index) {
            in_the_way.get_or_insert(stray);
            continue;
        }
        check_regions(request.regions, most_regions)?;
        let cpus = node.first(wanted);
        return Ok(PoolPlan { node: node.index, cpus, request, enclaves: enclaves.to_vec() });
    }
    Err(in_the_way.unwrap_or_else(|| Shortage::Memory {
        wanted_mib,
        asked_mib: sum(&memories),
        offers: nodes.iter().filter(|n| n.count >= wanted).map(Cores::memory_offer).collect(),
    }))
}

/// Compares what the kernel shows with the plan, after the allocator has run.
///
/// Any pages on the node that serve the plan's enclaves are good: those of an allocator that got
/// fewer large pages than it wanted are.
pub fn check_applied(
    facts: &HostFacts,
    plan: &PoolPlan,
    most_regions: Option<u64>,
) -> Result<Held, Shortage> {
    if facts.pool != plan.cpus {
        let (planned, found) = (plan.cpus.clone(), facts.pool.clone());
        return Err(Shortage::OtherCpus { planned, found });
    }
    holds(facts, &plan.enclaves, most_regions).map_err(|shortage| match shortage {
        Shortage::PoolMemory { node, pages, .. } => {
            Shortage::PoolMemory { wanted_mib: plan.request.memory_mib, node, pages }
        }
        other => other,
    })
}

/// Checks whether the pool as it is holds all of `enclaves` at once; none runs.
pub fn holds(
    facts: &HostFacts,
    enclaves: &[Size],
    most_regions: Option<u64>,
) -> Result<Held, Shortage> {
    let wanted = check_request(facts, enclaves)?;
    let (node, pages) = check_pool(facts, wanted, 0)?;
    let memories = memories(enclaves);
    let wanted_mib =
        memories.iter().map(|mib| whole_small_pages(*mib)).fold(0, u64::saturating_add);
    if pages.mib() < wanted_mib {
        return Err(Shortage::PoolMemory { wanted_mib, node, pages });
    }
    let Some(regions) = regions_when_divided(&pages, &memories) else {
        return Err(Shortage::Division { node, pages, enclaves: enclaves.to_vec() });
    };
    check_regions(regions, most_regions)?;
    Ok(Held { waste_mib: pages.mib().saturating_sub(sum(&memories)), pages, regions })
}

/// Checks whether the pool, as it is, holds one more enclave beside those that run, which have
/// `used_cpus` of it, each an item.
pub fn fits(
    facts: &HostFacts,
    used_cpus: &[u32],
    enclave: Size,
    most_regions: Option<u64>,
) -> Result<(), Shortage> {
    let wanted = check_request(facts, &[enclave])?;
    check_number(used_cpus.len().saturating_add(1))?;
    let used = used_cpus.iter().fold(0, |sum: u32, cpus| sum.saturating_add(*cpus));
    let (node, pages) = check_pool(facts, wanted, used)?;
    let memory_mib = u64::from(enclave.memory_mib);
    let Some(drawn) = draw(&pages, memory_mib) else {
        let wanted_mib = whole_small_pages(memory_mib);
        return Err(Shortage::PoolMemory { wanted_mib, node, pages });
    };
    check_regions(drawn.total(), most_regions)
}

/// The number of vCPUs of requests that a host with enough of everything could fulfil.
fn check_request(facts: &HostFacts, enclaves: &[Size]) -> Result<u32, Shortage> {
    check_number(enclaves.len())?;
    let threads_per_core = facts.threads_per_core();
    for Size { cpu_count, memory_mib } in enclaves.iter().copied() {
        if cpu_count == 0 {
            return Err(Shortage::NoCpus);
        }
        if !cpu_count.is_multiple_of(threads_per_core) {
            return Err(Shortage::SplitCore { cpu_count, threads_per_core });
        }
        if memory_mib < LEAST_MIB {
            return Err(Shortage::TooSmall { memory_mib, least_mib: LEAST_MIB });
        }
    }
    Ok(enclaves.iter().fold(0, |sum: u32, size| sum.saturating_add(size.cpu_count)))
}

fn check_number(wanted: usize) -> Result<(), Shortage> {
    if (1..=MOST_ENCLAVES).contains(&wanted) {
        return Ok(());
    }
    Err(Shortage::Enclaves { wanted, most: MOST_ENCLAVES })
}

/// The pool's node and its free pages, when the pool has the CPUs; pages elsewhere are in the way.
fn check_pool(facts: &HostFacts, wanted: u32, used: u32) -> Result<(u32, Pages), Shortage> {
    let free = facts.pool.count().saturating_sub(used);
    let Some((index, node)) = facts.pool_node().filter(|_| free >= wanted) else {
        return Err(Shortage::PoolCpus { wanted, free, pool: facts.pool.clone() });
    };
    match stray(facts, index) {
        Some(shortage) => Err(shortage),
        None => Ok((index, node.free.mapped())),
    }
}

fn check_regions(regions: u64, most_regions: Option<u64>) -> Result<(), Shortage> {
    match most_regions.filter(|most| regions > *most) {
        Some(most) => Err(Shortage::Regions { regions, most }),
        None => Ok(()),
    }
}

/// Free huge pages on another node than `index`, where the allocator does not give them back:
/// nitro-cli does not say which node it wants its pages of, and the driver refuses those of another
/// than the CPUs' (`NE_ERR_MEM_DIFFERENT_NUMA_NODE`).
fn stray(facts: &HostFacts, index: u32) -> Option<Shortage> {
    facts.nodes.iter().filter(|(other, _)| **other != index).find_map(|(other, node)| {
        let pages = node.free.mapped();
        (!pages.is_empty()).then_some(Shortage::StrayPages { node: *other, pages })
    })
}

/// A NUMA node whose cores enclaves may have.
struct Cores<'a> {
    index: u32,
    node: &'a Node,
    whole: Vec<CpuList>,
    /// vCPUs of those cores.
    count: u32,
    /// Memory that can be reserved on it, in MiB.
    memory_mib: u64,
    beside_the_parent: bool,
}

impl<'a> Cores<'a> {
    fn of(facts: &HostFacts, index: u32, node: &'a Node) -> Self {
        let threads = facts.threads_per_core();
        let is_whole = |core: &&CpuList| {
            core.count() == threads
                && !core.contains(0)
                && core.iter().all(|cpu| node.cpus.contains(cpu) && is_ours(facts, cpu))
        };
        // Each core once, by its first CPU.
        let firsts = facts.cores.iter().filter(|(cpu, core)| core.iter().next() == Some(**cpu));
        let whole: Vec<CpuList> = firsts.map(|(_, core)| core).filter(is_whole).cloned().collect();
        // What is reserved on the node goes back before anything new is reserved.
        let free_mib = node.free.mib();
        let of_the_host = facts.available_mib.saturating_add(free_mib).saturating_sub(PARENT_MIB);
        Self {
            index,
            node,
            count: whole.iter().map(CpuList::count).fold(0, u32::saturating_add),
            whole,
            memory_mib: node.available_mib.saturating_add(free_mib).min(of_the_host),
            beside_the_parent: node.cpus.contains(0),
        }
    }

    fn first(&self, wanted: u32) -> CpuList {
        let cpus = self.whole.iter().flat_map(CpuList::iter);
        cpus.take(usize::try_from(wanted).unwrap_or(usize::MAX)).collect()
    }

    fn cpu_offer(&self) -> Offer {
        let Self { index: node, count, beside_the_parent, .. } = *self;
        Offer::Cpus { node, count, beside_the_parent }
    }

    fn memory_offer(&self) -> Offer {
        Offer::Memory { node: self.index, mib: self.memory_mib }
    }
}

/// Whether the CPU is online or in the pool, rather than taken offline by somebody else.
fn is_ours(facts: &HostFacts, cpu: u32) -> bool {
    facts.online.contains(cpu) || facts.pool.contains(cpu)
}

fn too_few_cpus(facts: &HostFacts, wanted: u32, nodes: &[Cores<'_>]) -> Shortage {
    let hidden = facts.pool.iter().filter(|cpu| !facts.cores.contains_key(cpu));
    let cpus: CpuList = hidden.collect();
    if cpus.count() > 0 {
        return Shortage::HiddenCores { wanted, cpus };
    }
    Shortage::Cpus { wanted, offers: nodes.iter().map(Cores::cpu_offer).collect() }
}

fn memories(enclaves: &[Size]) -> Vec<u64> {
    enclaves.iter().map(|size| u64::from(size.memory_mib)).collect()
}

fn sum(memories: &[u64]) -> u64 {
    memories.iter().copied().fold(0, u64::saturating_add)
}

#[cfg(test)]
#[path = "plan_properties.rs"]
mod properties;

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
