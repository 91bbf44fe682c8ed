//! What nitro-cli and the enclave driver refuse, and what they give. Pure.
//!
//! nitro-cli itself checks against the pool and the size of the image; the driver checks against
//! what other enclaves have, and its refusals all look alike (E29) but for the root cause, whose
//! texts are those that nitro-cli 1.5.2 has for the driver's error numbers.

use std::collections::BTreeSet;

use crate::arguments::CpuRequest;
use crate::cpu_list::CpuList;
use crate::failure::{Failure, Reason};
use crate::host::{HugePages, PAGE_MIB};

/// How many times the size of its image an enclave's memory must have (`nitro-cli` 1.5.2).
const MEMORY_PER_IMAGE: u64 = 4;

/// The driver starts no enclave with less, in MiB (`NE_MIN_ENCLAVE_MEM_SIZE`).
const MINIMUM_MEMORY_MIB: u32 = 64;

/// The first CID that is given to an enclave whose owner does not care.
const FIRST_CID: u32 = 16;

/// What a parent has for enclaves, and what enclaves already have of it.
#[derive(Clone, Debug)]
pub(crate) struct Parent {
    /// The CPU pool.
    pub(crate) pool: CpuList,
    /// Each CPU of the pool with the whole core that it belongs to.
    pub(crate) cores: Vec<CpuList>,
    /// The CPUs of running enclaves.
    pub(crate) taken: CpuList,
    /// Hugepages that no enclave has.
    pub(crate) free_pages: u32,
    /// The CIDs of running enclaves.
    pub(crate) cids: BTreeSet<u32>,
}

/// What an enclave is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Allocation {
    /// Its CPUs.
    pub(crate) cpu_ids: Vec<u32>,
    /// How many hugepages it has.
    pub(crate) pages: u32,
    /// Its CID.
    pub(crate) cid: u32,
}

impl Allocation {
    /// The memory of its pages, in MiB.
    pub(crate) fn memory_mib(&self) -> u32 {
        self.pages * PAGE_MIB
    }
}

/// nitro-cli's own check of the CPUs: against the whole pool, other enclaves' part included.
pub(crate) fn check_cpus(pool: &CpuList, request: &CpuRequest) -> Result<(), Failure> {
    match request {
        CpuRequest::Count(wanted) => {
            let maximum = pool.len();
            if usize::try_from(*wanted).is_ok_and(|wanted| wanted <= maximum) {
                return Ok(());
            }
            Err(Reason::InsufficientCpus { wanted: *wanted }.because(format!(
                "Insufficient CPUs available (requested {wanted}, but maximum is {maximum})"
            )))
        }
        CpuRequest::Ids(ids) => check_ids(pool, ids),
    }
}

fn check_ids(pool: &CpuList, ids: &[u32]) -> Result<(), Failure> {
    let unique: CpuList = ids.iter().copied().collect();
    let duplicates = ids.len().saturating_sub(unique.len());
    if duplicates > 0 {
        let repeated = unique.iter().filter(|cpu| ids.iter().filter(|id| *id == cpu).count() > 1);
        // The real one joins them without anything between.
        let cpus = repeated.map(|cpu| cpu.to_string()).collect();
        return Err(Reason::DuplicateCpus { cpus }
            .because(format!("CPU IDs list contains {duplicates} duplicate(s)")));
    }
    unique.iter().find(|cpu| !pool.contains(*cpu)).map_or(Ok(()), |cpu| {
        Err(Reason::NoSuchCpu { cpu }
            .because(format!("The CPU with ID {cpu} is not available in the NE CPU pool")))
    })
}

/// nitro-cli's own check of the memory, against the size of the image file.
pub(crate) fn check_memory(wanted_mib: u64, image_bytes: u64) -> Result<(), Failure> {
    let wanted_bytes = wanted_mib.saturating_mul(1 << 20);
    if image_bytes.saturating_mul(MEMORY_PER_IMAGE) <= wanted_bytes {
        return Ok(());
    }
    let minimum_mib = image_bytes.div_ceil(1 << 20).saturating_mul(MEMORY_PER_IMAGE);
    Err(Reason::InsufficientMemoryRequested { wanted_mib, minimum_mib }.because(format!(
        "At least {minimum_mib} MB must be allocated (which is {MEMORY_PER_IMAGE} times the EIF file size)"
    )))
}

impl Parent {
    /// What the driver says to a new enclave before anything is given to it.
    pub(crate) fn check_vacancy(&self) -> Result<(), Failure> {
        if self.pool.without(&self.taken).is_empty() {
            return Err(driver(NO_CPUS));
        }
        Ok(())
    }

    /// Memory, then CPUs, then the conditions of the start: the order in which the driver is asked.
    pub(crate) fn allocate(
        &self,
        cpus: &CpuRequest,
        memory_mib: u64,
        cid: Option<u32>,
    ) -> Result<Allocation, Failure> {
        let pages = self.take_pages(memory_mib)?;
        let cpu_ids = match cpus {
            CpuRequest::Count(count) => self.take_count(*count)?,
            CpuRequest::Ids(ids) => self.take_ids(ids)?,
        };
        self.check_start(&cpu_ids, pages)?;
        Ok(Allocation { cpu_ids, pages, cid: self.take_cid(cid)? })
    }

    fn take_pages(&self, memory_mib: u64) -> Result<u32, Failure> {
        let missing = |mib: u64| {
            Reason::InsufficientMemoryAvailable { wanted_mib: memory_mib }
                .because(format!("Failed to allocate entire memory ({mib} MB remained)"))
        };
        let free_mib = u64::from(self.free_pages) * u64::from(PAGE_MIB);
        let wanted = u32::try_from(memory_mib).map_err(|_| missing(memory_mib - free_mib))?;
        let pages = HugePages::needed_for(wanted);
        if pages > self.free_pages {
            return Err(missing(memory_mib - free_mib));
        }
        Ok(pages)
    }

    /// The driver gives out whole cores and so leaves half of one where the count is odd.
    fn take_count(&self, count: u32) -> Result<Vec<u32>, Failure> {
        let free = self.pool.without(&self.taken);
        let mut given: Vec<u32> = Vec::new();
        for cpu in free.iter().flat_map(|cpu| self.core(cpu).into_iter().flat_map(CpuList::iter)) {
            if given.len() < usize::try_from(count).unwrap_or(usize::MAX) && !given.contains(&cpu) {
                given.push(cpu);
            }
        }
        if given.len() < usize::try_from(count).unwrap_or(usize::MAX) {
            return Err(driver(NO_CPUS));
        }
        Ok(given)
    }

    fn take_ids(&self, ids: &[u32]) -> Result<Vec<u32>, Failure> {
        if ids.iter().any(|cpu| self.taken.contains(*cpu)) {
            return Err(driver("The provided vCPU is not available in the CPU pool"));
        }
        Ok(ids.to_vec())
    }

    fn check_start(&self, cpu_ids: &[u32], pages: u32) -> Result<(), Failure> {
        if pages * PAGE_MIB < MINIMUM_MEMORY_MIB {
            return Err(driver("The enclave's memory size is lower than the minimum supported"));
        }
        if cpu_ids.is_empty() {
            return Err(driver("The enclave cannot start because no vCPUs have been added"));
        }
        let mut cores = cpu_ids.iter().filter_map(|cpu| self.core(*cpu));
        if !cores.all(|core| core.iter().all(|cpu| cpu_ids.contains(&cpu))) {
            return Err(driver(
                "The enclave cannot start because full CPU cores have not been set",
            ));
        }
        Ok(())
    }

    fn take_cid(&self, wanted: Option<u32>) -> Result<u32, Failure> {
        match wanted {
            // The hypervisor refuses it, and the driver passes its EINVAL on.
            Some(cid) if self.cids.contains(&cid) => {
                Err(driver("An error has occurred: 22 (rc: -1)"))
            }
            Some(cid) => Ok(cid),
            None => (FIRST_CID..u32::MAX)
                .find(|cid| !self.cids.contains(cid))
                .ok_or_else(|| driver("An error has occurred: 22 (rc: -1)")),
        }
    }

    fn core(&self, cpu: u32) -> Option<&CpuList> {
        self.cores.iter().find(|core| core.contains(cpu))
    }
}

const NO_CPUS: &str = "The enclave cannot be created because no CPUs are available in the pool";

fn driver(cause: &str) -> Failure {
    Reason::Ioctl.because(cause)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// 8 CPUs, siblings 4 apart, core 0 left to the parent.
    fn parent() -> Parent {
        Parent {
            pool: "1-3,5-7".parse().unwrap(),
            cores: ["1,5", "2,6", "3,7"].map(|core| core.parse().unwrap()).to_vec(),
            taken: CpuList::default(),
            free_pages: 512,
            cids: BTreeSet::new(),
        }
    }

    fn texts(failure: Failure) -> (u8, String) {
        (failure.reason.number(), failure.cause)
    }

    #[test]
    fn whole_cores_and_whole_pages_are_given() {
        let given = parent().allocate(&CpuRequest::Count(4), 101, None).unwrap();
        assert_eq!(given, Allocation { cpu_ids: vec![1, 5, 2, 6], pages: 51, cid: 16 });
        assert_eq!(given.memory_mib(), 102);
    }

    #[test]
    fn an_odd_count_leaves_half_a_core_and_does_not_start() {
        let refused = parent().allocate(&CpuRequest::Count(3), 64, None).unwrap_err();
        let text = "The enclave cannot start because full CPU cores have not been set";
        assert_eq!(texts(refused), (29, text.to_owned()));
        let refused = parent().allocate(&CpuRequest::Ids(vec![1, 2]), 64, None).unwrap_err();
        assert_eq!(texts(refused), (29, text.to_owned()));
    }

    #[test]
    fn one_thread_is_a_whole_core_where_cores_have_one() {
        let cores = ["1", "2", "3"].map(|core| core.parse().unwrap()).to_vec();
        let parent = Parent { pool: "1-3".parse().unwrap(), cores, ..parent() };
        let given = parent.allocate(&CpuRequest::Count(3), 64, None).unwrap();
        assert_eq!(given.cpu_ids, [1, 2, 3]);
    }

    #[test]
    fn what_other_enclaves_have_is_not_given_again() {
        let parent = Parent { taken: "1,5".parse().unwrap(), cids: [16].into(), ..parent() };
        let given = parent.allocate(&CpuRequest::Count(2), 64, None).unwrap();
        assert_eq!((given.cpu_ids, given.cid), (vec![2, 6], 17));
        let refused = parent.allocate(&CpuRequest::Count(6), 64, None).unwrap_err();
        assert_eq!(texts(refused), (29, NO_CPUS.to_owned()));
        assert_eq!(
            parent.allocate(&CpuRequest::Ids(vec![1, 5]), 64, None).unwrap_err().reason,
            Reason::Ioctl
        );
        assert_eq!(
            parent.allocate(&CpuRequest::Count(2), 64, Some(16)).unwrap_err().reason,
            Reason::Ioctl
        );
        let full = Parent { taken: parent.pool.clone(), ..parent };
        assert_eq!(texts(full.check_vacancy().unwrap_err()), (29, NO_CPUS.to_owned()));
    }

    #[test]
    fn too_few_pages_are_an_error_with_the_request_in_it() {
        let refused = parent().allocate(&CpuRequest::Count(2), 1_025, None).unwrap_err();
        assert_eq!(refused.reason, Reason::InsufficientMemoryAvailable { wanted_mib: 1_025 });
        assert_eq!(refused.cause, "Failed to allocate entire memory (1 MB remained)");
        let refused = parent().allocate(&CpuRequest::Count(2), u64::MAX, None).unwrap_err();
        assert_eq!(refused.reason.number(), 27);
    }

    #[test]
    fn an_enclave_has_at_least_64_mib_and_a_cpu() {
        for (count, memory_mib) in [(2, 62), (0, 64)] {
            let refused = parent().allocate(&CpuRequest::Count(count), memory_mib, None);
            assert_eq!(refused.unwrap_err().reason, Reason::Ioctl);
        }
    }

    #[test]
    fn the_pool_is_checked_as_a_whole() {
        let pool = parent().pool;
        assert_eq!(check_cpus(&pool, &CpuRequest::Count(6)), Ok(()));
        let refused = check_cpus(&pool, &CpuRequest::Count(7)).unwrap_err();
        assert_eq!(refused.reason, Reason::InsufficientCpus { wanted: 7 });
        let refused = check_cpus(&pool, &CpuRequest::Ids(vec![1, 4])).unwrap_err();
        assert_eq!(refused.reason, Reason::NoSuchCpu { cpu: 4 });
        let refused = check_cpus(&pool, &CpuRequest::Ids(vec![2, 2])).unwrap_err();
        assert_eq!(
            refused.reason.to_string(),
            "Invalid CPU configuration. User provided `cpu-ids` contains same CPU(s) (CPU(s) 2) \
             multiple times."
        );
    }

    #[test]
    fn memory_below_4_times_the_image_is_refused_with_the_minimum() {
        let image_bytes = 12 * (1 << 20);
        assert_eq!(check_memory(48, image_bytes), Ok(()));
        let refused = check_memory(1, image_bytes).unwrap_err();
        assert_eq!(
            refused.reason.to_string(),
            "Insufficient memory requested. User provided `memory` is 1 MB, but based on the EIF \
             file size, the minimum memory should be 48 MB"
        );
        assert!(check_memory(48, image_bytes + 1).is_err());
    }

    proptest! {
        /// Whatever is given comes from the pool, is not taken, and consists of whole cores.
        #[test]
        fn what_is_given_was_free(count in 0_u32..8, memory in 0_u64..2_000, taken in 0_usize..3) {
            let mut parent = parent();
            parent.taken = parent.cores.iter().take(taken).flat_map(CpuList::iter).collect();
            let Ok(given) = parent.allocate(&CpuRequest::Count(count), memory, None) else {
                return Ok(());
            };
            let free = parent.pool.without(&parent.taken);
            prop_assert!(given.cpu_ids.iter().all(|cpu| free.contains(*cpu)));
            prop_assert_eq!(u32::try_from(given.cpu_ids.len()).unwrap(), count);
            prop_assert_eq!(count % 2, 0);
            prop_assert!(u64::from(given.memory_mib()) >= memory && given.pages <= 512);
        }
    }
}
