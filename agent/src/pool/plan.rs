//! How large the enclave pool should be. Pure.
//!
//! One plan for the whole host, made while no enclave runs: the driver refuses to change the CPU
//! pool afterwards, and all enclaves of a parent share one NUMA node. CPUs go to the pool by whole
//! cores, and the core of CPU 0 stays with the parent.

use super::facts::HostFacts;
use crate::ports::Size;
use std::collections::BTreeSet;

/// Memory is reserved in pages of this size at least.
const PAGE_MIB: u64 = 2;
/// What the parent keeps for itself, so that reserving memory never starves the agent.
const PARENT_MIB: u64 = 256;

/// What the allocator is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PoolPlan {
    /// vCPUs, a whole number of cores.
    pub cpu_count: u32,
    /// Memory, in MiB, a whole number of pages.
    pub memory_mib: u64,
}

/// Plans a pool that holds all of `sizes` at once.
///
/// The enclaves that run are of no concern: a plan is made only while there is none.
pub fn plan(facts: &HostFacts, sizes: &[Size]) -> Result<PoolPlan, Shortage> {
    let threads = facts.threads_per_core();
    if let Some(size) = sizes.iter().find(|size| !size.cpu_count.is_multiple_of(threads)) {
        return Err(Shortage::SplitCore { cpu_count: size.cpu_count, threads_per_core: threads });
    }
    let cpu_count = sizes.iter().fold(0_u32, |sum, size| sum.saturating_add(size.cpu_count));
    let memory_mib = sizes.iter().map(|size| pages_mib(size.memory_mib)).sum();
    let offered_cpus = largest_node(facts);
    if cpu_count > offered_cpus {
        return Err(Shortage::Cpus { wanted: cpu_count, offered: offered_cpus });
    }
    // What is reserved now goes back before the new pool is made.
    let offered_mib = (facts.available_mib + facts.free_mib()).saturating_sub(PARENT_MIB);
    if memory_mib > offered_mib {
        return Err(Shortage::Memory { wanted_mib: memory_mib, offered_mib });
    }
    Ok(PoolPlan { cpu_count, memory_mib })
}

/// Checks whether the pool, as it is, holds one more enclave beside those that use `used_cpus`.
pub fn fits(facts: &HostFacts, used_cpus: u32, size: Size) -> Result<(), Shortage> {
    let threads_per_core = facts.threads_per_core();
    if !size.cpu_count.is_multiple_of(threads_per_core) {
        return Err(Shortage::SplitCore { cpu_count: size.cpu_count, threads_per_core });
    }
    let offered = facts.pool.count().saturating_sub(used_cpus);
    if size.cpu_count > offered {
        return Err(Shortage::Cpus { wanted: size.cpu_count, offered });
    }
    let (wanted_mib, offered_mib) = (pages_mib(size.memory_mib), facts.free_mib());
    if wanted_mib > offered_mib {
        return Err(Shortage::Memory { wanted_mib, offered_mib });
    }
    Ok(())
}

/// Compares what the allocator really reserved with what it was asked for.
pub fn check_applied(facts: &HostFacts, plan: PoolPlan) -> Result<(), Shortage> {
    let offered = facts.pool.count();
    if offered < plan.cpu_count {
        return Err(Shortage::Cpus { wanted: plan.cpu_count, offered });
    }
    let offered_mib = facts.reserved_mib();
    if offered_mib < plan.memory_mib {
        return Err(Shortage::Memory { wanted_mib: plan.memory_mib, offered_mib });
    }
    Ok(())
}

/// How many vCPUs the node with the most can give, beside the core of CPU 0.
fn largest_node(facts: &HostFacts) -> u32 {
    let parents = facts.cores.get(&0).map(|core| core.0.clone()).unwrap_or_default();
    let could_be_pool: BTreeSet<u32> = facts.online.0.union(&facts.pool.0).copied().collect();
    let offered = facts.nodes.values().map(|node| {
        let cpus = node.cpus.0.iter().filter(|cpu| could_be_pool.contains(cpu));
        cpus.filter(|cpu| **cpu != 0 && !parents.contains(cpu)).count()
    });
    // Offline CPUs are in no node's list, so those in the pool count for the node they came from,
    // which is the only one with room for them.
    let pooled = facts.pool.0.iter().filter(|cpu| !in_a_node(facts, **cpu)).count();
    u32::try_from(offered.max().unwrap_or(0) + pooled).unwrap_or(u32::MAX)
}

fn in_a_node(facts: &HostFacts, cpu: u32) -> bool {
    facts.nodes.values().any(|node| node.cpus.0.contains(&cpu))
}

fn pages_mib(memory_mib: u32) -> u64 {
    u64::from(memory_mib).div_ceil(PAGE_MIB) * PAGE_MIB
}

/// What the host lacks.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Shortage {
    /// Too few CPUs.
    #[error(
        "the enclave pool needs {wanted} vCPUs on one NUMA node, the host offers {offered} beside \
         the core of CPU 0"
    )]
    Cpus {
        /// vCPUs wanted.
        wanted: u32,
        /// vCPUs that there are.
        offered: u32,
    },
    /// Too little memory.
    #[error("the enclave pool needs {wanted_mib} MiB, the host offers {offered_mib} MiB")]
    Memory {
        /// Memory wanted, in MiB.
        wanted_mib: u64,
        /// Memory that there is, in MiB.
        offered_mib: u64,
    },
    /// An enclave would share a core with the parent or with another enclave.
    #[error("cpu_count {cpu_count} is not a whole number of cores of {threads_per_core} vCPUs")]
    SplitCore {
        /// vCPUs wanted.
        cpu_count: u32,
        /// vCPUs of a core.
        threads_per_core: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::facts::Node;
    use proptest::prelude::*;

    /// A parent with `cores` cores of two threads, cpu N and N + cores being siblings.
    fn parent(cores: u32, available_mib: u64) -> HostFacts {
        let all = format!("0-{}", cores * 2 - 1).parse().unwrap();
        let siblings = |cpu: u32| format!("{},{}", cpu % cores, cpu % cores + cores);
        HostFacts {
            online: format!("0-{}", cores * 2 - 1).parse().unwrap(),
            cores: (0..cores * 2).map(|cpu| (cpu, siblings(cpu).parse().unwrap())).collect(),
            nodes: [(0, Node { cpus: all, ..Node::default() })].into(),
            available_mib,
            pool: "".parse().unwrap(),
        }
    }

    fn size(cpu_count: u32, memory_mib: u32) -> Size {
        Size { cpu_count, memory_mib }
    }

    #[test]
    fn plans_and_refusals() {
        let small = parent(2, 15_000);
        let cases = [
            (vec![size(2, 1_024)], Ok(PoolPlan { cpu_count: 2, memory_mib: 1_024 })),
            (vec![size(2, 1_025)], Ok(PoolPlan { cpu_count: 2, memory_mib: 1_026 })),
            (vec![size(4, 1_024)], Err(Shortage::Cpus { wanted: 4, offered: 2 })),
            (vec![size(2, 1_024), size(2, 512)], Err(Shortage::Cpus { wanted: 4, offered: 2 })),
            (vec![size(1, 1_024)], Err(Shortage::SplitCore { cpu_count: 1, threads_per_core: 2 })),
            (
                vec![size(2, 15_000)],
                Err(Shortage::Memory { wanted_mib: 15_000, offered_mib: 14_744 }),
            ),
        ];
        for (sizes, expected) in cases {
            assert_eq!(plan(&small, &sizes), expected, "{sizes:?}");
        }
    }

    #[test]
    fn one_thread_per_core_allows_odd_counts() {
        let mut graviton = parent(2, 8_000);
        graviton.cores = (0..4).map(|cpu| (cpu, cpu.to_string().parse().unwrap())).collect();
        assert_eq!(plan(&graviton, &[size(3, 64)]), Ok(PoolPlan { cpu_count: 3, memory_mib: 64 }));
    }

    #[test]
    fn an_enclave_never_spans_numa_nodes() {
        let mut facts = parent(4, 64_000);
        let node = |cpus: &str| Node { cpus: cpus.parse().unwrap(), ..Node::default() };
        facts.nodes = [(0, node("0,1,4,5")), (1, node("2,3,6,7"))].into();
        assert_eq!(plan(&facts, &[size(4, 64)]).map(|plan| plan.cpu_count), Ok(4));
        let expected = Err(Shortage::Cpus { wanted: 6, offered: 4 });
        assert_eq!(plan(&facts, &[size(6, 64)]), expected);
    }

    #[test]
    fn a_pool_that_is_too_small_while_an_enclave_runs_is_refused_with_the_numbers() {
        let mut facts = parent(4, 64_000);
        facts.pool = "1,2,5,6".parse().unwrap();
        facts.nodes.insert(0, Node { reserved_mib: 2_048, free_mib: 512, ..Node::default() });
        assert_eq!(fits(&facts, 2, size(2, 512)), Ok(()));
        let cpus = Shortage::Cpus { wanted: 2, offered: 0 };
        assert_eq!(fits(&facts, 4, size(2, 512)), Err(cpus));
        let memory = Shortage::Memory { wanted_mib: 514, offered_mib: 512 };
        assert_eq!(fits(&facts, 2, size(2, 513)), Err(memory));
    }

    #[test]
    fn an_allocator_that_reserved_less_is_found_out() {
        let mut facts = parent(4, 64_000);
        facts.pool = "1,5".parse().unwrap();
        let asked = PoolPlan { cpu_count: 4, memory_mib: 64 };
        let expected = Shortage::Cpus { wanted: 4, offered: 2 };
        assert_eq!(check_applied(&facts, asked), Err(expected));
    }

    proptest! {
        #[test]
        fn a_plan_never_overcommits_nor_splits_a_core(
            cores in 1_u32..64, available in 0_u64..100_000,
            sizes in prop::collection::vec((1_u32..16, 64_u32..40_000), 1..5),
        ) {
            let facts = parent(cores, available);
            let sizes: Vec<Size> = sizes.into_iter().map(|(c, m)| size(c, m)).collect();
            if let Ok(plan) = plan(&facts, &sizes) {
                prop_assert_eq!(plan.cpu_count % 2, 0);
                prop_assert!(plan.cpu_count <= cores * 2 - 2);
                prop_assert!(plan.memory_mib + PARENT_MIB <= available);
                let asked: u64 = sizes.iter().map(|s| u64::from(s.memory_mib)).sum();
                prop_assert!(plan.memory_mib >= asked && plan.memory_mib % PAGE_MIB == 0);
            }
        }
    }
}
