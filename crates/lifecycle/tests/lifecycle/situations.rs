//! The lifecycle, situation by situation.

use crate::world::{LaunchFate, World, host_failure, image_pcrs, record_with, seed_record};
use bailey_lifecycle::{InstanceState, Step, ledger::State};
use bailey_model::{failure::FailureCode, hosts::HostPhase};
use serde_json::json;
use sha2::Digest as _;

#[test]
fn the_seeds_record_is_deployed_and_destroyed() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.attribute("attestation")["verdict"], "debug");
    assert_eq!(world.attribute("deployment")["instance_type"], "m5.xlarge");
    assert_eq!(world.attribute("deployment")["requested_instance_type"], "m5.large");
    world.ask("PENDING_DESTROY");
    world.settle();
    assert_eq!(
        (world.status().as_str(), world.attribute("phase")),
        ("DESTROYING", "DRAINING".into())
    );
    world.host_works();
    world.settle();
    assert_eq!(world.status(), "DESTROYED");
    assert_eq!(world.alive(), 0);
}

#[test]
fn the_verdict_says_who_vouches_for_the_measurements() {
    let mut world = World::with_record(record_with(&json!({"debug_mode": false})));
    world.deploy();
    assert_eq!(world.attribute("attestation")["verdict"], "authentic");
    let expected = json!({"debug_mode": false, "expected_pcrs": image_pcrs()});
    let mut world = World::with_record(record_with(&expected));
    world.deploy();
    assert_eq!(world.attribute("attestation")["verdict"], "verified");
}

#[test]
fn other_measurements_than_the_expected_ones_are_rejected() {
    let wrong = json!({"debug_mode": false, "expected_pcrs": {"0": "ab".repeat(48)}});
    let mut world = World::with_record(record_with(&wrong));
    world.deploy();
    assert_eq!(world.status(), "FAILED");
    assert_eq!(world.failure_code(), Some(FailureCode::AttestationRejected));
    assert_eq!(world.alive(), 0);
    assert_eq!(world.reports.len(), 1, "a rejection is reported too");
}

#[test]
fn an_enclave_in_debug_mode_is_rejected_unless_the_record_asks_for_it() {
    let mut world = World::with_record(record_with(&json!({"debug_mode": false})));
    world.settle();
    for desired in world.desired.values_mut() {
        desired.assignments[0].debug = true;
    }
    world.host_works();
    world.settle();
    assert_eq!(world.failure_code(), Some(FailureCode::AttestationRejected));
}

#[test]
fn an_answer_to_another_nonce_is_rejected() {
    let mut world = World::with_record(seed_record());
    world.settle();
    for desired in world.desired.values_mut() {
        desired.assignments[0].nonce.bytes.0[0] ^= 1;
    }
    world.host_works();
    world.settle();
    assert_eq!(world.failure_code(), Some(FailureCode::AttestationRejected));
}

#[test]
fn an_enclave_cannot_answer_for_another() {
    let mut world = World::with_record(seed_record());
    world.settle();
    let desired = world.desired.values_mut().next().unwrap();
    let own = desired.assignments[0].clone();
    let mut other = own.clone();
    other.enclave_id = "another".parse().unwrap();
    let instance = world.instances[0].id.clone();
    let document = crate::world::document(&instance, &other, world.now);
    world.host_answers(move |assignment| {
        assignment.answer.as_mut().unwrap().document = document.clone();
    });
    world.settle();
    assert_eq!(world.failure_code(), Some(FailureCode::AttestationRejected));
}

/// Its workload can have the right nonce and the right user data signed, but never without a key.
#[test]
fn a_workload_cannot_answer_for_its_enclave() {
    let mut world = World::with_record(seed_record());
    world.settle();
    let assignment = world.desired.values().next().unwrap().assignments[0].clone();
    let instance = world.instances[0].id.clone();
    let key = Some(b"key".to_vec());
    let document = crate::world::document_with(&instance, &assignment, world.now, key);
    world.host_answers(move |observed| {
        observed.answer.as_mut().unwrap().document = document.clone();
    });
    world.settle();
    assert_eq!(world.failure_code(), Some(FailureCode::AttestationRejected));
}

#[test]
fn a_verdict_that_is_too_weak_for_the_record_is_a_failure_before_anything_is_launched() {
    let mut world = World::with_record(record_with(&json!({"require_verified": true})));
    world.settle();
    assert_eq!(world.status(), "FAILED");
    assert_eq!(world.failure_code(), Some(FailureCode::NotVerified));
    assert!(world.instances.is_empty());
}

#[test]
fn a_malformed_record_fails_with_the_field_and_launches_nothing() {
    let mut world = World::with_record(record_with(&json!({"cpu_count": "many"})));
    world.settle();
    assert_eq!(world.status(), "FAILED");
    assert_eq!(world.attribute("error_type"), "InvalidConfiguration");
    let message = world.attribute("error_message");
    assert_eq!(
        message,
        "configuration.cpu_count is \"many\"; allowed is a whole number from 1 to 190"
    );
    assert!(world.instances.is_empty());
}

#[test]
fn a_failed_record_that_is_corrected_is_deployed_as_the_next_generation() {
    let mut world = World::with_record(record_with(&json!({"cpu_count": "many"})));
    world.settle();
    world.write(seed_record());
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.attribute("generation"), 2);
}

#[test]
fn the_same_event_twice_changes_nothing() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    let entry = world.entry.clone();
    world.settle();
    assert_eq!(world.entry, entry);
    assert_eq!(world.instances.len(), 1);
}

#[test]
fn an_unrelated_edit_while_pending_changes_nothing() {
    let mut world = World::with_record(seed_record());
    assert!(world.step(false));
    let mut edited = seed_record();
    edited["name"] = "a better name".into();
    world.write(edited);
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.attribute("name"), "a better name");
    assert_eq!(world.instances.len(), 1);
}

#[test]
fn an_edit_of_the_configuration_before_the_launch_is_taken_up() {
    let mut world = World::with_record(seed_record());
    assert!(world.step(false));
    world.write(record_with(&json!({"memory_mib": 2048})));
    world.settle();
    let memory = world.desired.values().next().unwrap().assignments[0].memory_mib;
    assert_eq!(memory, 2_048);
    assert_eq!(world.attribute("generation"), 1);
}

#[test]
fn the_whole_record_written_again_over_a_deployed_one_is_projected_again() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.write(seed_record());
    world.settle();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.attribute("attestation")["verdict"], "debug");
    assert_eq!(world.instances.len(), 1);
}

#[test]
fn another_configuration_for_a_live_enclave_is_refused_and_the_enclave_lives_on() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.write(record_with(&json!({"memory_mib": 2048})));
    world.settle();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.attribute("error_type"), "ConfigurationChangeRefused");
    assert_eq!(world.alive(), 1);
}

#[test]
fn a_result_that_the_web_app_wrote_is_overwritten() {
    let mut world = World::with_record(seed_record());
    world.settle();
    world.ask("DEPLOYED");
    world.settle();
    assert_eq!(world.status(), "DEPLOYING");
    let events = &world.entry.as_ref().unwrap().events;
    assert!(
        events.iter().any(|event| event.text.contains("DEPLOYED was written by somebody else"))
    );
}

/// From the first step to the last, a request to destroy ends everything.
#[test]
fn destroy_is_honoured_in_the_middle_of_a_deploy() {
    for steps in 0..12 {
        let mut world = World::with_record(seed_record());
        for _ in 0..steps {
            world.step(false);
        }
        world.ask("PENDING_DESTROY");
        world.settle();
        world.host_works();
        world.settle();
        assert_eq!(world.status(), "DESTROYED", "after {steps} steps");
        assert_eq!(world.alive(), 0, "after {steps} steps");
        world.check();
    }
}

#[test]
fn destroy_before_any_deploy_is_done_at_once() {
    let mut world = World::with_record(seed_record());
    world.ask("PENDING_DESTROY");
    world.settle();
    assert_eq!(world.status(), "DESTROYED");
    assert!(world.instances.is_empty());
}

#[test]
fn a_destroy_whose_launch_is_unanswered_terminates_what_was_launched() {
    let mut world = World::with_record(seed_record());
    world.fate = LaunchFate::AnswerLost;
    while !matches!(world.next(), Step::Launch(_)) {
        assert!(world.step(false));
    }
    assert!(world.step(false));
    assert_eq!(world.alive(), 1, "EC2 launched it, and nobody knows");
    world.ask("PENDING_DESTROY");
    world.settle();
    assert_eq!(world.status(), "DESTROYED");
    assert_eq!(world.alive(), 0);
    assert_eq!(world.instances.len(), 1);
}

#[test]
fn a_request_to_deploy_during_a_destroy_waits_and_is_then_taken_up() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.ask("PENDING_DESTROY");
    world.settle();
    world.ask("PENDING_DEPLOY");
    world.settle();
    assert_eq!(world.status(), "PENDING_DEPLOY");
    world.host_works();
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.attribute("generation"), 2);
    assert_eq!((world.instances.len(), world.alive()), (2, 1));
}

#[test]
fn a_record_that_stays_deleted_ends_its_enclave_after_the_grace_period() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.record = None;
    world.settle();
    world.later(59);
    world.settle();
    assert_eq!(world.alive(), 1);
    world.later(1);
    world.settle();
    world.host_works();
    world.settle();
    assert_eq!(world.alive(), 0);
}

#[test]
fn a_record_that_is_deleted_and_written_again_keeps_its_enclave() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.record = None;
    world.settle();
    world.write(seed_record());
    world.settle();
    world.later(3_600);
    world.settle();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.instances.len(), 1);
}

#[test]
fn a_generation_is_never_used_twice_even_after_the_record_was_deleted() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.ask("PENDING_DESTROY");
    world.settle();
    world.host_works();
    world.settle();
    world.record = None;
    world.settle();
    world.write(seed_record());
    world.deploy();
    assert_eq!(world.attribute("generation"), 2);
}

#[test]
fn a_refused_launch_fails_with_ec2s_words() {
    let mut world = World::with_record(seed_record());
    world.fate = LaunchFate::Refused;
    world.settle();
    assert_eq!(world.status(), "FAILED");
    assert_eq!(world.attribute("error_type"), "CapacityUnavailable");
    assert!(world.attribute("error_message").as_str().unwrap().contains("none left"));
}

#[test]
fn what_a_host_gives_up_on_fails_with_the_hosts_reason() {
    let mut world = World::with_record(seed_record());
    world.settle();
    world.host_answers(|assignment| {
        assignment.phase = HostPhase::Failed;
        assignment.answer = None;
        assignment.failure = Some(host_failure(FailureCode::EifNotFound));
    });
    world.settle();
    assert_eq!(world.status(), "FAILED");
    assert_eq!(world.attribute("error_type"), "EifNotFound");
    assert_eq!(world.alive(), 0);
}

#[test]
fn a_host_that_is_never_heard_of_is_given_up() {
    let mut world = World::with_record(seed_record());
    world.settle();
    world.later(299);
    world.settle();
    assert_eq!(world.status(), "DEPLOYING");
    world.later(2);
    world.settle();
    assert_eq!(world.attribute("error_type"), "HostUnreachable");
    assert_eq!(world.alive(), 0);
}

#[test]
fn a_nonce_that_nobody_answers_in_time_is_replaced_and_only_the_new_one_counts() {
    let mut world = World::with_record(seed_record());
    world.settle();
    world.host_answers(|assignment| {
        assignment.phase = HostPhase::Fetching;
        assignment.answer = None;
    });
    world.settle();
    let first = world.desired.values().next().unwrap().assignments[0].nonce.clone();
    world.later(300);
    world.settle();
    let second = world.desired.values().next().unwrap().assignments[0].nonce.clone();
    assert_eq!(second.sequence, first.sequence + 1);
    assert_ne!(second.bytes, first.bytes);
    world.host_works();
    world.settle();
    assert_eq!(world.status(), "DEPLOYED");
}

#[test]
fn a_deploy_that_takes_too_long_fails() {
    let mut world = World::with_record(seed_record());
    world.settle();
    world.host_answers(|assignment| {
        assignment.phase = HostPhase::Fetching;
        assignment.answer = None;
    });
    for _ in 0..7 {
        world.later(270);
        world.settle();
    }
    assert_eq!(world.attribute("error_type"), "DeployTimeout");
    assert_eq!(world.alive(), 0);
}

#[test]
fn an_instance_that_ec2_took_away_is_a_lost_host() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.instances[0].state = InstanceState::Terminated;
    world.settle();
    assert_eq!(world.status(), "FAILED");
    assert_eq!(world.attribute("error_type"), "HostLost");
}

#[test]
fn silence_alone_never_ends_a_deployed_enclave() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.observed.clear();
    world.sees_instances = false;
    world.later(3_599);
    world.settle();
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.alive(), 1);
}

#[test]
fn an_enclave_attests_again_in_time_and_its_reports_form_a_chain() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    for hour in 1..=4 {
        world.later(3_600);
        world.settle();
        assert_eq!(
            (world.status().as_str(), world.attribute("phase")),
            ("DEPLOYED", "RUNNING".into())
        );
        world.host_works();
        world.settle();
        assert_eq!(
            (world.status().as_str(), world.attribute("phase")),
            ("DEPLOYED", "RUNNING".into())
        );
        assert_eq!(world.reports.len(), hour + 1);
    }
    assert_eq!(world.attribute("generation"), 1);
    let mut previous = None;
    for report in world.reports.values() {
        let parsed: serde_json::Value = serde_json::from_str(report).unwrap();
        assert_eq!(parsed["previous"].as_str().map(str::to_owned), previous);
        previous = Some(hex::encode(sha2::Sha256::digest(report)));
    }
    assert_eq!(
        previous,
        world.entry.as_ref().unwrap().chain.as_ref().map(|head| head.sha256.clone())
    );
}

#[test]
fn an_enclave_that_does_not_attest_again_is_degraded_and_ended_in_the_end() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.later(3_600);
    world.settle();
    for miss in 1..=3 {
        world.later(300);
        world.settle();
        assert_eq!(
            (world.status().as_str(), world.attribute("phase")),
            ("DEPLOYED", "DEGRADED".into())
        );
        let warnings = world.attribute("deployment")["warnings"].to_string();
        assert!(warnings.contains(&format!("{miss} times in a row: no answer")), "{warnings}");
    }
    world.later(300);
    world.settle();
    assert_eq!(world.status(), "FAILED");
    assert_eq!(world.attribute("error_type"), "AttestationUnavailable");
    assert_eq!(world.alive(), 0);
}

#[test]
fn an_enclave_that_attests_again_after_misses_is_degraded_no_more() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.later(3_600);
    world.settle();
    world.later(300);
    world.settle();
    assert_eq!(world.attribute("phase"), "DEGRADED");
    world.host_works();
    world.settle();
    assert_eq!(world.attribute("phase"), "RUNNING");
}

#[test]
fn a_rejected_renewal_degrades_and_keeps_what_was_proven() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    let proven = world.attribute("attestation");
    world.later(3_600);
    world.settle();
    for desired in world.desired.values_mut() {
        desired.assignments[0].nonce.bytes.0[0] ^= 1;
    }
    world.host_works();
    world.settle();
    assert_eq!(
        (world.status().as_str(), world.attribute("phase")),
        ("DEPLOYED", "DEGRADED".into())
    );
    let mut shown = world.attribute("attestation");
    assert_ne!(shown["chain_head"], proven["chain_head"], "the rejection is reported too");
    shown["chain_head"] = proven["chain_head"].clone();
    assert_eq!(shown, proven);
    assert_eq!(world.reports.len(), 2);
}

/// The coordinator is away while the enclave answers, and for longer than the nonce lives.
#[test]
fn a_renewal_that_no_coordinator_looked_at_is_no_miss() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.later(3_600);
    world.settle();
    world.host_works();
    world.later(3_600);
    world.settle();
    assert_eq!(world.attribute("phase"), "RUNNING");
    world.host_works();
    world.settle();
    assert_eq!(world.reports.len(), 2);
}

#[test]
fn an_enclave_that_was_started_again_has_to_attest_again() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    let before = world.reports.len();
    world.host_answers(|assignment| {
        assignment.restarts = 1;
        assignment.phase = HostPhase::Attesting;
        assignment.answer = None;
    });
    world.settle();
    assert_eq!(world.status(), "DEPLOYING", "nothing is proven of the new enclave yet");
    assert_eq!(world.attribute("phase"), "REATTESTING");
    world.host_works();
    world.settle();
    assert_eq!(world.attribute("phase"), "RUNNING");
    assert_eq!(world.reports.len(), before + 1);
    assert!(
        matches!(world.state(), State::Deployed { incarnation, .. } if incarnation.restarts == 1)
    );
}

#[test]
fn another_enclave_has_to_attest_again_even_if_its_host_does_not_count_a_restart() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.host_answers(|assignment| {
        assignment.enclave.as_mut().unwrap().nitro_id = "i-1-enc2".to_owned();
    });
    world.settle();
    assert_eq!(world.status(), "DEPLOYING");
}

#[test]
fn an_enclave_that_answered_and_was_started_again_before_anybody_looked_gets_a_new_nonce() {
    let mut world = World::with_record(seed_record());
    world.settle();
    world.host_answers(|assignment| {
        assignment.restarts = 1;
        assignment.phase = HostPhase::Attesting;
        assignment.answer = None;
    });
    world.settle();
    let nonce = world.desired.values().next().unwrap().assignments[0].nonce.clone();
    assert_eq!(nonce.sequence, 2);
    world.host_works();
    world.settle();
    assert_eq!(world.status(), "DEPLOYED");
}

/// The coordinator is away for longer than a nonce lives, and for longer than a deploy may take.
#[test]
fn an_answer_that_no_coordinator_looked_at_in_time_is_asked_for_again() {
    for seconds in [301, 3_600] {
        let mut world = World::with_record(seed_record());
        world.settle();
        world.host_works();
        world.later(seconds);
        world.settle();
        assert_eq!(world.status(), "DEPLOYING", "after {seconds} s");
        world.host_works();
        world.settle();
        assert_eq!(world.status(), "DEPLOYED", "after {seconds} s");
        assert_eq!(world.instances.len(), 1);
    }
}

#[test]
fn a_record_that_cannot_be_written_does_not_keep_its_enclave_running() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.ask("PENDING_DESTROY");
    world.unwritable = true;
    world.settle();
    world.host_works();
    world.settle();
    assert_eq!(world.alive(), 0);
    world.unwritable = false;
    world.settle();
    assert_eq!(world.status(), "DESTROYED");
}

#[test]
fn a_status_that_is_no_text_is_overwritten() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.record.as_mut().unwrap().insert("status".to_owned(), json!(7));
    world.settle();
    assert_eq!(world.status(), "DEPLOYED");
}

#[test]
fn a_host_that_gives_up_without_a_reason_fails_too() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.host_answers(|assignment| assignment.phase = HostPhase::Failed);
    world.settle();
    assert_eq!(world.status(), "FAILED");
    assert_eq!(world.failure_code(), Some(FailureCode::EnclaveStopped));
}

#[test]
fn a_rejected_enclave_is_ended_although_its_report_cannot_be_stored() {
    let mut world = World::with_record(seed_record());
    world.settle();
    for desired in world.desired.values_mut() {
        desired.assignments[0].nonce.bytes.0[0] ^= 1;
    }
    world.host_works();
    while !matches!(world.next(), Step::StoreReport(_)) {
        assert!(world.step(false));
    }
    world.later(60);
    assert!(!matches!(world.next(), Step::StoreReport(_)));
    world.settle();
    assert_eq!(world.alive(), 0);
}

#[test]
fn waiting_for_a_deleted_records_host_to_drain_has_an_end_in_the_future() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.record = None;
    world.settle();
    world.later(61);
    world.settle();
    let Step::Wait(Some(until)) = world.next() else { panic!("{:?}", world.next()) };
    assert!(until > world.now);
}

#[test]
fn measurements_that_do_not_name_the_image_do_not_make_it_verified() {
    let other = json!({"debug_mode": false, "expected_pcrs": {"5": "00".repeat(48)}});
    let mut world = World::with_record(record_with(&other));
    world.deploy();
    assert_eq!(world.attribute("attestation")["verdict"], "authentic");
}

#[test]
fn a_configuration_written_just_before_the_acknowledgement_is_the_one_that_runs() {
    let mut world = World::with_record(seed_record());
    assert!(world.step(false));
    // The projection's condition holds: the status is the same.
    let Step::Project(_) = world.next() else { panic!("not acknowledged") };
    world.write(record_with(&json!({"memory_mib": 2048})));
    assert!(world.step(false));
    world.settle();
    assert_eq!(world.desired.values().next().unwrap().assignments[0].memory_mib, 2_048);
}

#[test]
fn the_failure_is_shown_and_not_an_older_refusal() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.write(record_with(&json!({"memory_mib": 2048})));
    world.settle();
    world.write(seed_record());
    world.settle();
    assert_eq!(world.attribute("error_type"), json!(null), "asking for what runs settles it");
    world.write(record_with(&json!({"memory_mib": 2048})));
    world.settle();
    world.instances[0].state = InstanceState::Terminated;
    world.settle();
    assert_eq!(world.attribute("error_type"), "HostLost");
}

#[test]
fn an_edit_without_a_request_is_pointed_out() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.record.as_mut().unwrap()["configuration"]["memory_mib"] = json!(2_048);
    world.settle();
    let warnings = &world.attribute("deployment")["warnings"];
    assert!(warnings.to_string().contains("not the one that runs"), "{warnings}");
}

#[test]
fn reports_form_a_chain() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.host_answers(|assignment| assignment.restarts = 1);
    world.settle();
    world.host_works();
    world.settle();
    let reports: Vec<serde_json::Value> =
        world.reports.values().map(|report| serde_json::from_str(report).unwrap()).collect();
    assert_eq!(reports.len(), 2);
    assert_eq!(reports[0]["previous"], json!(null));
    let head = &world.entry.as_ref().unwrap().chain.as_ref().unwrap().sha256;
    assert_eq!(reports[1]["previous"].as_str().unwrap().len(), 64);
    assert_ne!(reports[1]["previous"].as_str().unwrap(), head);
}

#[test]
fn a_host_that_does_not_drain_in_time_is_terminated_all_the_same() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.ask("PENDING_DESTROY");
    world.settle();
    assert_eq!(world.alive(), 1);
    world.later(60);
    world.settle();
    assert_eq!(world.status(), "DESTROYED");
    assert_eq!(world.alive(), 0);
}

#[test]
fn what_the_web_app_wrote_is_never_changed() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.ask("PENDING_DESTROY");
    world.settle();
    world.host_works();
    world.settle();
    let seed = seed_record();
    for name in ["id", "configuration", "created_at"] {
        assert_eq!(world.attribute(name), seed[name]);
    }
}

#[test]
fn an_end_that_takes_too_long_is_told_once_and_tried_on() {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world.ask("PENDING_DESTROY");
    while !matches!(world.state(), State::Draining { .. }) {
        assert!(world.step(false));
    }
    world.later(1_201);
    let told = |world: &World| {
        let entry = world.entry.as_ref().unwrap();
        entry.events.iter().filter(|event| event.text == "OVERDUE: not ended within 1200 s").count()
    };
    // The status first, then the note.
    assert!(world.step(false) && world.step(false));
    assert_eq!(told(&world), 1);
    world.settle();
    assert_eq!(told(&world), 1);
    assert_eq!(world.status(), "DESTROYED");
}

#[test]
fn an_enclave_that_is_to_run_always_leaves_an_instance_that_aws_takes_away() {
    let mut world = World::with_record(record_with(&json!({"restart": "always"})));
    world.deploy();
    let old = world.attribute("instance_id");
    world.announces(true);
    world.settle();
    assert_eq!((world.status().as_str(), world.attribute("phase")), ("DEPLOYING", "MOVING".into()));
    assert_eq!(world.alive(), 1, "its host is asked to end the enclave first");
    world.host_works();
    world.settle();
    assert_eq!((world.instances.len(), world.alive()), (2, 1));
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED");
    assert_ne!(world.attribute("instance_id"), old);
    let warnings = world.attribute("deployment")["warnings"].to_string();
    assert!(!warnings.contains("its host says"), "that was said of the other: {warnings}");
    assert_eq!(world.reports.len(), 2, "it proves itself anew");
}

#[test]
fn a_host_that_does_not_let_go_is_left_all_the_same() {
    let mut world = World::with_record(record_with(&json!({"restart": "always"})));
    world.deploy();
    world.announces(true);
    world.settle();
    world.later(61);
    world.settle();
    assert_eq!((world.instances.len(), world.alive()), (2, 1));
}

#[test]
fn an_announcement_that_takes_nothing_away_is_shown_and_moves_nobody() {
    let mut world = World::with_record(record_with(&json!({"restart": "always"})));
    world.deploy();
    world.announces(false);
    world.settle();
    assert_eq!(world.status(), "DEPLOYED");
    let warnings = world.attribute("deployment")["warnings"].to_string();
    assert!(warnings.contains("its host says: EC2 has scheduled something"), "{warnings}");
}

#[test]
fn an_enclave_that_need_not_run_always_stays_until_its_instance_ends() {
    for restart in ["never", "on-failure"] {
        let mut world = World::with_record(record_with(&json!({"restart": restart})));
        world.deploy();
        world.announces(true);
        world.settle();
        assert_eq!(world.status(), "DEPLOYED", "{restart}");
    }
}

/// A parent that makes announcements up moves its own enclave, and not for ever.
#[test]
fn announcements_move_an_enclave_a_few_times_and_then_no_more() {
    let mut world = World::with_record(record_with(&json!({"restart": "always"})));
    world.deploy();
    for _ in 0..30 {
        world.announces(true);
        world.settle();
        world.deploy();
    }
    assert_eq!(world.status(), "DEPLOYED");
    assert_eq!(world.instances.len(), 10);
    // A day later what was long ago no longer counts.
    world.later(86_400);
    world.settle();
    world.deploy();
    world.announces(true);
    world.settle();
    world.deploy();
    assert_eq!(world.instances.len(), 11);
}

/// EC2 stops an instance that it retires; started again, it is another one.
#[test]
fn what_was_announced_before_an_instance_was_stopped_and_started_again_is_over() {
    for restart in ["on-failure", "always"] {
        let mut world = World::with_record(record_with(&json!({"restart": restart})));
        world.settle();
        world.host_works();
        // Before anybody could act upon it.
        world.announces(true);
        world.instances[0].state = InstanceState::Stopped;
        world.settle();
        for observed in world.observed.values_mut() {
            // It is answered by the agent of the new start, which heard of nothing.
            (observed.announced, observed.is_taken_away) = (None, false);
        }
        world.host_works();
        world.settle();
        assert_eq!(world.status(), "DEPLOYED", "{restart}");
        assert_eq!(world.instances.len(), 1, "{restart}");
        let warnings = world.attribute("deployment")["warnings"].to_string();
        assert!(!warnings.contains("its host says"), "{warnings}");
    }
}

#[test]
fn an_enclave_that_moves_waits_for_a_place_and_fails_when_there_is_none_for_long() {
    let mut world = World::with_record(record_with(&json!({"restart": "always"})));
    world.deploy();
    world.announces(true);
    world.fate = LaunchFate::Refused;
    world.deploy();
    assert_eq!(
        (world.status().as_str(), world.attribute("phase")),
        ("DEPLOYING", "WAITING".into())
    );
    let warnings = world.attribute("deployment")["warnings"].to_string();
    assert!(warnings.contains("tried again at"), "{warnings}");
    world.later(61);
    world.deploy();
    assert_eq!((world.status().as_str(), world.alive()), ("DEPLOYED", 1));

    world.announces(true);
    world.fate = LaunchFate::Refused;
    world.deploy();
    world.later(1_801);
    world.settle();
    assert_eq!(world.status(), "FAILED");
    assert_eq!(world.failure_code(), Some(FailureCode::CapacityUnavailable));
    assert_eq!(world.alive(), 0);
}

#[test]
fn an_enclave_that_waits_for_a_place_is_destroyed_when_asked() {
    let mut world = World::with_record(record_with(&json!({"restart": "always"})));
    world.deploy();
    world.announces(true);
    world.fate = LaunchFate::Refused;
    world.deploy();
    world.ask("PENDING_DESTROY");
    world.settle();
    assert_eq!((world.status().as_str(), world.alive()), ("DESTROYED", 0));
    assert_eq!(world.instances.len(), 1);
}

#[test]
fn a_destroy_while_it_moves_ends_it() {
    let mut world = World::with_record(record_with(&json!({"restart": "always"})));
    world.deploy();
    world.announces(true);
    world.settle();
    world.ask("PENDING_DESTROY");
    world.deploy();
    assert_eq!(world.status(), "DESTROYED");
    assert_eq!((world.instances.len(), world.alive()), (1, 0));
}
