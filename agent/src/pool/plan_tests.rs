use super::*;
use crate::pool::{
    pages::PageSize,
    simulation::{Allocator, TYPES, Tree},
};

const LARGE: PageSize = PageSize(1_048_576);

/// `2x512 4x1024`: two vCPUs with 512 MiB, and four with 1024 MiB.
fn sizes(text: &str) -> Vec<Size> {
    let size = |word: &str| {
        let (cpu_count, memory_mib) = word.split_once('x').unwrap();
        Size { cpu_count: cpu_count.parse().unwrap(), memory_mib: memory_mib.parse().unwrap() }
    };
    text.split_whitespace().map(size).collect()
}

/// A plan in words, or why there is none.
fn planned(tree: &Tree, enclaves: &str) -> String {
    match plan(&tree.facts(), &sizes(enclaves), None) {
        Ok(PoolPlan { node, cpus, request, .. }) => {
            format!("node {node}: CPUs {cpus}; {} MiB: {}", request.memory_mib, request.pages)
        }
        Err(shortage) => shortage.to_string(),
    }
}

/// A parent whose allocator has carried out the plan for `enclaves`.
fn with_pool(instance_type: &'static str, enclaves: &str) -> Tree {
    let booted = Tree::of(instance_type);
    let plan = plan(&booted.facts(), &sizes(enclaves), None).unwrap();
    applied(&Allocator::default(), &booted, &plan).0
}

fn applied(
    allocator: &Allocator,
    booted: &Tree,
    plan: &PoolPlan,
) -> (Tree, Result<(), &'static str>) {
    let mut tree = booted.clone();
    let result = allocator.run(&mut tree, booted, &plan.allocator_file());
    (tree, result)
}

#[test]
fn plans_and_refusals() {
    let table = include_str!("../../tests/pool_plans.txt");
    let lines = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut cases = 0;
    for line in lines {
        let columns: Vec<&str> = line.split('|').map(str::trim).collect();
        let [instance_type, enclaves, expected] = columns[..] else { panic!("{line}") };
        let instance_type = TYPES.into_iter().find(|name| *name == instance_type).unwrap();
        assert_eq!(planned(&Tree::of(instance_type), enclaves), expected, "{line}");
        cases += 1;
    }
    assert!(cases >= 40, "{cases} cases");
}

#[test]
fn a_pool_of_an_earlier_plan_is_planned_anew() {
    let cases = [
        // The cores of CPUs that are offline follow from the others'.
        ("m5.xlarge", "2x512", "2x4096", "node 0: CPUs 1,3; 4096 MiB: 4 x 1024 MiB"),
        ("m6i.4xlarge", "14x40960", "2x512", "node 0: CPUs 1,9; 512 MiB: 256 x 2 MiB"),
        ("m6i.4xlarge", "2x512", "14x512", "node 0: CPUs 1-7,9-15; 512 MiB: 256 x 2 MiB"),
        ("m6g.xlarge", "3x512", "2x512", "node 0: CPUs 1-2; 512 MiB: 16 x 32 MiB"),
        // What is reserved is there for the next plan.
        (
            "m5.xlarge",
            "2x14000",
            "2x14806",
            "node 0: CPUs 1,3; 14806 MiB: 14 x 1024 MiB + 235 x 2 MiB",
        ),
        (
            "r5.24xlarge",
            "2x300000",
            "48x380000",
            "node 1: CPUs 24-47,72-95; 380000 MiB: 371 x 1024 MiB + 48 x 2 MiB",
        ),
        (
            "c6i.32xlarge",
            "64x65536",
            "66x64",
            "needs 66 vCPUs on one NUMA node; node 0 has 62 free beside the parent's core 0, node 1 has 64 free",
        ),
    ];
    for (instance_type, before, enclaves, expected) in cases {
        let found = planned(&with_pool(instance_type, before), enclaves);
        assert_eq!(found, expected, "{enclaves:?} after {before:?} on {instance_type}");
    }
}

#[test]
fn pages_that_the_allocator_would_leave_behind_bind_the_pool_to_their_node() {
    let mut tree = Tree::of("r5.24xlarge");
    tree.reserve(0, LARGE, 2);
    assert_eq!(planned(&tree, "2x1024"), "node 0: CPUs 1,49; 1024 MiB: 1 x 1024 MiB");
    let stray = "2048 MiB in huge pages are free on node 0, which the allocator does not give back \
        when the pool is on another node; free them or reboot";
    assert_eq!(planned(&tree, "48x1024"), stray);
    tree.reserve(1, LARGE, 1);
    assert_eq!(
        planned(&tree, "2x1024"),
        stray,
        "with pages on both nodes neither can have the pool"
    );
}

#[test]
fn pages_that_somebody_else_uses_are_left_to_them() {
    let mut tree = Tree::of("r5.24xlarge");
    tree.reserve(0, LARGE, 2);
    tree.write("sys/devices/system/node/node0/hugepages/hugepages-1048576kB/free_hugepages", "0");
    assert_eq!(planned(&tree, "2x1024"), "node 1: CPUs 24,72; 1024 MiB: 1 x 1024 MiB");
}

#[test]
fn a_core_that_somebody_took_offline_is_not_planned_with() {
    let mut tree = Tree::of("m6i.4xlarge");
    tree.take_offline(&"1,9".parse().unwrap());
    tree.write("sys/module/nitro_enclaves/parameters/ne_cpus", "");
    assert_eq!(planned(&tree, "2x64"), "node 0: CPUs 2,10; 64 MiB: 32 x 2 MiB");
    // Half a core is none.
    tree.take_offline(&"2".parse().unwrap());
    tree.write("sys/module/nitro_enclaves/parameters/ne_cpus", "");
    tree.write("sys/devices/system/cpu/cpu10/topology/thread_siblings_list", "10");
    assert_eq!(planned(&tree, "2x64"), "node 0: CPUs 3,11; 64 MiB: 32 x 2 MiB");
}

#[test]
fn cores_of_the_pool_that_are_not_known_are_not_guessed() {
    let mut tree = with_pool("m6i.4xlarge", "12x512");
    // Two threads of one core where none should be.
    tree.write("sys/devices/system/cpu/cpu7/topology/thread_siblings_list", "7-8");
    let expected = "needs 4 vCPUs, and of the CPUs 1-6,9-14 in the enclave pool it is not known \
        which are one core while they are offline; empty the pool or reboot";
    assert_eq!(planned(&tree, "4x512"), expected);
    assert!(holds(&tree.facts(), &sizes("12x512"), None).is_ok(), "the pool serves as it is");
}

#[test]
fn a_machine_without_usable_pages_is_named() {
    let mut facts = Tree::of("m6g.xlarge").facts();
    facts.nodes.get_mut(&0).unwrap().page_sizes = vec![PageSize(64)];
    assert_eq!(plan(&facts, &sizes("1x64"), None), Err(Shortage::NoPages { node: 0 }));
}

#[test]
fn a_known_limit_of_memory_regions_is_kept() {
    let facts = Tree::of("m5.xlarge").facts();
    let regions = |enclaves, most| plan(&facts, &sizes(enclaves), Some(most)).map(drop);
    assert_eq!(regions("2x1000", 500), Ok(()));
    assert_eq!(regions("2x1002", 500), Err(Shortage::Regions { regions: 501, most: 500 }));
    assert_eq!(regions("2x4096", 4), Ok(()));
    let facts = with_pool("m5.xlarge", "2x1000").facts();
    let wanted = sizes("2x1000");
    let expected = Shortage::Regions { regions: 500, most: 499 };
    assert_eq!(holds(&facts, &wanted, Some(499)), Err(expected.clone()));
    assert_eq!(fits(&facts, &[], wanted[0], Some(499)), Err(expected));
    assert_eq!(fits(&facts, &[], wanted[0], Some(500)), Ok(()));
}

#[test]
fn the_allocator_is_told_the_very_cpus() {
    let plan = plan(&Tree::of("c6i.32xlarge").facts(), &sizes("64x1025"), None).unwrap();
    assert_eq!(plan.allocator_file(), "---\nmemory_mib: 1026\ncpu_pool: 32-63,96-127\n");
}

#[test]
fn while_enclaves_run_the_pool_is_what_it_is() {
    let mut tree = with_pool("m6i.4xlarge", "4x1536 4x512");
    let fit = |tree: &Tree, used: &[u32], enclave: &str| match fits(
        &tree.facts(),
        used,
        sizes(enclave)[0],
        None,
    ) {
        Ok(()) => "fits".to_owned(),
        Err(shortage) => shortage.to_string(),
    };
    assert_eq!(fit(&tree, &[4], "4x512"), "fits");
    assert_eq!(fit(&tree, &[4], "6x512"), "needs 6 vCPUs, 4 of the 8 in the enclave pool are free");
    assert_eq!(
        fit(&tree, &[4, 4], "2x512"),
        "needs 2 vCPUs, 0 of the 8 in the enclave pool are free"
    );
    assert_eq!(fit(&tree, &[], "3x512"), "cpu_count 3 is not a whole number of cores of 2 vCPUs");
    assert_eq!(
        fit(&tree, &[2, 2, 2, 1], "2x512"),
        "a parent runs 1 to 4 enclaves at a time, not 5"
    );
    // The enclave of 1536 MiB has a large page and 256 small ones; the other large page is free.
    let pages = "sys/devices/system/node/node0/hugepages/hugepages";
    tree.write(&format!("{pages}-1048576kB/free_hugepages"), "1");
    tree.write(&format!("{pages}-2048kB/free_hugepages"), "0");
    assert_eq!(fit(&tree, &[4], "4x513"), "fits");
    assert_eq!(
        fit(&tree, &[4], "4x1025"),
        "needs 1026 MiB, node 0 has 1024 MiB free in huge pages for enclaves (1 x 1024 MiB); \
         2 MiB are missing"
    );
}

#[test]
fn a_pool_that_serves_stays() {
    let facts = with_pool("m6i.4xlarge", "4x1536 4x512").facts();
    let held = holds(&facts, &sizes("2x512 2x512"), None).unwrap();
    assert_eq!((held.waste_mib, held.regions), (1_536, 256));
    let short = holds(&facts, &sizes("2x1024 2x1024 2x1024"), None).unwrap_err();
    let expected = "needs 3072 MiB, node 0 has 2560 MiB free in huge pages for enclaves \
        (2 x 1024 MiB + 256 x 2 MiB); 512 MiB are missing";
    assert_eq!(short.to_string(), expected);
    let divided = holds(&facts, &sizes("2x600 2x600 2x600"), None).unwrap_err();
    let expected = "2560 MiB in 2 x 1024 MiB + 256 x 2 MiB on node 0 cannot be divided among \
        enclaves of 600 and 600 and 600 MiB in every order of starts";
    assert_eq!(divided.to_string(), expected);
    let none = holds(&Tree::of("m5.xlarge").facts(), &sizes("2x64"), None).unwrap_err();
    assert_eq!(none.to_string(), "needs 2 vCPUs, 0 of the 0 in the enclave pool are free");
}

/// The sentence of the read-back, or the waste.
fn read_back(tree: &Tree, plan: &PoolPlan) -> String {
    match check_applied(&tree.facts(), plan, None) {
        Ok(Held { pages, waste_mib, .. }) => format!("{pages}; {waste_mib} MiB are wasted"),
        Err(shortage) => shortage.to_string(),
    }
}

/// The type, the enclaves, how many pages of a size there are at most, whether the allocator is old,
/// and what is read back.
type Case = (&'static str, &'static str, &'static [(u64, u64)], bool, &'static str);

#[test]
fn an_allocator_that_reserved_less_is_found_out() {
    let cases: [Case; 8] = [
        ("m5.xlarge", "2x4096", &[], false, "4 x 1024 MiB; 0 MiB are wasted"),
        // Small pages stand in for large ones.
        (
            "m5.xlarge",
            "2x4096",
            &[(1_048_576, 1)],
            false,
            "1 x 1024 MiB + 1536 x 2 MiB; 0 MiB are wasted",
        ),
        ("m6i.4xlarge", "2x512 2x512", &[(1_048_576, 0)], false, "768 x 2 MiB; 512 MiB are wasted"),
        // It fails and gives all back.
        (
            "m5.xlarge",
            "2x4096",
            &[(1_048_576, 1), (2_048, 1_500)],
            false,
            "needs 4096 MiB, node 0 has 0 MiB free in huge pages for enclaves (no huge pages); \
             4096 MiB are missing",
        ),
        // It says that it succeeded.
        (
            "m5.xlarge",
            "2x4096",
            &[(1_048_576, 1), (2_048, 1_500)],
            true,
            "needs 4096 MiB, node 0 has 4024 MiB free in huge pages for enclaves \
             (1 x 1024 MiB + 1500 x 2 MiB); 72 MiB are missing",
        ),
        // It got enough for the sum, and cannot serve both.
        (
            "m6i.4xlarge",
            "2x512 2x512",
            &[(2_048, 200)],
            true,
            "1424 MiB in 1 x 1024 MiB + 200 x 2 MiB on node 0 cannot be divided among enclaves of \
             512 and 512 MiB in every order of starts",
        ),
        // It fills up with pages that no enclave can use, and succeeds.
        (
            "m6g.xlarge",
            "1x1000",
            &[(32_768, 30), (2_048, 10)],
            false,
            "needs 1000 MiB, node 0 has 980 MiB free in huge pages for enclaves \
             (30 x 32 MiB + 10 x 2 MiB); 20 MiB are missing",
        ),
        (
            "m6g.xlarge",
            "1x1000",
            &[(32_768, 20)],
            false,
            "20 x 32 MiB + 180 x 2 MiB; 0 MiB are wasted",
        ),
    ];
    for (instance_type, enclaves, at_most, is_old, expected) in cases {
        let booted = Tree::of(instance_type);
        let plan = plan(&booted.facts(), &sizes(enclaves), None).unwrap();
        let at_most = at_most.iter().map(|(kib, count)| (PageSize(*kib), *count)).collect();
        let (tree, _) = applied(&Allocator { at_most, is_old }, &booted, &plan);
        assert_eq!(read_back(&tree, &plan), expected, "{enclaves:?} on {instance_type}");
    }
}

#[test]
fn other_cpus_than_the_planned_ones_are_found_out() {
    let plan = plan(&Tree::of("m6i.4xlarge").facts(), &sizes("4x512"), None).unwrap();
    let tree = with_pool("m6i.4xlarge", "2x512");
    let expected = "the enclave pool holds the CPUs `1,9` instead of `1-2,9-10`";
    assert_eq!(read_back(&tree, &plan), expected);
    let tree = Tree::of("m6i.4xlarge");
    let expected = "the enclave pool holds the CPUs `` instead of `1-2,9-10`";
    assert_eq!(read_back(&tree, &plan), expected);
}
