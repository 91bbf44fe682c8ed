//! The enclave pool: the CPUs and the memory that the parent set aside for enclaves.
//!
//! # Expected flow
//! Facts are read, a plan is made, the allocator's file is written, the allocator is run, and the
//! facts are read *again*: the allocator has reported success when it had failed, so only what the
//! kernel says afterwards counts.
//!
//! # Guarantees
//! - While an enclave runs the pool is not changed; what does not fit is refused with the numbers.
//! - A pool that serves as it is stays as it is.

pub mod allocator;
pub mod applier;
pub mod cores;
pub mod cpu_list;
pub mod division;
pub mod facts;
pub mod pages;
pub mod plan;
mod rest;
pub mod shortage;
#[cfg(test)]
mod simulation;

use crate::{
    command::CommandError,
    helper::HelperError,
    name::EnclaveName,
    ports::{Cause, EnclaveInfo, RoomOrder, Size},
};
use applier::Applier;
use bailey_model::failure::FailureCode;
use facts::{FactsError, HostFacts};
use plan::{Held, PoolPlan};
use shortage::Shortage;
use std::{
    io,
    path::{Path, PathBuf},
};

/// The pool of this parent.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Where sysfs and procfs lie: `/` on a real parent.
    pub facts_root: PathBuf,
    /// Who gives the allocator its file.
    pub applier: Applier,
    /// The most memory regions that the hypervisor takes for an enclave, where that is known.
    pub most_regions: Option<u64>,
}

impl Pool {
    /// Sees to it that the pool can hold the enclave of `order` beside those that run.
    pub async fn make_room(
        &self,
        running: &[EnclaveInfo],
        order: &RoomOrder,
    ) -> Result<(), RoomError> {
        let facts = self.facts()?;
        let own = order.wanted.iter().find(|(name, _)| *name == order.name);
        let Some((_, size)) = own else { return Ok(()) };
        if !running.is_empty() {
            let used_cpus: Vec<u32> = running.iter().map(|enclave| enclave.cpu_count).collect();
            return plan::fits(&facts, &used_cpus, *size, self.most_regions)
                .map_err(|shortage| RoomError::Occupied { running: running.len(), shortage });
        }
        let enclaves = self.admitted(&facts, &order.wanted, &order.name)?;
        let later = order.pool.map_or_else(Vec::new, |pool| rest::later(pool, &enclaves));
        let with = |rest: Size| -> Vec<Size> { enclaves.iter().copied().chain([rest]).collect() };
        let most_regions = self.most_regions;
        if later.first().is_some_and(|most| plan::holds(&facts, &with(*most), most_regions).is_ok())
        {
            return Ok(());
        }
        if let Some(plan) =
            later.iter().find_map(|rest| plan::plan(&facts, &with(*rest), most_regions).ok())
        {
            return self.apply(&plan).await;
        }
        if plan::holds(&facts, &enclaves, most_regions).is_ok() {
            return Ok(());
        }
        let plan = plan::plan(&facts, &enclaves, most_regions).map_err(RoomError::Host)?;
        self.apply(&plan).await
    }

    /// The sizes that fit together, taken in the coordinator's order; `own` must be among them.
    fn admitted(
        &self,
        facts: &HostFacts,
        wanted: &[(EnclaveName, Size)],
        own: &EnclaveName,
    ) -> Result<Vec<Size>, RoomError> {
        let mut sizes = Vec::new();
        for (name, size) in wanted {
            sizes.push(*size);
            if plan::holds(facts, &sizes, self.most_regions).is_ok() {
                continue;
            }
            if let Err(shortage) = plan::plan(facts, &sizes, self.most_regions) {
                if name == own {
                    return Err(RoomError::Host(shortage));
                }
                sizes.pop();
            }
        }
        Ok(sizes)
    }

    async fn apply(&self, plan: &PoolPlan) -> Result<(), RoomError> {
        log::info!(
            numa_node = plan.node, cpus = plan.cpus.to_string().as_str(),
            memory_mib = plan.request.memory_mib, pages = plan.request.pages.to_string().as_str();
            "setting up the enclave pool"
        );
        let (success, said) = self.applier.apply(&plan.allocator_file()).await?;
        // The shortage is the better explanation, so it is looked for first.
        let held = plan::check_applied(&self.facts()?, plan, self.most_regions)
            .map_err(|shortage| RoomError::Applied { shortage, said: said.clone() })?;
        if !success {
            return Err(RoomError::Allocator { said });
        }
        note(plan, &held);
        Ok(())
    }

    fn facts(&self) -> Result<HostFacts, RoomError> {
        HostFacts::read(Path::new(&self.facts_root)).map_err(RoomError::Facts)
    }
}

fn note(plan: &PoolPlan, held: &Held) {
    let pages = held.pages.to_string();
    log::info!(pages = pages.as_str(), waste_mib = held.waste_mib; "the enclave pool is set up");
    if held.regions > plan.request.regions {
        // The hypervisor's limit is known to the driver only, which names it in the kernel's log
        // when it is reached.
        log::warn!(
            regions = held.regions, planned_regions = plan.request.regions, pages = pages.as_str();
            "memory is fragmented, so that an enclave has more memory regions than it should; \
             a reboot helps if it does not start"
        );
    }
}

/// Why the pool cannot hold an enclave.
#[derive(Debug, thiserror::Error)]
pub enum RoomError {
    /// The allocator failed although the kernel shows the pool that was asked for.
    #[error("the allocator failed: {said}")]
    Allocator {
        /// The end of what it said.
        said: String,
    },
    /// The kernel does not show what the allocator was asked for, whatever that said.
    #[error("the allocator did not set up what was planned ({said})")]
    Applied {
        /// What is missing.
        #[source]
        shortage: Shortage,
        /// The end of what it said.
        said: String,
    },
    /// The allocator could not be run.
    #[error("cannot run the allocator")]
    Command(#[source] CommandError),
    /// The parent could not be examined.
    #[error("cannot examine the parent")]
    Facts(#[source] FactsError),
    /// The helper did not do it.
    #[error(transparent)]
    Helper(HelperError),
    /// This host cannot hold it.
    #[error("the host cannot hold the enclave")]
    Host(#[source] Shortage),
    /// The pool is too small beside what runs, and cannot change before that has ended.
    #[error("the pool cannot change while an enclave runs ({running} do)")]
    Occupied {
        /// How many enclaves run.
        running: usize,
        /// What is missing.
        #[source]
        shortage: Shortage,
    },
    /// The allocator's file could not be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl Cause for RoomError {
    fn code(&self) -> FailureCode {
        match self {
            Self::Allocator { .. }
            | Self::Applied { shortage: Shortage::OtherCpus { .. }, .. }
            | Self::Command(_)
            | Self::Facts(_)
            | Self::Write { .. } => FailureCode::EnclaveStartFailed,
            Self::Helper(source) => source.code(),
            Self::Applied { shortage, .. }
            | Self::Host(shortage)
            | Self::Occupied { shortage, .. } => {
                if shortage.is_of_the_request() {
                    FailureCode::InvalidConfiguration
                } else {
                    FailureCode::InsufficientHostResources
                }
            }
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Allocator { .. }
            | Self::Applied { shortage: Shortage::OtherCpus { .. }, .. }
            | Self::Command(_)
            | Self::Facts(_)
            | Self::Write { .. } => {
                Some("check nitro-enclaves-allocator and the nitro_enclaves driver on the parent")
            }
            Self::Helper(source) => source.hint(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pool::simulation::{Allocator, Tree};
    use bailey_model::Generation;
    use tempfile::TempDir;

    /// A parent whose allocator turns it into one of which `outcome` tells, and says no more.
    fn parent(booted: &Tree, outcome: &Tree) -> (TempDir, Pool) {
        let dir = tempfile::tempdir().unwrap();
        booted.write_below(&dir.path().join("root"));
        outcome.write_below(&dir.path().join("outcome"));
        let path = |name: &str| dir.path().join(name).display().to_string();
        let words = ["cp", "-r", &path("outcome/."), &path("root")];
        let pool = Pool {
            facts_root: dir.path().join("root"),
            applier: Applier::Direct {
                file: dir.path().join("allocator.yaml"),
                command: words.map(str::to_owned).into(),
            },
            most_regions: None,
        };
        (dir, pool)
    }

    fn name(id: &str) -> EnclaveName {
        EnclaveName::of(&id.parse().unwrap(), Generation(1))
    }

    fn order(wanted: &[(&str, u32, u32)]) -> RoomOrder {
        let size = |cpu_count, memory_mib| Size { cpu_count, memory_mib };
        RoomOrder {
            name: name(wanted[0].0),
            wanted: wanted.iter().map(|(id, cpus, mib)| (name(id), size(*cpus, *mib))).collect(),
            pool: None,
        }
    }

    fn after(booted: &Tree, file: &str) -> Tree {
        let mut tree = booted.clone();
        Allocator::default().run(&mut tree, booted, file).unwrap();
        tree
    }

    #[tokio::test]
    async fn the_pool_is_planned_once_for_all_that_fits_in_the_coordinators_order() {
        let booted = Tree::of("m6i.4xlarge");
        let file = "---\nmemory_mib: 1536\ncpu_pool: 1-6,9-14\n";
        let (dir, pool) = parent(&booted, &after(&booted, file));
        let order = order(&[("a", 10, 512), ("b", 8, 512), ("c", 2, 512)]);
        pool.make_room(&[], &order).await.unwrap();
        let path = dir.path().join("allocator.yaml");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), file);
        // It serves, so the allocator is not run again.
        let applier = Applier::Direct { file: path, command: vec!["false".to_owned()] };
        let pool = Pool { applier, ..pool };
        pool.make_room(&[], &order).await.unwrap();
    }

    #[tokio::test]
    async fn a_shared_hosts_pool_is_planned_for_those_who_come_later() {
        let booted = Tree::of("m6i.4xlarge");
        let file = "---\nmemory_mib: 13312\ncpu_pool: 1-7,9-15\n";
        let (dir, pool) = parent(&booted, &after(&booted, file));
        let shared = Some(Size { cpu_count: 14, memory_mib: 13 * 1_024 });
        let first = RoomOrder { pool: shared, ..order(&[("a", 2, 1_024)]) };
        pool.make_room(&[], &first).await.unwrap();
        let path = dir.path().join("allocator.yaml");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), file);
        // Nothing runs yet, another one is wanted as well: the same pool serves.
        let applier = Applier::Direct { file: path, command: vec!["false".to_owned()] };
        let pool = Pool { applier, ..pool };
        let both = RoomOrder { pool: shared, ..order(&[("b", 4, 4_096), ("a", 2, 1_024)]) };
        pool.make_room(&[], &both).await.unwrap();
    }

    #[tokio::test]
    async fn a_shared_host_with_less_than_was_hoped_for_serves_as_many_as_it_can() {
        let booted = Tree::of("m5.xlarge");
        let file = "---\nmemory_mib: 1024\ncpu_pool: 1,3\n";
        let (dir, pool) = parent(&booted, &after(&booted, file));
        let shared = Some(Size { cpu_count: 6, memory_mib: 28 * 1_024 });
        let first = RoomOrder { pool: shared, ..order(&[("a", 2, 1_024)]) };
        pool.make_room(&[], &first).await.unwrap();
        let path = dir.path().join("allocator.yaml");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), file);
    }

    #[tokio::test]
    async fn an_allocator_is_not_believed() {
        let booted = Tree::of("m5.xlarge");
        let (_dir, pool) = parent(&booted, &booted);
        let err = pool.make_room(&[], &order(&[("a", 2, 512)])).await.unwrap_err();
        assert_eq!(err.code(), FailureCode::EnclaveStartFailed);
        assert_eq!(
            bailey_runtime::chain(&err),
            "the allocator did not set up what was planned (exit status: 0): the enclave pool holds \
             the CPUs `` instead of `1,3`"
        );
    }

    #[tokio::test]
    async fn what_this_host_cannot_hold_is_refused_before_the_allocator_runs() {
        let booted = Tree::of("m5.xlarge");
        let (dir, pool) = parent(&booted, &booted);
        for (cpu_count, code, said) in [
            (
                6,
                FailureCode::InsufficientHostResources,
                "the host cannot hold the enclave: needs 6 vCPUs on one NUMA node; node 0 has 2 \
                 free beside the parent's core 0",
            ),
            (
                3,
                FailureCode::InvalidConfiguration,
                "the host cannot hold the enclave: cpu_count 3 is not a whole number of cores of \
                 2 vCPUs",
            ),
        ] {
            let err = pool.make_room(&[], &order(&[("a", cpu_count, 512)])).await.unwrap_err();
            assert_eq!((err.code(), bailey_runtime::chain(&err)), (code, said.to_owned()));
        }
        assert!(!dir.path().join("allocator.yaml").exists());
    }

    #[tokio::test]
    async fn a_pool_that_enclaves_run_in_is_not_changed() {
        let booted = Tree::of("m6i.4xlarge");
        let tree = after(&booted, "---\nmemory_mib: 1536\ncpu_pool: 1-2,9-10\n");
        let (dir, pool) = parent(&tree, &tree);
        let running = EnclaveInfo {
            name: "other".to_owned(),
            nitro_id: "i-1-enc1".to_owned(),
            cid: 16,
            cpu_count: 2,
            memory_mib: 512,
            running: true,
        };
        let running = [running];
        pool.make_room(&running, &order(&[("a", 2, 512)])).await.unwrap();
        let err = pool.make_room(&running, &order(&[("a", 4, 512)])).await.unwrap_err();
        assert_eq!(
            bailey_runtime::chain(&err),
            "the pool cannot change while an enclave runs (1 do): needs 4 vCPUs, 2 of the 4 in the enclave \
             pool are free"
        );
        assert!(!dir.path().join("allocator.yaml").exists());
    }
}
