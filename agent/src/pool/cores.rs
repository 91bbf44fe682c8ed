//! Which CPUs are one core, also where the kernel no longer says so. Pure.
//!
//! A CPU of the enclave pool is offline, and an offline CPU has no `topology` in sysfs. The driver
//! still knows its core and takes whole cores only, so a new pool cannot be planned without it.

use super::cpu_list::CpuList;
use std::collections::BTreeMap;

/// How a machine numbers the threads of its cores: in runs of `threads` x `stride` CPUs, the
/// threads of a core lie `stride` apart.
///
/// EC2's x86 types number the first threads of all cores before the second of any, which is one run;
/// a stride of 1 puts the threads of a core next to each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Numbering {
    threads: u32,
    stride: u32,
}

impl Numbering {
    /// The numbering by the core of CPU 0, which is always online, if every core in `visible`
    /// follows it.
    fn of(visible: &BTreeMap<u32, CpuList>) -> Option<Self> {
        let first = visible.get(&0)?;
        let numbering = Self { threads: first.count(), stride: first.iter().nth(1).unwrap_or(1) };
        let follows = visible.iter().all(|(cpu, core)| numbering.core(*cpu).as_ref() == Some(core));
        follows.then_some(numbering)
    }

    fn core(self, cpu: u32) -> Option<CpuList> {
        let run = self.threads.checked_mul(self.stride)?;
        let first = cpu - cpu.checked_rem(run)? + cpu.checked_rem(self.stride)?;
        (0..self.threads)
            .map(|thread| first.checked_add(thread.checked_mul(self.stride)?))
            .collect()
    }
}

/// The cores of `visible`, and those of the CPUs in `hidden`, by each CPU in them.
///
/// A hidden CPU is left out when the visible cores show no rule, or when its core by that rule is
/// not wholly hidden: it is not known then, and the caller must not guess.
#[must_use]
pub fn with_hidden(visible: &BTreeMap<u32, CpuList>, hidden: &CpuList) -> BTreeMap<u32, CpuList> {
    let mut cores = visible.clone();
    let Some(numbering) = Numbering::of(visible) else { return cores };
    for cpu in hidden.iter() {
        if let Some(core) = numbering.core(cpu)
            && core.iter().all(|sibling| hidden.contains(sibling))
        {
            cores.insert(cpu, core);
        }
    }
    cores
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cores(lists: &[&str]) -> BTreeMap<u32, CpuList> {
        let lists = lists.iter().map(|list| list.parse::<CpuList>().unwrap());
        lists
            .flat_map(|core| core.clone().0.into_iter().map(move |cpu| (cpu, core.clone())))
            .collect()
    }

    fn found(visible: &[&str], hidden: &str) -> Vec<String> {
        let visible = cores(visible);
        let all = with_hidden(&visible, &hidden.parse().unwrap());
        let new = all.iter().filter(|(cpu, _)| !visible.contains_key(cpu));
        let mut lists: Vec<String> = new.map(|(_, core)| core.to_string()).collect();
        lists.dedup();
        lists
    }

    #[test]
    fn hidden_cores_follow_the_visible_ones() {
        assert_eq!(found(&["0,2"], "1,3"), ["1,3"]);
        assert_eq!(found(&["0-1", "2-3"], "4-7"), ["4-5", "6-7"]);
        assert_eq!(found(&["0", "3"], "1-2"), ["1", "2"]);
        assert_eq!(found(&["0,4", "1,5", "8,12"], "2,6,11,15"), ["2,6", "11,15"]);
    }

    #[test]
    fn what_the_rule_does_not_explain_stays_unknown() {
        assert!(found(&["0,2"], "1").is_empty(), "half a core was guessed");
        assert!(found(&["0,4", "2-3"], "1,5").is_empty(), "a broken rule was followed");
        assert!(found(&[], "1,3").is_empty());
        assert!(found(&["0,2"], "5,7").len() == 1);
    }

    proptest! {
        /// However a machine numbers its threads, hiding cores other than the first changes nothing.
        #[test]
        fn hiding_loses_nothing(
            threads in 1_u32..3, stride in 1_u32..20, runs in 1_u32..4, hidden in any::<u64>(),
        ) {
            let numbering = Numbering { threads, stride };
            let count = threads * stride * runs;
            let all: BTreeMap<u32, CpuList> =
                (0..count).map(|cpu| (cpu, numbering.core(cpu).unwrap())).collect();
            let first = |core: &CpuList| core.iter().next().unwrap();
            let is_hidden = |core: &CpuList| first(core) != 0 && hidden >> (first(core) % 64) & 1 == 1;
            let visible: BTreeMap<u32, CpuList> =
                all.iter().filter(|(_, c)| !is_hidden(c)).map(|(cpu, c)| (*cpu, c.clone())).collect();
            let hidden: CpuList = all.keys().filter(|cpu| !visible.contains_key(cpu)).copied().collect();
            prop_assert_eq!(with_hidden(&visible, &hidden), all);
        }

        #[test]
        fn no_numbers_make_it_panic(
            cores in prop::collection::btree_map(any::<u32>(), prop::collection::btree_set(any::<u32>(), 0..4), 0..6),
            hidden in prop::collection::btree_set(any::<u32>(), 0..6),
        ) {
            let cores = cores.into_iter().map(|(cpu, core)| (cpu, CpuList(core))).collect();
            let _ = with_hidden(&cores, &CpuList(hidden));
        }
    }
}
