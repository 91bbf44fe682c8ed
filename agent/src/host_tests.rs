use super::*;
use crate::{
    testing::{NOW, assignment, image, nonce},
    workload::Finding,
};
use bailey_model::{Pcr, failure::FailureCode, hosts::HostPhase, record::RestartPolicy};
use std::time::Duration;

const NITRO_ID: &str = "i-0abc-enc1";

fn desired(version: u64, assignments: Vec<Assignment>) -> Desired {
    Desired { version, drain: false, assignments, pool: None }
}

fn running(assignment: &Assignment) -> EnclaveInfo {
    EnclaveInfo {
        name: name_of(assignment).as_str().to_owned(),
        nitro_id: NITRO_ID.to_owned(),
        cid: 16,
        cpu_count: 2,
        memory_mib: 1_024,
        running: true,
    }
}

fn enclave() -> RunningEnclave {
    RunningEnclave { nitro_id: NITRO_ID.to_owned(), cid: 16 }
}

/// A host that has read `desired` and found `enclaves` running.
fn host(desired: Desired, enclaves: Vec<EnclaveInfo>) -> Host {
    let mut host = Host::default();
    host.desire(desired);
    host.listed(host.mark(), enclaves, NOW);
    host
}

/// The only order, a piece of work.
fn work(host: &mut Host, now: UnixMillis) -> (WorkId, Task) {
    match host.orders(now).as_slice() {
        [Order::Do(id, task)] => (*id, task.clone()),
        other => panic!("expected one piece of work, found {other:?}"),
    }
}

/// Does the only work that is ordered; returns it.
fn done(host: &mut Host, outcome: Outcome, now: UnixMillis) -> Task {
    let (id, task) = work(host, now);
    host.finish(id, outcome, now);
    task
}

fn answer(sequence: u64) -> Outcome {
    Outcome::Attested(Answer { sequence, document: vec![0x84].into() })
}

fn broken(code: FailureCode) -> Outcome {
    Outcome::Failed(Failure::new(code, "because", NOW))
}

fn started(assignment: Assignment) -> Host {
    let mut host = host(desired(1, vec![assignment]), vec![]);
    for outcome in
        [Outcome::Fetched(image()), Outcome::Roomy, Outcome::Started(enclave()), answer(1)]
    {
        done(&mut host, outcome, NOW);
    }
    assert_eq!(host.orders(NOW), []);
    host
}

fn seen(host: &Host) -> ObservedAssignment {
    let (_, mut assignments) = host.observed().unwrap();
    assert_eq!(assignments.len(), 1);
    assignments.remove(0)
}

#[test]
fn an_assignment_goes_through_every_phase_once() {
    let host = started(assignment("a", 1));
    let seen = seen(&host);
    assert_eq!(seen.phase, HostPhase::Running);
    let phases: Vec<HostPhase> = seen.entered.keys().copied().collect();
    assert_eq!(
        phases,
        [
            HostPhase::Accepted,
            HostPhase::Fetching,
            HostPhase::Allocating,
            HostPhase::Starting,
            HostPhase::Attesting,
            HostPhase::Running,
        ]
    );
    assert_eq!(seen.enclave, Some(enclave()));
    assert_eq!(seen.measurements, image().measurements);
    assert_eq!(seen.answer.unwrap().sequence, 1);
    assert!(host.is_settled());
}

#[test]
fn nothing_is_begun_or_reported_before_the_running_enclaves_are_known() {
    let mut host = Host::default();
    host.desire(desired(1, vec![assignment("a", 1)]));
    assert_eq!(host.orders(NOW), []);
    assert_eq!(host.observed(), None);
}

#[test]
fn an_enclave_that_runs_is_adopted_and_never_started_again() {
    let assignment = assignment("a", 1);
    let mut host = host(desired(1, vec![assignment.clone()]), vec![running(&assignment)]);
    let (_, task) = work(&mut host, NOW);
    assert!(matches!(task, Task::Attest(AttestOrder { cid: 16, sequence: 1, .. })), "{task:?}");
    assert_eq!(seen(&host).phase, HostPhase::Attesting);
}

#[test]
fn a_restarted_agent_goes_on_where_the_last_one_was() {
    let before = started(assignment("a", 1));
    let memories = before.memories().map(|(_, memory)| memory.clone()).collect();
    let mut host = Host::new(before.seen_version(), memories);
    host.listed(host.mark(), vec![running(&assignment("a", 1))], NOW);
    host.desire(desired(1, vec![assignment("a", 1)]));
    assert_eq!(host.orders(NOW), []);
    assert_eq!(seen(&host), seen(&before));
}

#[test]
fn an_enclave_that_ended_while_no_agent_ran_counts_as_a_restart() {
    let before = started(assignment("a", 1));
    let memories = before.memories().map(|(_, memory)| memory.clone()).collect();
    let mut host = Host::new(before.seen_version(), memories);
    host.listed(host.mark(), vec![], NOW);
    host.desire(desired(1, vec![assignment("a", 1)]));
    assert_eq!(host.orders(NOW), []);
    let seen = seen(&host);
    assert_eq!((seen.phase, seen.restarts, seen.answer), (HostPhase::Starting, 1, None));
}

#[test]
fn another_enclave_than_the_remembered_one_counts_as_a_restart_and_has_not_answered() {
    let before = started(assignment("a", 1));
    let memories = before.memories().map(|(_, memory)| memory.clone()).collect();
    let mut host = Host::new(before.seen_version(), memories);
    let other = EnclaveInfo { nitro_id: "i-1-enc99".to_owned(), ..running(&assignment("a", 1)) };
    host.listed(host.mark(), vec![other], NOW);
    host.desire(desired(1, vec![assignment("a", 1)]));
    assert_eq!(host.orders(NOW), [], "the nonce at hand was answered by the other one");
    let seen = seen(&host);
    assert_eq!((seen.restarts, seen.answer), (1, None));
    assert_eq!(seen.enclave.unwrap().nitro_id, "i-1-enc99");
}

#[test]
fn an_enclave_that_fails_to_attest_again_runs_on_and_waits_for_the_next_nonce() {
    let mut host = started(assignment("a", 1));
    for sequence in [2, 3] {
        let mut again = assignment("a", 1);
        again.nonce.sequence = sequence;
        host.desire(desired(sequence, vec![again]));
        let task = done(&mut host, broken(FailureCode::AttestationUnavailable), NOW);
        let Task::Attest(AttestOrder { sequence: asked, .. }) = task else { panic!("{task:?}") };
        assert_eq!(asked, sequence);
        assert_eq!(host.orders(NOW), []);
        let seen = seen(&host);
        assert_eq!((seen.phase, seen.answer.unwrap().sequence), (HostPhase::Running, 1));
    }
}

#[test]
fn a_mismatch_is_never_launched() {
    let mut assignment = assignment("a", 1);
    assignment.expected_pcrs.insert(0, Pcr([9; 48]));
    let mut host = host(desired(1, vec![assignment]), vec![]);
    done(&mut host, Outcome::Fetched(image()), NOW);
    assert_eq!(host.orders(NOW), []);
    let seen = seen(&host);
    assert_eq!(seen.phase, HostPhase::Failed);
    assert_eq!(seen.failure.unwrap().code, FailureCode::MeasurementMismatch);
    assert_eq!(seen.measurements, image().measurements);
}

#[test]
fn an_older_desired_state_is_ignored_even_when_an_earlier_agent_saw_the_newer() {
    let mut host = Host::new(Some(7), vec![]);
    assert!(!host.desire(desired(6, vec![assignment("a", 1)])));
    assert!(host.desire(desired(7, vec![])));
    assert!(!host.desire(desired(6, vec![assignment("a", 1)])));
    host.listed(host.mark(), vec![], NOW);
    assert_eq!(host.orders(NOW), []);
    assert_eq!(host.observed(), Some((7, vec![])));
}

#[test]
fn a_drain_ends_everything_and_shows_it_as_stopped() {
    let mut host = started(assignment("a", 1));
    host.desire(Desired { drain: true, ..desired(2, vec![assignment("a", 1)]) });
    let task = done(&mut host, Outcome::Ended, NOW);
    assert_eq!(task, Task::End(name_of(&assignment("a", 1))));
    assert_eq!(host.orders(NOW), []);
    assert_eq!(seen(&host).phase, HostPhase::Stopped);
    assert!(host.is_settled());
}

#[test]
fn what_is_no_longer_assigned_is_ended_and_then_no_longer_reported() {
    let mut host = started(assignment("a", 1));
    host.desire(desired(2, vec![]));
    let (id, _) = work(&mut host, NOW);
    assert_eq!(seen(&host).phase, HostPhase::Stopping);
    host.finish(id, Outcome::Ended, NOW);
    assert_eq!(host.orders(NOW), []);
    assert_eq!(host.observed(), Some((2, vec![])));
    assert_eq!(host.memories().count(), 0);
}

#[test]
fn a_missing_desired_state_never_ends_what_runs() {
    let before = started(assignment("a", 1));
    let memories = before.memories().map(|(_, memory)| memory.clone()).collect();
    let mut host = Host::new(before.seen_version(), memories);
    host.listed(host.mark(), vec![running(&assignment("a", 1))], NOW);
    assert_eq!(host.orders(NOW), []);
    assert_eq!(host.observed(), None);
    assert!(!host.is_unassigned());
}

#[test]
fn what_was_removed_while_no_agent_ran_is_reported_until_it_is_gone() {
    let before = started(assignment("a", 1));
    let memories = before.memories().map(|(_, memory)| memory.clone()).collect();
    let mut host = Host::new(before.seen_version(), memories);
    host.listed(host.mark(), vec![running(&assignment("a", 1))], NOW);
    host.desire(desired(2, vec![]));
    let (id, task) = work(&mut host, NOW);
    assert_eq!(task, Task::End(name_of(&assignment("a", 1))));
    assert_eq!(seen(&host).phase, HostPhase::Stopping);
    host.finish(id, Outcome::Ended, NOW);
    host.orders(NOW);
    assert_eq!(host.observed(), Some((2, vec![])));
}

#[test]
fn leftovers_are_ended_and_foreign_enclaves_left_alone() {
    let leftover = running(&assignment("forgotten", 1));
    let foreign = EnclaveInfo { name: "hello".to_owned(), ..leftover.clone() };
    let mut host = host(desired(1, vec![]), vec![leftover, foreign]);
    let task = done(&mut host, Outcome::Ended, NOW);
    assert_eq!(task, Task::End(name_of(&assignment("forgotten", 1))));
    assert_eq!(host.orders(NOW), []);
}

#[test]
fn a_leftover_that_does_not_end_is_tried_again_after_the_next_list() {
    let leftover = running(&assignment("forgotten", 1));
    let mut host = host(desired(1, vec![]), vec![leftover.clone()]);
    done(&mut host, broken(FailureCode::EnclaveStartFailed), NOW);
    assert_eq!(host.orders(NOW), []);
    host.listed(host.mark(), vec![leftover], NOW);
    assert!(matches!(work(&mut host, NOW), (_, Task::End(_))));
}

#[test]
fn a_crashed_enclave_is_started_again_after_a_pause_and_needs_a_new_nonce() {
    let mut host = started(assignment("a", 1));
    host.listed(host.mark(), vec![], NOW);
    assert_eq!(host.orders(NOW), []);
    let later = host.wake_at(NOW).unwrap();
    assert_eq!(later, NOW.plus(Duration::from_secs(1)));
    // The image is the one that ran before, whatever S3 holds by now.
    assert!(matches!(done(&mut host, Outcome::Roomy, later), Task::MakeRoom(_)));
    assert!(matches!(done(&mut host, Outcome::Started(enclave()), later), Task::Start(_)));
    assert_eq!(host.orders(later), []);
    let waiting = seen(&host);
    assert_eq!((waiting.phase, waiting.restarts), (HostPhase::Attesting, 1));
    assert_eq!(waiting.answer, None);

    let mut renewed = assignment("a", 1);
    renewed.nonce = nonce(2);
    host.desire(desired(2, vec![renewed]));
    done(&mut host, answer(2), later);
    assert_eq!(seen(&host).phase, HostPhase::Running);
}

#[test]
fn an_enclave_that_crashes_too_often_fails() {
    let mut host = started(assignment("a", 1));
    let mut now = NOW;
    for _ in 0..5 {
        host.listed(host.mark(), vec![], now);
        host.orders(now);
        now = host.wake_at(now).unwrap();
        done(&mut host, Outcome::Roomy, now);
        done(&mut host, Outcome::Started(enclave()), now);
    }
    host.listed(host.mark(), vec![], now);
    assert_eq!(host.orders(now), []);
    let failure = seen(&host).failure.unwrap();
    assert_eq!(failure.code, FailureCode::EnclaveStopped);
    assert_eq!(failure.message, "the enclave ended by itself again after 5 restarts within 600 s");
}

#[test]
fn an_enclave_that_is_never_to_be_restarted_fails_when_it_ends() {
    let mut assignment = assignment("a", 1);
    assignment.restart = RestartPolicy::Never;
    let mut host = started(assignment);
    host.listed(host.mark(), vec![], NOW);
    assert_eq!(host.orders(NOW), []);
    assert_eq!(seen(&host).failure.unwrap().code, FailureCode::EnclaveStopped);
}

#[test]
fn the_last_lines_of_a_console_stand_in_the_failure() {
    let mut assignment = assignment("a", 1);
    assignment.restart = RestartPolicy::Never;
    let mut host = started(assignment);
    let console = vec!["mounting".to_owned(), "Kernel panic".to_owned()];
    let finding = Finding { console, ..Finding::default() };
    host.hear(&Findings::from([(enclave().nitro_id, finding)]));
    host.listed(host.mark(), vec![], NOW);
    let message = seen(&host).failure.unwrap().message;
    assert!(message.ends_with(": its console said last: mounting / Kernel panic"), "{message}");
}

#[test]
fn a_list_from_before_a_start_does_not_make_the_enclave_vanish() {
    let mut host = host(desired(1, vec![assignment("a", 1)]), vec![]);
    done(&mut host, Outcome::Fetched(image()), NOW);
    done(&mut host, Outcome::Roomy, NOW);
    let mark = host.mark();
    done(&mut host, Outcome::Started(enclave()), NOW);
    assert!(!host.listed(mark, vec![], NOW));
    assert_eq!(seen(&host).phase, HostPhase::Attesting);
}

#[test]
fn a_failed_start_leaves_nothing_running_before_it_is_reported() {
    let mut host = host(desired(1, vec![assignment("a", 1)]), vec![]);
    done(&mut host, Outcome::Fetched(image()), NOW);
    done(&mut host, Outcome::Roomy, NOW);
    done(&mut host, broken(FailureCode::EnclaveStartFailed), NOW);
    assert_eq!(seen(&host).phase, HostPhase::Stopping);
    assert!(matches!(done(&mut host, Outcome::Ended, NOW), Task::End(_)));
    assert_eq!(host.orders(NOW), []);
    assert_eq!(seen(&host).failure.unwrap().code, FailureCode::EnclaveStartFailed);
}

#[test]
fn a_rejected_document_ends_the_enclave_and_a_restarted_agent_does_not_try_again() {
    let mut host = host(desired(1, vec![assignment("a", 1)]), vec![]);
    for outcome in [Outcome::Fetched(image()), Outcome::Roomy, Outcome::Started(enclave())] {
        done(&mut host, outcome, NOW);
    }
    done(&mut host, broken(FailureCode::AttestationRejected), NOW);
    assert!(matches!(done(&mut host, Outcome::Ended, NOW), Task::End(_)));
    let failed = seen(&host);
    assert_eq!((failed.phase, failed.enclave.clone()), (HostPhase::Failed, None));

    let memories = host.memories().map(|(_, memory)| memory.clone()).collect();
    let mut next = Host::new(host.seen_version(), memories);
    next.listed(next.mark(), vec![], NOW);
    next.desire(desired(1, vec![assignment("a", 1)]));
    assert_eq!(next.orders(NOW), []);
    assert_eq!(seen(&next), failed);
}

#[test]
fn an_enclave_that_cannot_be_ended_is_tried_again_and_never_called_stopped() {
    let mut host = started(assignment("a", 1));
    host.desire(desired(2, vec![]));
    done(&mut host, broken(FailureCode::EnclaveStartFailed), NOW);
    assert_eq!(host.orders(NOW), []);
    assert_eq!(seen(&host).phase, HostPhase::Stopping);
    let later = host.wake_at(NOW).unwrap();
    assert!(matches!(work(&mut host, later), (_, Task::End(_))));
}

#[test]
fn a_newer_nonce_replaces_a_question_that_is_under_way() {
    let mut host = host(desired(1, vec![assignment("a", 1)]), vec![]);
    for outcome in [Outcome::Fetched(image()), Outcome::Roomy, Outcome::Started(enclave())] {
        done(&mut host, outcome, NOW);
    }
    let (first, _) = work(&mut host, NOW);
    let mut renewed = assignment("a", 1);
    renewed.nonce = nonce(2);
    host.desire(desired(2, vec![renewed]));
    let orders = host.orders(NOW);
    let [Order::Cancel(cancelled), Order::Do(second, Task::Attest(order))] = orders.as_slice()
    else {
        panic!("unexpected orders {orders:?}");
    };
    assert_eq!((*cancelled, order.sequence), (first, 2));
    // The late answer to the first question changes nothing.
    host.finish(first, answer(1), NOW);
    assert_eq!(seen(&host).answer, None);
    host.finish(*second, answer(2), NOW);
    assert_eq!(seen(&host).answer.unwrap().sequence, 2);
}

#[test]
fn removal_during_a_fetch_stops_it_and_during_a_start_waits_for_it() {
    let mut host = host(desired(1, vec![assignment("a", 1)]), vec![]);
    let (fetch, _) = work(&mut host, NOW);
    host.desire(desired(2, vec![]));
    assert_eq!(host.orders(NOW), [Order::Cancel(fetch)]);
    assert_eq!(host.observed(), Some((2, vec![])));

    host.desire(desired(3, vec![assignment("b", 1)]));
    done(&mut host, Outcome::Fetched(image()), NOW);
    done(&mut host, Outcome::Roomy, NOW);
    let (start, _) = work(&mut host, NOW);
    host.desire(desired(4, vec![]));
    assert_eq!(host.orders(NOW), []);
    host.finish(start, Outcome::Started(enclave()), NOW);
    assert!(matches!(work(&mut host, NOW), (_, Task::End(_))));
}

#[test]
fn removal_comes_before_addition() {
    let mut host = started(assignment("a", 1));
    host.desire(desired(2, vec![assignment("b", 1)]));
    let orders = host.orders(NOW);
    let mut ids = BTreeMap::new();
    for order in &orders {
        match order {
            Order::Do(id, Task::End(_)) => ids.insert("end", *id),
            Order::Do(id, Task::Fetch(_)) => ids.insert("fetch", *id),
            other => panic!("unexpected order {other:?}"),
        };
    }
    host.finish(ids["fetch"], Outcome::Fetched(image()), NOW);
    assert_eq!(host.orders(NOW), []);
    host.finish(ids["end"], Outcome::Ended, NOW);
    assert!(matches!(work(&mut host, NOW), (_, Task::MakeRoom(_))));
}

#[test]
fn the_pool_is_planned_for_everything_that_is_wanted() {
    let both = vec![assignment("b", 1), assignment("a", 1)];
    let mut host = host(desired(1, both.clone()), vec![]);
    let orders = host.orders(NOW);
    let [Order::Do(first, Task::Fetch(_)), Order::Do(_, Task::Fetch(_))] = orders.as_slice() else {
        panic!("unexpected orders {orders:?}");
    };
    host.finish(*first, Outcome::Fetched(image()), NOW);
    let (_, task) = work(&mut host, NOW);
    let Task::MakeRoom(room) = task else { panic!("unexpected task {task:?}") };
    let names: Vec<EnclaveName> = room.wanted.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, both.iter().map(name_of).collect::<Vec<_>>());
}

#[test]
fn a_host_without_nitro_cli_fails_its_assignment_instead_of_waiting() {
    let mut host = Host::default();
    host.desire(desired(1, vec![assignment("a", 1)]));
    for _ in 0..LISTS_TO_TRY {
        assert_eq!(host.orders(NOW), []);
        host.not_listed();
    }
    assert!(matches!(work(&mut host, NOW), (_, Task::Fetch(_))));
}

#[test]
fn a_host_that_remembers_an_enclave_waits_for_a_list_however_long() {
    let before = started(assignment("a", 1));
    let memories = before.memories().map(|(_, memory)| memory.clone()).collect();
    let mut host = Host::new(before.seen_version(), memories);
    host.desire(desired(1, vec![assignment("a", 1)]));
    for _ in 0..10 * LISTS_TO_TRY {
        host.not_listed();
        assert_eq!(host.orders(NOW), []);
    }
}
