//! How nitro-cli divides huge pages among enclaves. Pure.
//!
//! An enclave has whole pages to itself. One of 768 MiB that finds too few small pages takes one of
//! 1 GiB instead, and the rest of it is lost to the others (aws-nitro-enclaves-cli, issue 602): 1536
//! MiB may so be too little for two of them. Each page is a memory region of its own, because
//! nitro-cli hands them to the driver one by one, which joins pages within one call only.

use super::pages::{PageSize, Pages};
use std::collections::BTreeSet;

/// More would be a parent with many enclaves on badly fragmented memory; it counts as unfit then.
const MOST_STATES: usize = 20_000;

/// The pages that nitro-cli takes out of `free` for an enclave; `None` when it fails (E27).
///
/// It is `ResourceAllocator::allocate` of nitro-cli's `resource_manager.rs`: the largest pages that
/// are not larger than what is missing, then the smallest that there are, and in the end it gives
/// back, smallest first, what it does not need after all.
#[must_use]
pub fn draw(free: &Pages, memory_mib: u64) -> Option<Pages> {
    let free = free.mapped();
    let mut missing = memory_mib;
    let mut drawn = Pages::default();
    for (size, count) in free.iter().rev() {
        let taken = count.min(missing / size.mib());
        drawn.add(size, taken);
        missing -= taken * size.mib();
    }
    for (size, count) in free.without(&drawn).iter() {
        let taken = count.min(missing.div_ceil(size.mib()));
        drawn.add(size, taken);
        missing = missing.saturating_sub(taken * size.mib());
    }
    (missing == 0).then(|| needed(&drawn, memory_mib))
}

fn needed(drawn: &Pages, memory_mib: u64) -> Pages {
    let mut missing = memory_mib;
    let mut kept = Pages::default();
    for (size, count) in drawn.iter().rev() {
        let taken = count.min(missing.div_ceil(size.mib()));
        kept.add(size, taken);
        missing = missing.saturating_sub(taken * size.mib());
    }
    kept
}

/// How many memory regions the enclave with the most has at most, when all of `memories_mib` find
/// their pages in `pages` whatever the order in which they start and end; `None` when there is an
/// order in which one of them does not.
#[must_use]
pub fn regions_when_divided(pages: &Pages, memories_mib: &[u64]) -> Option<u64> {
    let pages = pages.mapped();
    if pages.mib() < memories_mib.iter().copied().fold(0, u64::saturating_add) {
        return None;
    }
    without_waste(&pages, memories_mib).or_else(|| in_every_order(&pages, memories_mib))
}

/// The answer when small pages are plenty, so that no enclave takes a larger one than it could.
///
/// Each enclave wants pages of the largest size as often as it goes into its memory, of the next
/// size as often as it goes into the rest, and so on, and at last one more of the smallest for what
/// remains; where a size is short, the next has to stand in. Who started when decides whose pages
/// those are, but not how many there are of them, so that it is enough to count.
fn without_waste(pages: &Pages, memories_mib: &[u64]) -> Option<u64> {
    let smallest = pages.iter().next()?.0;
    let mut enclaves: Vec<Wanting> =
        memories_mib.iter().map(|mib| Wanting { rest_mib: *mib, ..Wanting::default() }).collect();
    let mut short_mib = 0;
    for (size, count) in pages.iter().rev() {
        let own = enclaves.iter_mut().map(|enclave| enclave.go_on(size, size == smallest));
        let wanted_mib = own.fold(short_mib, u64::saturating_add);
        short_mib = wanted_mib.saturating_sub(count.saturating_mul(size.mib()));
        for enclave in &mut enclaves {
            enclave.short_mib = enclave.short_mib.min(short_mib);
        }
    }
    (short_mib == 0).then(|| enclaves.iter().map(|enclave| enclave.regions).max().unwrap_or(0))
}

/// What an enclave wants of pages that become smaller and smaller.
#[derive(Clone, Copy, Default)]
struct Wanting {
    /// Memory that no page of a larger size was wanted for, in MiB.
    rest_mib: u64,
    /// The most memory that a larger size was wanted for and may be short of, in MiB.
    short_mib: u64,
    /// The most pages that it may have; memory that may be of one size or the next counts in both.
    regions: u64,
}

impl Wanting {
    /// The memory that it wants of this size, in MiB.
    fn go_on(&mut self, size: PageSize, is_smallest: bool) -> u64 {
        let pages = self.rest_mib / size.mib();
        let pages = if is_smallest { self.rest_mib.div_ceil(size.mib()) } else { pages };
        let own_mib = pages.saturating_mul(size.mib());
        self.regions =
            self.regions.saturating_add(pages).saturating_add(self.short_mib / size.mib());
        self.rest_mib = self.rest_mib.saturating_sub(own_mib);
        self.short_mib = self.short_mib.saturating_add(own_mib);
        own_mib
    }
}

/// The answer by trying: every history of starts and ends that leads to another state.
fn in_every_order(pages: &Pages, memories_mib: &[u64]) -> Option<u64> {
    type State = Vec<Option<Pages>>;
    let start: State = vec![None; memories_mib.len()];
    let mut seen = BTreeSet::from([start.clone()]);
    let mut open = vec![start];
    let mut regions = 0;
    while let Some(state) = open.pop() {
        let taken: Pages = state.iter().flatten().flat_map(Pages::iter).collect();
        let free = pages.without(&taken);
        for (index, (has, memory_mib)) in state.iter().zip(memories_mib).enumerate() {
            let after = match has {
                Some(_) => None,
                None => Some(draw(&free, *memory_mib)?),
            };
            regions = regions.max(after.as_ref().map_or(0, Pages::total));
            let mut next = state.clone();
            if let Some(place) = next.get_mut(index) {
                *place = after;
            }
            if seen.insert(next.clone()) {
                open.push(next);
            }
        }
        if seen.len() > MOST_STATES {
            return None;
        }
    }
    Some(regions)
}

/// Memory rounded up to pages of 2 MiB.
#[must_use]
pub fn whole_small_pages(memory_mib: u64) -> u64 {
    memory_mib.div_ceil(PageSize::SMALL.mib()).saturating_mul(PageSize::SMALL.mib())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// So many pages of 1 GiB, 32 MiB and 2 MiB.
    fn pages(large: u64, middle: u64, small: u64) -> Pages {
        [(PageSize(1_048_576), large), (PageSize(32_768), middle), (PageSize::SMALL, small)]
            .into_iter()
            .collect()
    }

    #[test]
    fn an_enclave_takes_what_nitro_cli_takes() {
        for (free, memory_mib, taken) in [
            (pages(2, 0, 300), 1_024, Some(pages(1, 0, 0))),
            (pages(2, 0, 300), 1_025, Some(pages(1, 0, 1))),
            (pages(1, 0, 300), 600, Some(pages(0, 0, 300))),
            (pages(1, 0, 299), 600, Some(pages(1, 0, 0))),
            (pages(1, 0, 300), 2_048, None),
            (pages(1, 0, 512), 2_048, Some(pages(1, 0, 512))),
            (pages(0, 4, 10), 100, Some(pages(0, 3, 2))),
            (pages(0, 4, 1), 100, Some(pages(0, 4, 0))),
            (pages(0, 0, 0), 64, None),
        ] {
            assert_eq!(draw(&free, memory_mib), taken, "{memory_mib} of {free}");
        }
    }

    #[test]
    fn pages_that_nitro_cli_does_not_map_are_left_alone() {
        let free: Pages = [(PageSize(64), 100_000)].into_iter().collect();
        assert_eq!(draw(&free, 64), None);
    }

    #[test]
    fn a_large_page_cannot_be_shared() {
        for (pages, memories, regions) in [
            (pages(1, 0, 0), vec![512, 512], None),
            (pages(1, 0, 256), vec![512, 512], Some(256)),
            (pages(2, 0, 0), vec![512, 512], Some(1)),
            (pages(1, 0, 256), vec![768, 768], None),
            (pages(1, 0, 384), vec![768, 768], Some(384)),
            (pages(0, 0, 768), vec![768, 768], Some(384)),
            (pages(1, 0, 0), vec![768], Some(1)),
            (pages(1, 0, 100), vec![1_024, 200], Some(100)),
            // When the one of 200 MiB comes first, it takes the large page.
            (pages(1, 0, 99), vec![1_024, 200], None),
        ] {
            assert_eq!(regions_when_divided(&pages, &memories), regions, "{memories:?} of {pages}");
        }
    }

    proptest! {
        /// Whatever starts and ends in whatever order, all pages are there when they were said to
        /// be; and an enclave never has more regions than was said.
        #[test]
        fn what_is_divided_serves_every_history(
            memories in prop::collection::vec(64_u64..3_000, 1..5),
            large in 0_u64..6, middle in 0_u64..80, exact in any::<bool>(), extra in 0_u64..600,
            history in prop::collection::vec(0_usize..4, 1..60),
        ) {
            let wanted: u64 = memories.iter().map(|mib| whole_small_pages(*mib)).sum();
            let small = wanted.saturating_sub(large * 1_024 + middle * 32) / 2;
            let all = pages(large, middle, if exact { small } else { extra });
            let Some(regions) = regions_when_divided(&all, &memories) else { return Ok(()) };
            let mut state: Vec<Option<Pages>> = vec![None; memories.len()];
            for index in history.into_iter().filter(|index| *index < memories.len()) {
                let taken: Pages = state.iter().flatten().flat_map(Pages::iter).collect();
                if state[index].take().is_none() {
                    let drawn = draw(&all.without(&taken), memories[index]);
                    prop_assert!(drawn.is_some(), "{memories:?} of {all} fails");
                    prop_assert!(drawn.as_ref().is_some_and(|drawn| drawn.total() <= regions));
                    state[index] = drawn;
                }
            }
        }

        /// Counting is a short cut: it never says yes where trying says no.
        #[test]
        fn counting_agrees_with_trying(
            memories in prop::collection::vec(32_u64..1_200, 1..4), large in 0_u64..3,
            middle in 0_u64..40, extra in 0_u64..50,
        ) {
            let wanted: u64 = memories.iter().map(|mib| whole_small_pages(*mib)).sum();
            let small = wanted.saturating_sub(large * 1_024 + middle * 32) / 2 + extra;
            let all = pages(large, middle, small);
            if let Some(counted) = without_waste(&all, &memories) {
                let tried = in_every_order(&all, &memories);
                prop_assert!(tried.is_some_and(|tried| tried <= counted), "{memories:?} of {all}");
            }
        }

        #[test]
        fn what_is_drawn_was_free_and_is_enough(
            large in 0_u64..4, middle in 0_u64..50, small in 0_u64..600, memory_mib in 1_u64..6_000,
        ) {
            let free = pages(large, middle, small);
            match draw(&free, memory_mib) {
                Some(drawn) => {
                    prop_assert!(drawn.mib() >= memory_mib);
                    prop_assert!(drawn.iter().all(|(size, count)| count <= free.count(size)));
                }
                None => prop_assert!(free.mib() < memory_mib),
            }
        }
    }
}
