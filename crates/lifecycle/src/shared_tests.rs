use super::*;
use crate::{
    LaunchTemplate, Subnets,
    accept::accept,
    launch::{LaunchRefused, Launched},
    ledger::Outcome,
    spare::{launch_refused, launched, next_slot_step, terminated},
};
use bailey_attestation::{ChainCache, TrustedRoots};
use bailey_manifest::TrustedKeys;
use bailey_model::{
    Base64Bytes,
    hosts::{Nonce, Observed, ObservedAssignment},
    record::Request,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fn config() -> Config {
    Config {
        deployment: "test".to_owned(),
        template: LaunchTemplate { name: "parents".to_owned(), version: 1 },
        subnets: Subnets::default(),
        role_arn: None,
        roots: TrustedRoots::aws(),
        chains: Arc::new(ChainCache::new(1)),
        manifest_keys: TrustedKeys::default(),
        reports_bucket: "reports".to_owned(),
        fallback_types: Vec::new(),
        spares: Vec::new(),
        enclaves_per_parent: 4,
        strict_instance_types: false,
        absence_grace: Duration::from_mins(1),
        nonce_ttl: Duration::from_mins(5),
        reattest_interval: Duration::from_hours(1),
        reattest_misses: 3,
        deploy_timeout: Duration::from_mins(30),
        host_timeout: Duration::from_mins(5),
        drain_timeout: Duration::from_mins(1),
        destroy_timeout: Duration::from_mins(20),
        skew: Duration::from_mins(5),
        software: BTreeMap::new(),
    }
}

/// The entry of a record that was just accepted, with these changes to its configuration.
fn entry(id: &str, changes: &Value) -> Entry {
    let mut record = json!({ "id": id, "status": "PENDING_DEPLOY", "configuration": {
        "instance_type": "m5.2xlarge", "cpu_count": 2, "memory_mib": 1024,
        "eif_path": "s3://images/a.eif", "share_parent": true } });
    for (name, value) in changes.as_object().unwrap() {
        record["configuration"][name] = value.clone();
    }
    let Value::Object(record) = record else { unreachable!() };
    accept(None, &Request::parse(&record).unwrap(), &config(), NOW)
}

fn view<'a>(entry: &'a Entry, slots: &'a [Slot], slot: Option<&'a Slot>) -> View<'a> {
    View {
        now: NOW,
        record: None,
        entry: Some(entry),
        observed: None,
        beat: None,
        instance: None,
        desired_written: 0,
        fresh: [7; 32],
        short: &[],
        spares: slots,
        slot,
        unwritable: false,
        retrying: None,
    }
}

/// Where the entry goes among these slots.
fn joins(entry: &Entry, slots: &[Slot], config: &Config) -> Option<Claim> {
    let spec = entry.spec.as_ref().unwrap();
    join(entry, spec, Vec::new(), &view(entry, slots, None), config)
}

fn saved(slot: &Slot) -> Slot {
    Slot { version: slot.version + 1, ..slot.clone() }
}

/// The slot's host is known.
fn there(slot: &Slot) -> Slot {
    let host = Launched {
        instance_id: "i-shared".to_owned(),
        instance_arn: "arn/i-shared".to_owned(),
        availability_zone: "eu-west-1a".to_owned(),
    };
    saved(&launched(slot, host, NOW))
}

fn nonce(sequence: u64) -> Nonce {
    Nonce { bytes: Base64Bytes(vec![1; 32]), issued_at: NOW, sequence }
}

/// These entries on one shared host, each asked to run.
fn tenants(ids: &[&str]) -> (Vec<Entry>, Slot) {
    let mut slots = Vec::new();
    let mut entries = Vec::new();
    for id in ids {
        let claim = joins(&entry(id, &json!({})), &slots, &config()).unwrap();
        slots = vec![saved(&claim.slot)];
        entries.push(claim.entry);
    }
    let mut slot = there(&slots[0]);
    for entry in &mut entries {
        let host = slot.host().unwrap().clone();
        let state = State::Deploying { host, nonce: nonce(1), since: NOW, restarts: 0 };
        let next = entry.moved(state, NOW);
        let after = together(entry, next, &slot);
        (*entry, slot) = (after.entry, saved(&after.slot));
    }
    (entries, slot)
}

/// What is written for `next`, which changes the slot.
fn together(before: &Entry, next: Entry, slot: &Slot) -> Together {
    match seated(before, next, Some(slot)) {
        Seated::Together(together) => *together,
        Seated::Alone(entry) => panic!("{entry:?}"),
    }
}

fn moved_to(entry: &Entry, state: impl FnOnce(Host) -> State) -> Entry {
    entry.moved(state(entry.state.host().unwrap().clone()), NOW)
}

#[test]
fn two_enclaves_that_ask_for_the_same_port_of_their_parent_do_not_share_one() {
    let port = |parent: u16| json!({"ingress": [{"parent_port": parent, "enclave_port": 443}]});
    let first = joins(&entry("a", &port(8443)), &[], &config()).unwrap();
    let slots = [saved(&first.slot)];
    let same = joins(&entry("b", &port(8443)), &slots, &config()).unwrap();
    assert_ne!(same.slot.id, slots[0].id);
    let other = joins(&entry("b", &port(8444)), &slots, &config()).unwrap();
    assert_eq!(other.slot.id, slots[0].id);
}

#[test]
fn enclaves_join_one_host_until_it_is_full_and_then_another() {
    let mut slots: Vec<Slot> = Vec::new();
    let mut names = Vec::new();
    for id in ["a", "b", "c", "d"] {
        let claim = joins(&entry(id, &json!({})), &slots, &config()).unwrap();
        let State::Joining { seat: Some(seat), .. } = &claim.entry.state else { panic!() };
        names.push(seat.slot.to_string());
        slots.retain(|slot| slot.id != claim.slot.id);
        slots.push(saved(&claim.slot));
    }
    // Three times two vCPUs go on eight beside the parent's core.
    let (first, second) = ("shared/m5.2xlarge/any/0", "shared/m5.2xlarge/any/1");
    assert_eq!(names, [first, first, first, second]);
    assert!(slots.iter().all(|slot| slot.name() == "LAUNCHING"));
}

#[test]
fn nobody_joins_more_than_are_allowed_a_host_of_another_place_or_template_or_one_that_is_left() {
    let (mut entries, slot) = tenants(&["a"]);
    let other = |changes: Value, slot: &Slot, config: &Config| {
        joins(&entry("b", &changes), std::slice::from_ref(slot), config).unwrap().slot.id != slot.id
    };
    assert!(!other(json!({}), &slot, &config()));
    assert!(other(json!({"instance_type": "m5.4xlarge"}), &slot, &config()));
    assert!(other(json!({"availability_zones": ["eu-west-1b"]}), &slot, &config()));
    assert!(other(json!({"memory_mib": 27 * 1024}), &slot, &config()));
    assert!(other(json!({}), &slot, &Config { enclaves_per_parent: 1, ..config() }));
    let mut newer = config();
    newer.template.version = 2;
    assert!(other(json!({}), &slot, &newer));
    let entry = entries.remove(0);
    let leaving = moved_to(&entry, |host| {
        let outcome = Outcome::Failed;
        State::Terminating { host, outcome, since: NOW }
    });
    let left = together(&entry, leaving, &slot).slot;
    assert!(other(json!({}), &left, &config()));
}

#[test]
fn what_a_host_is_told_is_composed_of_its_tenants_and_each_leaves_alone() {
    let (entries, slot) = tenants(&["b", "a"]);
    let (arn, desired) = told(&slot, slot.version).unwrap();
    let ids = |desired: &Desired| -> Vec<_> {
        desired.assignments.iter().map(|it| it.enclave_id.to_string()).collect()
    };
    assert_eq!((arn.as_str(), ids(&desired)), ("arn/i-shared", vec!["a".into(), "b".into()]));
    assert_eq!((desired.version, desired.drain), (slot.version, false));
    let pool = PoolSize { cpu_count: 6, memory_mib: 27 * 1_024 };
    assert_eq!(desired.pool, Some(pool));

    let b = &entries[0];
    let draining =
        moved_to(b, |host| State::Draining { host, outcome: Outcome::Destroyed, since: NOW });
    let Together { entry: draining, slot, told } = together(b, draining, &slot);
    let (_, after) = told.unwrap();
    assert_eq!(after.assignments, desired.assignments[..1]);
    // It keeps its place, and waits for an answer to this very version.
    assert_eq!(slot.tenants.len(), 2);
    assert_eq!(draining.state.host().unwrap().desired_version, after.version);
    let slot = saved(&slot);
    let gone =
        moved_to(&draining, |host| State::Ended { outcome: Outcome::Destroyed, host: Some(host) });
    let slot = together(&draining, gone, &slot).slot;
    assert_eq!(slot.tenants.keys().map(EnclaveId::as_str).collect::<Vec<_>>(), ["a"]);
}

#[test]
fn a_note_changes_nothing_on_the_slot_and_asks_its_host_for_nothing() {
    let (entries, slot) = tenants(&["a"]);
    let mut noted = entries[0].clone();
    noted.note(NOW, "something");
    let expected = Seated::Alone(Box::new(noted.clone()));
    assert_eq!(seated(&entries[0], noted, Some(&slot)), expected);
}

#[test]
fn a_place_is_given_up_when_the_enclave_or_the_instance_is_gone_and_not_before() {
    let (entries, slot) = tenants(&["a", "b"]);
    let entry = &entries[0];
    let host = entry.state.host().unwrap();
    let observed = |version, phase: Option<HostPhase>| Observed {
        desired_version: version,
        assignments: phase.into_iter().map(|phase| reported(entry, phase)).collect(),
        ..Observed::default()
    };
    let version = host.desired_version;
    let released = |observed: &Observed| {
        let view = View { observed: Some(observed), ..view(entry, &[], Some(&slot)) };
        is_released(entry, host, &view)
    };
    assert!(!released(&observed(version - 1, None)));
    assert!(!released(&observed(version, Some(HostPhase::Running))));
    assert!(!released(&observed(version, Some(HostPhase::Stopping))));
    assert!(released(&observed(version, Some(HostPhase::Stopped))));
    assert!(released(&observed(version, None)));
    let running = observed(version, Some(HostPhase::Running));
    let gone = View {
        observed: Some(&running),
        instance: Some(InstanceState::ShuttingDown),
        ..view(entry, &[], Some(&slot))
    };
    assert!(is_released(entry, host, &gone));
}

fn reported(entry: &Entry, phase: HostPhase) -> ObservedAssignment {
    ObservedAssignment {
        enclave_id: entry.id.clone(),
        generation: entry.generation,
        phase,
        entered: BTreeMap::new(),
        enclave: None,
        measurements: BTreeMap::new(),
        answer: None,
        failure: None,
        restarts: 0,
        health: None,
    }
}

#[test]
fn a_host_is_ended_when_nobody_stays_and_whoever_stays_has_lost_one_that_ends() {
    let (entries, slot) = tenants(&["a", "b"]);
    let step = |slot: &Slot| next_shared_step(slot, NOW);
    assert_eq!(step(&slot), SlotStep::Wait(None));
    let mut left = slot.clone();
    left.tenants.values_mut().take(1).for_each(|tenant| tenant.leaving = true);
    assert_eq!(step(&left), SlotStep::Wait(None));
    left.tenants.values_mut().for_each(|tenant| tenant.leaving = true);
    let SlotStep::Save(ending) = step(&left) else { panic!() };
    assert_eq!(ending.name(), "TERMINATING");
    // Whoever leaves waits for EC2's word; whoever stays has it.
    let state = |slot: &Slot| instance(&entries[0], &view(&entries[0], &[], Some(slot)));
    assert_eq!(state(&ending), None);
    let lost = slot.ending(slot.host().unwrap(), "it is gone", NOW);
    assert_eq!(state(&lost), Some(InstanceState::Terminated));
    let empty = terminated(&ending, NOW);
    assert_eq!((empty.name(), empty.tenants.len()), ("EMPTY", 0));
    assert_eq!(empty.generation, slot.generation.next());
    assert_eq!(state(&empty), Some(InstanceState::Terminated));
}

#[test]
fn a_refused_host_is_told_to_each_who_waits_and_its_next_one_has_another_token() {
    let claim = joins(&entry("a", &json!({})), &[], &config()).unwrap();
    let slot = saved(&claim.slot);
    let SlotState::Launching { intent } = &slot.state else { panic!() };
    let refused = LaunchRefused {
        code: "InsufficientInstanceCapacity".to_owned(),
        message: "none".to_owned(),
    };
    let refused = launch_refused(&slot, &refused, NOW);
    assert!(matches!(joined(&claim.entry, Some(&refused)), Joined::Refused(..)));
    assert_eq!(next_shared_step(&refused, NOW), SlotStep::Wait(None));
    let again = claim.entry.moved(State::Joining { seat: None, tried: Vec::new() }, NOW);
    let left = together(&claim.entry, again, &refused).slot;
    let SlotStep::Save(empty) = next_shared_step(&left, NOW) else { panic!() };
    assert_eq!(empty.name(), "EMPTY");
    let next = joins(&entry("b", &json!({})), &[*empty], &config()).unwrap();
    assert_eq!(next.slot.id, slot.id);
    let SlotState::Launching { intent: other } = &next.slot.state else { panic!() };
    assert_ne!(other.request.client_token, intent.request.client_token);
    // Who still names the earlier host has no place on the later one.
    assert!(matches!(joined(&claim.entry, Some(&next.slot)), Joined::Lost));
}

#[test]
fn a_module_id_that_another_showed_is_known() {
    let (entries, mut slot) = tenants(&["a", "b"]);
    assert_eq!(shown_by("i-enc1", &entries[0], Some(&slot)), None);
    if let Some(tenant) = slot.tenants.get_mut(&entries[1].id) {
        tenant.module_id = Some("i-enc1".to_owned());
    }
    assert_eq!(shown_by("i-enc1", &entries[0], Some(&slot)), Some(&entries[1].id));
    assert_eq!(shown_by("i-enc1", &entries[1], Some(&slot)), None);
}

#[test]
fn a_stopped_instance_ends_the_shared_host() {
    let (_, slot) = tenants(&["a"]);
    let view = crate::spare::SlotView {
        now: NOW,
        is_wanted: false,
        observed: None,
        instance: Some(InstanceState::Stopped),
        is_told: true,
    };
    let SlotStep::Save(ending) = next_slot_step(&slot, &view, &config()) else { panic!() };
    assert_eq!(ending.name(), "TERMINATING");
}
