use super::*;
use crate::testing::{NOW, assignment};
use bailey_model::failure::FailureCode;
use proptest::prelude::*;

fn failure() -> Failure {
    Failure::new(FailureCode::EifInvalid, "because", NOW)
}

fn stages() -> Vec<Stage> {
    let later = UnixMillis(NOW.0 + 1);
    let ending = |failure, retry_at| Stage::Ending { failure, tries: 0, retry_at };
    vec![
        Stage::Accepted,
        Stage::Fetched,
        Stage::Placed,
        Stage::Resting { until: NOW },
        Stage::Resting { until: later },
        Stage::Started(RunningEnclave { nitro_id: "i-enc".to_owned(), cid: 16 }),
        ending(None, NOW),
        ending(Some(failure()), later),
        Stage::Stopped,
        Stage::Failed(failure()),
    ]
}

fn works() -> Vec<Option<(WorkId, Work)>> {
    let works = [Work::Fetch, Work::MakeRoom, Work::Start, Work::Attest { sequence: 1 }, Work::End];
    let works = works.into_iter().map(|work| Some((WorkId(1), work)));
    works.chain([None]).collect()
}

fn unit(wanted: Wanted, stage: Stage, work: Option<(WorkId, Work)>) -> Unit {
    let assignment = assignment("a", 1);
    Unit {
        name: EnclaveName::of(&assignment.enclave_id, assignment.generation),
        memory: Memory::of(assignment),
        wanted,
        stage,
        work,
        noted: None,
        finding: Finding::default(),
    }
}

/// Every combination of what is wanted, how far it is and what is under way.
fn units() -> impl Iterator<Item = Unit> {
    [Wanted::Run, Wanted::End].into_iter().flat_map(|wanted| {
        stages().into_iter().flat_map(move |stage| {
            works().into_iter().map(move |work| unit(wanted, stage.clone(), work))
        })
    })
}

#[test]
fn never_two_things_are_done_at_once() {
    for unit in units().filter(|unit| unit.work.is_some()) {
        assert!(matches!(next_step(&unit, NOW), Step::Wait | Step::Cancel), "{unit:?}");
    }
}

#[test]
fn nothing_is_started_that_is_not_wanted() {
    for unit in units().filter(|unit| unit.wanted == Wanted::End) {
        let step = next_step(&unit, NOW);
        let harmless = matches!(
            step,
            Step::Wait | Step::WaitUntil(_) | Step::Cancel | Step::Settle | Step::Do(Work::End)
        );
        assert!(harmless, "{step:?} for {unit:?}");
    }
}

#[test]
fn nitro_cli_is_never_interrupted() {
    for unit in units() {
        let busy = matches!(unit.work, Some((_, Work::MakeRoom | Work::Start | Work::End)));
        assert!(!busy || next_step(&unit, NOW) == Step::Wait, "{unit:?}");
    }
}

#[test]
fn a_failure_is_final() {
    for wanted in [Wanted::Run, Wanted::End] {
        let unit = unit(wanted, Stage::Failed(failure()), None);
        assert_eq!(next_step(&unit, NOW), Step::Wait);
    }
}

#[test]
fn what_must_not_run_is_ended_before_anything_else() {
    for wanted in [Wanted::Run, Wanted::End] {
        let ending = Stage::Ending { failure: Some(failure()), tries: 0, retry_at: NOW };
        assert_eq!(next_step(&unit(wanted, ending, None), NOW), Step::Do(Work::End));
    }
}

proptest! {
    #[test]
    fn a_pause_ends_exactly_when_it_is_over(until in 0_u64..1_000, now in 0_u64..1_000) {
        let (until, now) = (UnixMillis(until), UnixMillis(now));
        let unit = unit(Wanted::Run, Stage::Resting { until }, None);
        let expected = if until > now { Step::WaitUntil(until) } else { Step::Resume };
        prop_assert_eq!(next_step(&unit, now), expected);
    }
}
