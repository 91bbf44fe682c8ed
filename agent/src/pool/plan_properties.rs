use super::*;
use crate::pool::{
    pages::PageSize,
    simulation::{Allocator, TYPES, Tree},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn hosts() -> impl Strategy<Value = (Tree, HostFacts)> {
    let hosts: Vec<(Tree, HostFacts)> =
        TYPES.map(|name| (Tree::of(name), Tree::of(name).facts())).into();
    prop::sample::select(hosts)
}

fn requests() -> impl Strategy<Value = Vec<Size>> {
    let memory = prop_oneof![60_u32..2_100, 60_u32..15_000, 60_u32..150_000, Just(1_024)];
    let size = (0_u32..24, memory).prop_map(|(cores, memory_mib)| {
        // Odd counts are refused on most types, so most are even.
        let cpu_count = if cores == 23 { 3 } else { cores * 2 };
        Size { cpu_count, memory_mib }
    });
    prop::collection::vec(size, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// CPUs and memory that are there, of one node, in whole cores, and not the parent's.
    #[test]
    fn a_plan_never_overcommits_nor_splits_a_core((_, facts) in hosts(), enclaves in requests()) {
        let Ok(plan) = plan(&facts, &enclaves, None) else { return Ok(()) };
        let node = &facts.nodes[&plan.node];
        let wanted: u32 = enclaves.iter().map(|size| size.cpu_count).sum();
        prop_assert_eq!(plan.cpus.count(), wanted);
        for cpu in plan.cpus.iter() {
            prop_assert!(facts.online.contains(cpu) && node.cpus.contains(cpu));
            let core = &facts.cores[&cpu];
            prop_assert!(!core.contains(0), "CPU {cpu} is the parent's");
            prop_assert!(core.iter().all(|cpu| plan.cpus.contains(cpu)), "{core} is split");
        }
        let memory_mib = plan.request.memory_mib;
        prop_assert!(memory_mib + PARENT_MIB <= facts.available_mib);
        prop_assert!(memory_mib <= node.available_mib);
        let asked: u64 = enclaves.iter().map(|size| u64::from(size.memory_mib)).sum();
        prop_assert!(memory_mib >= asked && memory_mib.is_multiple_of(2));
        prop_assert_eq!(plan.request.pages.mib(), memory_mib);
    }

    /// A refusal is about numbers that are so.
    #[test]
    fn a_refusal_is_true((_, facts) in hosts(), enclaves in requests()) {
        match plan(&facts, &enclaves, None) {
            Err(Shortage::Cpus { wanted, offers }) => {
                prop_assert_eq!(offers.len(), facts.nodes.len());
                for offer in offers {
                    let Offer::Cpus { count, .. } = offer else { panic!("{offer}") };
                    prop_assert!(count < wanted);
                }
            }
            Err(Shortage::Memory { wanted_mib, asked_mib, offers }) => {
                prop_assert!(wanted_mib >= asked_mib && !offers.is_empty());
                for offer in offers {
                    let Offer::Memory { mib, .. } = offer else { panic!("{offer}") };
                    prop_assert!(mib < wanted_mib);
                }
            }
            Err(other) => prop_assert!(other.is_of_the_request(), "{other}"),
            Ok(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// What an allocator makes of a plan is read back as the plan, also over an earlier pool.
    #[test]
    fn a_plan_applied_is_the_plan_read_back(
        (booted, facts) in hosts(), first in requests(), second in requests(),
    ) {
        let mut tree = booted.clone();
        let mut facts = facts;
        for enclaves in [first, second] {
            let Ok(plan) = plan(&facts, &enclaves, None) else { continue };
            let said = Allocator::default().run(&mut tree, &booted, &plan.allocator_file());
            prop_assert_eq!(said, Ok(()));
            facts = tree.facts();
            prop_assert_eq!(&facts.pool, &plan.cpus);
            prop_assert_eq!(&facts.nodes[&plan.node].reserved, &plan.request.pages);
            let held = check_applied(&facts, &plan, None);
            prop_assert_eq!(held.map(|held| held.regions), Ok(plan.request.regions));
        }
    }

    /// Whatever pages the allocator got: the read-back is content exactly when all enclaves find
    /// theirs, and says by how much memory is short otherwise.
    #[test]
    fn fragmented_memory_is_noticed(
        (booted, facts) in hosts(), enclaves in requests(), large in 0_u64..20,
        middle in 0_u64..40, small in 0_u64..8_000, is_old in any::<bool>(),
    ) {
        let Ok(plan) = plan(&facts, &enclaves, None) else { return Ok(()) };
        let at_most: BTreeMap<PageSize, u64> =
            [(PageSize(1_048_576), large), (PageSize(32_768), middle), (PageSize::SMALL, small)].into();
        let mut tree = booted.clone();
        let allocator = Allocator { at_most, is_old };
        let said = allocator.run(&mut tree, &booted, &plan.allocator_file());
        let pages = tree.reserved(plan.node).mapped();
        let memories = memories(&enclaves);
        let serves = regions_when_divided(&pages, &memories);
        match check_applied(&tree.facts(), &plan, None) {
            Ok(held) => {
                prop_assert_eq!(Some(held.regions), serves);
                prop_assert_eq!(held.waste_mib, pages.mib() - sum(&memories));
            }
            Err(shortage) => {
                prop_assert_eq!(serves, None);
                prop_assert!(said.is_err() || is_old || plan.node == 0, "{shortage}");
                match shortage {
                    Shortage::PoolMemory { wanted_mib, pages: found, .. } => {
                        prop_assert_eq!(wanted_mib, plan.request.memory_mib);
                        prop_assert_eq!(found, pages);
                    }
                    Shortage::Division { pages: found, .. } => prop_assert_eq!(found, pages),
                    other => prop_assert!(false, "{other}"),
                }
            }
        }
    }
}
