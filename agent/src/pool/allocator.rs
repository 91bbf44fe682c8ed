//! What nitro-enclaves-allocator makes of its file. Pure.
//!
//! The rules are those of its script in aws-nitro-enclaves-cli (`bootstrap/nitro-enclaves-allocator`).
//! With `cpu_pool` it takes exactly those CPUs and reserves the memory on their NUMA node; with
//! `cpu_count` it would choose both itself. It clears what is reserved on that node, and on no other,
//! and then takes the largest pages first.

use super::{
    cpu_list::CpuList,
    division::{regions_when_divided, whole_small_pages},
    pages::{PageSize, Pages},
};
use std::collections::BTreeSet;

/// The text of `allocator.yaml`; what stands before `---` would be skipped.
#[must_use]
pub fn file(cpus: &CpuList, memory_mib: u64) -> String {
    format!("---\nmemory_mib: {memory_mib}\ncpu_pool: {cpus}\n")
}

/// The pages that it reserves for `memory_mib` when memory is not fragmented
/// (`set_required_hugepages`): of each size, largest first, as many as fit into what is missing.
/// Where memory is fragmented, smaller ones stand in for those that it does not get.
#[must_use]
pub fn pages(sizes: &[PageSize], memory_mib: u64) -> Pages {
    let mut sizes = sizes.iter().filter(|size| size.0 > 0).copied().collect::<Vec<_>>();
    sizes.sort_unstable();
    let Some(smallest) = sizes.first() else { return Pages::default() };
    let mut missing = memory_mib.saturating_mul(1_024).div_ceil(smallest.0) * smallest.0;
    let mut pages = Pages::default();
    for size in sizes.iter().rev() {
        pages.add(*size, missing / size.0);
        missing %= size.0;
    }
    pages
}

/// What to ask the allocator for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Request {
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// The pages that come of it.
    pub pages: Pages,
    /// How many memory regions the enclave with the most has at most.
    pub regions: u64,
}

/// The least memory whose pages serve enclaves of `memories_mib` in whatever order they start, also
/// when smaller pages have to stand in for some of the large ones.
///
/// More than their sum where a large page cannot be shared: two enclaves of 512 MiB need 1536 MiB,
/// because 1024 MiB would be one page. `None` when no request of the allocator can do it.
#[must_use]
pub fn request(sizes: &[PageSize], memories_mib: &[u64]) -> Option<Request> {
    let mapped: Vec<PageSize> = sizes.iter().filter(|size| size.is_mapped()).copied().collect();
    // Each enclave has what it asks for, or that rounded up to pages of some size.
    let mut sums = BTreeSet::from([0_u64]);
    for memory_mib in memories_mib {
        let rounded = mapped.iter().map(|size| whole_pages(*memory_mib, *size));
        let rounded: BTreeSet<u64> = rounded.chain([whole_small_pages(*memory_mib)]).collect();
        let added = sums.iter().flat_map(|sum| rounded.iter().map(|mib| sum.saturating_add(*mib)));
        sums = added.collect();
    }
    sums.into_iter().find_map(|memory_mib| {
        let pages = pages(sizes, memory_mib);
        let regions = regions_when_divided(&pages, memories_mib)?;
        let survives = fragmented(&pages, &mapped, memories_mib.len())
            .iter()
            .all(|pages| regions_when_divided(pages, memories_mib).is_some());
        // The allocator rounds up as well, where the kernel has no small pages.
        survives.then(|| Request { memory_mib: pages.mib(), pages, regions })
    })
}

/// The pages that there may be instead when memory is fragmented, with up to `most` of each size
/// replaced by the next smaller one.
///
/// One for each enclave is enough to look at where there are two sizes: enclaves that have a large
/// page for less than its size are the reason why the sizes matter, and without them any
/// pages will do.
fn fragmented(pages: &Pages, mapped: &[PageSize], most: usize) -> BTreeSet<Pages> {
    let most = u64::try_from(most).unwrap_or(u64::MAX);
    let mut all = BTreeSet::from([pages.clone()]);
    let mut sizes = mapped.to_vec();
    sizes.sort_unstable();
    for (small, large) in sizes.iter().zip(sizes.iter().skip(1)).rev() {
        let replaced = all.iter().flat_map(|pages| {
            (0..=most.min(pages.count(*large))).map(|count| {
                let lost: Pages = [(*large, count)].into_iter().collect();
                let mut left = pages.without(&lost);
                left.add(*small, count.saturating_mul(large.0 / small.0));
                left
            })
        });
        all = replaced.collect();
    }
    all
}

fn whole_pages(memory_mib: u64, size: PageSize) -> u64 {
    memory_mib.div_ceil(size.mib()).saturating_mul(size.mib())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const X86: [PageSize; 2] = [PageSize(2_048), PageSize(1_048_576)];
    const GRAVITON: [PageSize; 4] =
        [PageSize(64), PageSize(2_048), PageSize(32_768), PageSize(1_048_576)];

    #[test]
    fn the_largest_pages_are_taken_first() {
        assert_eq!(pages(&X86, 1_026).to_string(), "1 x 1024 MiB + 1 x 2 MiB");
        assert_eq!(pages(&X86, 1_025).to_string(), "1 x 1024 MiB + 1 x 2 MiB");
        assert_eq!(pages(&X86, 1_022).to_string(), "511 x 2 MiB");
        let graviton = "1 x 1024 MiB + 1 x 32 MiB + 1 x 2 MiB + 16 x 64 KiB";
        assert_eq!(pages(&GRAVITON, 1_059).to_string(), graviton);
        assert_eq!(pages(&[], 64), Pages::default());
    }

    #[test]
    fn no_more_is_asked_for_than_the_pages_demand() {
        for (sizes, memories, memory_mib, regions) in [
            (&X86[..], vec![1_024], 1_024, 1),
            (&X86[..], vec![1_025], 1_026, 2),
            (&X86[..], vec![512], 512, 256),
            (&X86[..], vec![512, 512], 1_536, 256),
            (&X86[..], vec![768, 768], 1_792, 384),
            (&X86[..], vec![256, 256, 256, 256], 1_792, 128),
            (&X86[..], vec![1_536, 512], 2_560, 257),
            (&X86[1..], vec![64, 64], 2_048, 1),
            (&GRAVITON[..], vec![512, 512], 1_536, 16),
            (&GRAVITON[..], vec![100, 100], 200, 5),
        ] {
            let found = request(sizes, &memories).unwrap();
            assert_eq!((found.memory_mib, found.regions), (memory_mib, regions), "{memories:?}");
        }
    }

    #[test]
    fn pages_that_no_enclave_can_use_are_of_no_use() {
        assert_eq!(request(&[PageSize(64)], &[64]), None);
        assert_eq!(request(&[], &[64]), None);
    }

    proptest! {
        /// What an unfragmented host reserves always serves, and so it does when some large pages
        /// are not to be had and small ones stand in.
        #[test]
        fn a_request_can_always_be_made_and_survives_fragmentation(
            memories in prop::collection::vec(64_u64..200_000, 1..5), lost in 0_u64..200,
        ) {
            let Request { memory_mib, pages, .. } = request(&X86, &memories).unwrap();
            prop_assert_eq!(pages.mib(), memory_mib);
            let large = pages.count(PageSize(1_048_576)).saturating_sub(lost);
            let small = (memory_mib - large * 1_024) / 2;
            let fragmented: Pages = [(PageSize(1_048_576), large), (PageSize::SMALL, small)].into_iter().collect();
            prop_assert!(regions_when_divided(&fragmented, &memories).is_some(), "{fragmented}");
        }
    }
}
