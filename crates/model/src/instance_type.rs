//! Which EC2 instance types can host enclaves, and the smallest that fits a request.
//!
//! AWS's rule: Intel and AMD types on the Nitro system with at least 4 vCPUs, Graviton types with
//! at least 2, and neither bare metal nor the burstable and flex families. The parent keeps one
//! full core, and memory enough to run.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The name of an EC2 instance type, `family.size`.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct InstanceType(String);

impl InstanceType {
    /// The name as EC2 writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn family(&self) -> &str {
        self.0.split_once('.').map_or("", |(family, _)| family)
    }

    fn size(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, size)| size)
    }
}

impl FromStr for InstanceType {
    type Err = InstanceTypeError;

    fn from_str(text: &str) -> Result<Self, InstanceTypeError> {
        let part = |part: &str| {
            !part.is_empty()
                && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        match text.split_once('.') {
            Some((family, size)) if part(family) && part(size) => Ok(Self(text.to_owned())),
            _ => Err(InstanceTypeError { text: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for InstanceType {
    type Error = InstanceTypeError;

    fn try_from(text: String) -> Result<Self, InstanceTypeError> {
        text.parse()
    }
}

impl From<InstanceType> for String {
    fn from(instance_type: InstanceType) -> Self {
        instance_type.0
    }
}

impl fmt::Display for InstanceType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not shaped like an instance type.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{text}` is not an instance type (family.size, as in m5.xlarge)")]
pub struct InstanceTypeError {
    text: String,
}

/// What a type offers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Resources {
    /// vCPUs.
    pub vcpus: u32,
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// Hardware threads of a core; the parent keeps one core.
    pub threads_per_core: u32,
}

/// What an enclave needs of its parent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Need {
    /// vCPUs for the enclave.
    pub cpu_count: u32,
    /// Memory for the enclave, in MiB.
    pub memory_mib: u32,
}

/// Memory that the parent keeps for itself, in MiB: the kernel, the agent, the page cache that a
/// fetch of an image needs.
pub const PARENT_RESERVE_MIB: u32 = 1_024;

/// Which type to launch for a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fit {
    /// The requested type will do.
    AsAsked(Resources),
    /// The requested type cannot; this one, the smallest of its family, can.
    Promoted {
        /// The type to launch.
        to: InstanceType,
        /// What that type offers.
        resources: Resources,
        /// Why the requested one cannot.
        because: Unfit,
    },
}

/// Why a type cannot host a request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unfit {
    /// An enclave gets full cores, so its vCPUs are a multiple of a core's threads.
    #[error(
        "cpu_count is {cpu_count}, but {instance_type} has {threads_per_core} threads a core and \
         an enclave gets whole cores"
    )]
    PartOfCore {
        /// The type asked for.
        instance_type: InstanceType,
        /// vCPUs asked for.
        cpu_count: u32,
        /// Threads of a core.
        threads_per_core: u32,
    },
    /// The type has too few vCPUs or too little memory beside the parent's share.
    #[error(
        "{instance_type} has {vcpus} vCPUs and {memory_mib} MiB; the enclave asks for {} vCPUs and \
         {} MiB, and the parent keeps {} vCPUs and {PARENT_RESERVE_MIB} MiB{}",
        need.cpu_count, need.memory_mib, parent_vcpus, suggestion(alternatives)
    )]
    TooSmall {
        /// The type asked for.
        instance_type: InstanceType,
        /// Its vCPUs.
        vcpus: u32,
        /// Its memory, in MiB.
        memory_mib: u32,
        /// What the enclave asks for.
        need: Need,
        /// vCPUs that stay with the parent.
        parent_vcpus: u32,
        /// Types of the family that would do.
        alternatives: Vec<InstanceType>,
    },
    /// No enclaves on this type.
    #[error("{instance_type} cannot host enclaves{}", suggestion(alternatives))]
    Unsupported {
        /// The type asked for.
        instance_type: InstanceType,
        /// Types of the family that would do.
        alternatives: Vec<InstanceType>,
    },
    /// The family has no such size.
    #[error("{instance_type} does not exist{}", suggestion(alternatives))]
    NoSuchSize {
        /// The type asked for.
        instance_type: InstanceType,
        /// Types of the family that would do.
        alternatives: Vec<InstanceType>,
    },
    /// The family is not in Bailey's table.
    #[error(
        "{instance_type} is of no family that is known to host enclaves (such as m5, c6i, r7g)"
    )]
    Unknown {
        /// The type asked for.
        instance_type: InstanceType,
    },
}

fn suggestion(alternatives: &[InstanceType]) -> String {
    match alternatives {
        [] => String::new(),
        some => {
            let names: Vec<_> = some.iter().take(3).map(InstanceType::as_str).collect();
            format!("; these would do: {}", names.join(", "))
        }
    }
}

/// Finds the type to launch for `need` when the record asks for `asked`.
///
/// The smallest type of the same family is taken when `asked` itself cannot host the enclave.
pub fn fit(asked: &InstanceType, need: Need) -> Result<Fit, Unfit> {
    let family = Family::of(asked)?;
    // Bare metal exists in most families and can host no enclaves.
    if !family.sizes.contains(&asked.size()) && !asked.size().starts_with("metal") {
        let alternatives = family.fitting(need);
        return Err(Unfit::NoSuchSize { instance_type: asked.clone(), alternatives });
    }
    if !need.cpu_count.is_multiple_of(family.threads_per_core) {
        return Err(Unfit::PartOfCore {
            instance_type: asked.clone(),
            cpu_count: need.cpu_count,
            threads_per_core: family.threads_per_core,
        });
    }
    let Err(because) = family.hosts(asked, need) else {
        return Ok(Fit::AsAsked(family.resources(asked.size()).unwrap_or(NOTHING)));
    };
    match family.fitting(need).into_iter().next() {
        Some(to) => {
            let resources = family.resources(to.size()).unwrap_or(NOTHING);
            Ok(Fit::Promoted { to, resources, because })
        }
        None => Err(because),
    }
}

/// As [`fit`], but refuses what would have to be promoted.
pub fn fit_strictly(asked: &InstanceType, need: Need) -> Result<Resources, Unfit> {
    match fit(asked, need)? {
        Fit::AsAsked(resources) => Ok(resources),
        Fit::Promoted { because, .. } => Err(because),
    }
}

/// What a type offers, when it can host enclaves at all.
#[must_use]
pub fn resources(instance_type: &InstanceType) -> Option<Resources> {
    let family = Family::of(instance_type).ok()?;
    let resources = family.resources(instance_type.size())?;
    (resources.vcpus >= family.minimum_vcpus()).then_some(resources)
}

/// The most vCPUs that a type may have to be sure that they are of one NUMA node; all enclaves of a parent
/// share one node.
const ONE_NODE_VCPUS: u32 = 48;
/// Memory comes in pages of a GiB, of which an enclave takes whole ones.
const PAGE_MIB: u32 = 1_024;

/// What the enclaves of a parent of this type can have together, when several share it: less than it
/// offers to a single one, so that it is there whatever order they come and go in. None when the type
/// can host no enclaves.
///
/// One core is the parent's, and so is an eighth of the memory beside [`PARENT_RESERVE_MIB`], for the
/// kernel shows less than EC2 names. Of two NUMA nodes only one counts.
#[must_use]
pub fn shared(instance_type: &InstanceType) -> Option<Need> {
    let Resources { vcpus, memory_mib, threads_per_core } = resources(instance_type)?;
    let nodes = if vcpus > ONE_NODE_VCPUS { 2 } else { 1 };
    let (vcpus, memory_mib) = (vcpus / nodes, memory_mib / nodes);
    let memory_mib = (memory_mib - memory_mib / 8).saturating_sub(PARENT_RESERVE_MIB);
    Some(Need {
        cpu_count: vcpus.saturating_sub(threads_per_core),
        memory_mib: memory_mib / PAGE_MIB * PAGE_MIB,
    })
}

impl Need {
    /// This need with its memory in whole pages, as a shared parent has to give it.
    #[must_use]
    pub fn in_pages(self) -> Self {
        let memory_mib = self.memory_mib.div_ceil(PAGE_MIB).saturating_mul(PAGE_MIB);
        Self { memory_mib, ..self }
    }
}

const NOTHING: Resources = Resources { vcpus: 0, memory_mib: 0, threads_per_core: 1 };

/// One row of the table of families.
#[derive(Clone, Copy, Debug)]
struct Family {
    name: &'static str,
    threads_per_core: u32,
    mib_per_vcpu: u32,
    sizes: &'static [&'static str],
}

impl Family {
    fn of(instance_type: &InstanceType) -> Result<Self, Unfit> {
        let unknown = || Unfit::Unknown { instance_type: instance_type.clone() };
        FAMILIES
            .iter()
            .find(|family| family.name == instance_type.family())
            .copied()
            .ok_or_else(unknown)
    }

    /// AWS asks for 4 vCPUs where a core has two threads, and for 2 where it has one.
    fn minimum_vcpus(self) -> u32 {
        self.threads_per_core.saturating_mul(2)
    }

    fn resources(self, size: &str) -> Option<Resources> {
        let vcpus = self.sizes.contains(&size).then(|| vcpus_of_size(size))??;
        Some(Resources {
            vcpus,
            memory_mib: vcpus.saturating_mul(self.mib_per_vcpu),
            threads_per_core: self.threads_per_core,
        })
    }

    fn hosts(self, asked: &InstanceType, need: Need) -> Result<(), Unfit> {
        let resources = self.resources(asked.size());
        let Some(resources) = resources.filter(|r| r.vcpus >= self.minimum_vcpus()) else {
            return Err(Unfit::Unsupported {
                instance_type: asked.clone(),
                alternatives: self.fitting(need),
            });
        };
        if self.is_enough(resources, need) {
            return Ok(());
        }
        Err(Unfit::TooSmall {
            instance_type: asked.clone(),
            vcpus: resources.vcpus,
            memory_mib: resources.memory_mib,
            need,
            parent_vcpus: self.threads_per_core,
            alternatives: self.fitting(need),
        })
    }

    fn is_enough(self, resources: Resources, need: Need) -> bool {
        resources.vcpus >= self.minimum_vcpus()
            && resources.vcpus.saturating_sub(self.threads_per_core) >= need.cpu_count
            && resources.memory_mib.saturating_sub(PARENT_RESERVE_MIB) >= need.memory_mib
    }

    /// The types of this family that can host `need`, smallest first.
    fn fitting(self, need: Need) -> Vec<InstanceType> {
        self.sizes
            .iter()
            .filter(|size| self.resources(size).is_some_and(|r| self.is_enough(r, need)))
            .map(|size| InstanceType(format!("{}.{size}", self.name)))
            .collect()
    }
}

/// `medium` has 1 vCPU, `large` 2, `xlarge` 4 and `Nxlarge` N times 4.
fn vcpus_of_size(size: &str) -> Option<u32> {
    match size {
        "medium" => Some(1),
        "large" => Some(2),
        "xlarge" => Some(4),
        _ => size.strip_suffix("xlarge")?.parse::<u32>().ok()?.checked_mul(4),
    }
}

const GIB: u32 = 1_024;

/// Sizes of the older Intel and AMD families.
const TO_24: &[&str] =
    &["large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge"];
/// Sizes of the sixth Intel generation.
const TO_32: &[&str] = &[
    "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
    "32xlarge",
];
/// Sizes of the sixth AMD generation.
const TO_48: &[&str] = &[
    "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
    "32xlarge", "48xlarge",
];
/// Sizes of the seventh Intel generation.
const INTEL_7: &[&str] = &[
    "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge", "24xlarge",
    "48xlarge",
];
/// Sizes of c5, which has its own.
const C5: &[&str] =
    &["large", "xlarge", "2xlarge", "4xlarge", "9xlarge", "12xlarge", "18xlarge", "24xlarge"];
/// Sizes of the Graviton families.
const GRAVITON: &[&str] =
    &["medium", "large", "xlarge", "2xlarge", "4xlarge", "8xlarge", "12xlarge", "16xlarge"];

const fn family(
    name: &'static str,
    threads_per_core: u32,
    mib_per_vcpu: u32,
    sizes: &'static [&'static str],
) -> Family {
    Family { name, threads_per_core, mib_per_vcpu, sizes }
}

/// The general, compute and memory families that host enclaves.
///
/// The seventh AMD generation (m7a, c7a, r7a) is left out: its vCPUs are whole cores, and AWS's
/// minimum for such types is not documented.
const FAMILIES: &[Family] = &[
    family("c5", 2, 2 * GIB, C5),
    family("c5a", 2, 2 * GIB, TO_24),
    family("c6a", 2, 2 * GIB, TO_48),
    family("c6g", 1, 2 * GIB, GRAVITON),
    family("c6i", 2, 2 * GIB, TO_32),
    family("c6in", 2, 2 * GIB, TO_32),
    family("c7g", 1, 2 * GIB, GRAVITON),
    family("c7i", 2, 2 * GIB, INTEL_7),
    family("m5", 2, 4 * GIB, TO_24),
    family("m5a", 2, 4 * GIB, TO_24),
    family("m5d", 2, 4 * GIB, TO_24),
    family("m5n", 2, 4 * GIB, TO_24),
    family("m6a", 2, 4 * GIB, TO_48),
    family("m6g", 1, 4 * GIB, GRAVITON),
    family("m6i", 2, 4 * GIB, TO_32),
    family("m6id", 2, 4 * GIB, TO_32),
    family("m6in", 2, 4 * GIB, TO_32),
    family("m7g", 1, 4 * GIB, GRAVITON),
    family("m7i", 2, 4 * GIB, INTEL_7),
    family("r5", 2, 8 * GIB, TO_24),
    family("r5a", 2, 8 * GIB, TO_24),
    family("r6a", 2, 8 * GIB, TO_48),
    family("r6g", 1, 8 * GIB, GRAVITON),
    family("r6i", 2, 8 * GIB, TO_32),
    family("r7g", 1, 8 * GIB, GRAVITON),
    family("r7i", 2, 8 * GIB, INTEL_7),
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn named(name: &str) -> InstanceType {
        name.parse().unwrap()
    }

    fn need(cpu_count: u32, memory_mib: u32) -> Need {
        Need { cpu_count, memory_mib }
    }

    /// Facts from EC2's own list of types.
    #[test]
    fn only_types_that_aws_supports_can_host() {
        for name in ["m5.xlarge", "m6i.xlarge", "c6i.2xlarge", "m6g.large", "c7g.large"] {
            assert!(resources(&named(name)).is_some(), "{name}");
        }
        for name in
            ["m5.large", "m6i.large", "c6a.large", "m5.metal", "t3.xlarge", "m7i-flex.xlarge"]
        {
            assert!(resources(&named(name)).is_none(), "{name}");
        }
    }

    #[test]
    fn the_types_of_todays_web_app_have_their_documented_size() {
        let r = resources(&named("m6i.xlarge")).unwrap();
        assert_eq!((r.vcpus, r.memory_mib), (4, 16 * 1_024));
        let r = resources(&named("c6i.4xlarge")).unwrap();
        assert_eq!((r.vcpus, r.memory_mib), (16, 32 * 1_024));
        let r = resources(&named("r7g.large")).unwrap();
        assert_eq!((r.vcpus, r.memory_mib), (2, 16 * 1_024));
    }

    #[test]
    fn a_type_without_enclaves_is_promoted_to_the_smallest_of_its_family_that_can() {
        let fit = fit(&named("m5.large"), need(2, 1_024)).unwrap();
        let Fit::Promoted { to, because, .. } = fit else { panic!("{fit:?}") };
        assert_eq!(to.as_str(), "m5.xlarge");
        assert!(because.to_string().starts_with("m5.large cannot host enclaves; these would do:"));
    }

    #[test]
    fn a_type_too_small_for_the_request_is_promoted() {
        let fit = fit(&named("m5.xlarge"), need(4, 1_024)).unwrap();
        assert!(matches!(fit, Fit::Promoted { to, .. } if to.as_str() == "m5.2xlarge"));
    }

    #[test]
    fn a_size_that_does_not_exist_is_refused_and_not_promoted() {
        assert!(matches!(
            fit(&named("m5.huge"), need(2, 1_024)),
            Err(Unfit::NoSuchSize { alternatives, .. }) if !alternatives.is_empty()
        ));
        assert!(matches!(fit(&named("m5.metal"), need(2, 1_024)), Ok(Fit::Promoted { .. })));
    }

    #[test]
    fn strictly_nothing_is_promoted() {
        let unfit = fit_strictly(&named("m5.large"), need(2, 1_024)).unwrap_err();
        assert!(matches!(unfit, Unfit::Unsupported { .. }));
        assert!(fit_strictly(&named("m5.xlarge"), need(2, 1_024)).is_ok());
    }

    #[test]
    fn what_is_shared_leaves_the_parent_a_core_and_memory_and_is_of_one_node() {
        let shared = |name: &str| shared(&named(name)).map(|it| (it.cpu_count, it.memory_mib));
        assert_eq!(shared("m5.2xlarge"), Some((6, 27 * 1_024)));
        assert_eq!(shared("m6g.xlarge"), Some((3, 13 * 1_024)));
        assert_eq!(shared("m5.24xlarge"), Some((46, 167 * 1_024)));
        assert_eq!((shared("m5.large"), shared("t3.large")), (None, None));
        assert_eq!(need(2, 1_025).in_pages(), need(2, 2_048));
    }

    #[test]
    fn half_a_core_is_refused_where_cores_have_two_threads() {
        assert!(matches!(fit(&named("m5.xlarge"), need(1, 512)), Err(Unfit::PartOfCore { .. })));
        assert!(matches!(fit(&named("m6g.large"), need(1, 512)), Ok(Fit::AsAsked(_))));
    }

    #[test]
    fn what_no_size_can_host_is_refused() {
        assert!(matches!(
            fit(&named("m5.xlarge"), need(96, 1_024)),
            Err(Unfit::TooSmall { alternatives, .. }) if alternatives.is_empty()
        ));
        assert!(matches!(fit(&named("t3.large"), need(2, 512)), Err(Unfit::Unknown { .. })));
    }

    proptest! {
        /// Whatever is chosen leaves the parent a core and its memory, and is the smallest such.
        #[test]
        fn a_fit_leaves_the_parent_its_share(
            index in 0..FAMILIES.len(), cpus in 1_u32..200, memory in 64_u32..1_000_000,
        ) {
            let family = FAMILIES[index];
            let asked = named(&format!("{}.xlarge", family.name));
            let Ok(found) = fit(&asked, need(cpus, memory)) else { return Ok(()) };
            let resources = match found {
                Fit::AsAsked(resources) | Fit::Promoted { resources, .. } => resources,
            };
            prop_assert!(resources.vcpus >= cpus + family.threads_per_core);
            prop_assert!(resources.memory_mib >= memory + PARENT_RESERVE_MIB);
        }
    }
}
