use super::*;
use crate::view::RecordView;
use serde_json::{Value, json};

const START: u64 = 1_735_732_800_000;

fn at(ms: u64) -> UnixMillis {
    UnixMillis(START + ms)
}

fn view(generation: u64, phase: &str, phases: &[(&str, u64)], more: &Value) -> RecordView {
    let phases: serde_json::Map<String, Value> = phases
        .iter()
        .map(|(phase, ms)| ((*phase).to_owned(), at(*ms).to_string().into()))
        .collect();
    let mut deployment = json!({"phases": phases});
    for (name, value) in more.as_object().unwrap() {
        deployment[name] = value.clone();
    }
    let record = json!({
        "id": "e", "status": "DEPLOYING", "phase": phase, "generation": generation,
        "deployment": deployment,
    });
    crate::view::view(record.as_object().unwrap()).unwrap()
}

fn phase(ms: u64, phase: &str, detail: Option<&str>) -> Line {
    let after = Duration::from_millis(ms);
    Line::Phase { after, phase: phase.to_owned(), detail: detail.map(str::to_owned) }
}

#[test]
fn phases_between_two_looks_are_told_in_order_with_their_own_times() {
    let mut watching = Watching::everything();
    let first = view(1, "ACCEPTED", &[("ACCEPTED", 0)], &json!({}));
    assert_eq!(watching.observe(&first, at(40)), [phase(0, "ACCEPTED", None)]);
    let host = json!({"instance_id": "i-1", "instance_type": "m5.xlarge",
        "requested_instance_type": "m5.large", "availability_zone": "eu-west-1a"});
    let phases = [("FETCHING", 3_000), ("BOOTING", 900), ("ACCEPTED", 0), ("LAUNCHING", 100)];
    let later = view(1, "FETCHING", &phases, &host);
    assert_eq!(
        watching.observe(&later, at(3_100)),
        [
            phase(100, "LAUNCHING", Some("m5.xlarge (m5.large was asked for)")),
            phase(900, "BOOTING", Some("i-1 in eu-west-1a")),
            phase(3_000, "FETCHING", None),
        ]
    );
    assert_eq!(watching.observe(&later, at(3_200)), []);
}

#[test]
fn phases_of_one_instant_are_told_in_their_usual_order() {
    let mut watching = Watching::everything();
    let snapshot =
        view(1, "BOOTING", &[("BOOTING", 0), ("ACCEPTED", 0), ("LAUNCHING", 0)], &json!({}));
    let told: Vec<_> = watching.observe(&snapshot, at(0));
    assert_eq!(
        told,
        [phase(0, "ACCEPTED", None), phase(0, "LAUNCHING", None), phase(0, "BOOTING", None)]
    );
}

#[test]
fn what_happened_before_the_request_is_not_told() {
    let before =
        view(3, "FAILED", &[("ACCEPTED", 0), ("FAILED", 50)], &json!({"warnings": ["old"]}));
    let mut watching = Watching::after_request(Some(&before), at(1_000));
    assert_eq!(watching.observe(&before, at(1_010)), []);
    let after = view(4, "ACCEPTED", &[("ACCEPTED", 1_200)], &json!({"warnings": ["new"]}));
    assert_eq!(
        watching.observe(&after, at(1_300)),
        [
            phase(200, "ACCEPTED", None),
            Line::Warning { after: Duration::from_millis(300), text: "new".to_owned() },
        ]
    );
}

#[test]
fn destroying_tells_the_later_phases_of_the_same_generation() {
    let before = view(1, "RUNNING", &[("ACCEPTED", 0), ("RUNNING", 500)], &json!({}));
    let mut watching = Watching::after_request(Some(&before), at(10_000));
    let phases = [("ACCEPTED", 0), ("RUNNING", 500), ("DRAINING", 10_400)];
    let after = view(1, "DRAINING", &phases, &json!({}));
    assert_eq!(watching.observe(&after, at(10_500)), [phase(400, "DRAINING", None)]);
}

#[test]
fn a_phase_that_is_entered_again_is_told_again() {
    let mut watching = Watching::everything();
    let phases = [("ATTESTING", 0), ("RUNNING", 100)];
    watching.observe(&view(1, "RUNNING", &phases, &json!({})), at(100));
    let again = view(1, "ATTESTING", &phases, &json!({"enclave_cid": 16}));
    assert_eq!(
        watching.observe(&again, at(700)),
        [phase(700, "ATTESTING", Some("enclave CID 16"))]
    );
}

#[test]
fn progress_is_told_when_it_changes_and_only_while_fetching() {
    let mut watching = Watching::everything();
    let phases = [("FETCHING", 0)];
    let part = |done: u64| json!({"progress": {"done_bytes": done, "total_bytes": 9}});
    let fetching = view(1, "FETCHING", &phases, &part(3));
    let progress = ProgressView { done_bytes: 3, total_bytes: 9 };
    assert_eq!(
        watching.observe(&fetching, at(10)),
        [phase(0, "FETCHING", None), Line::Progress { after: Duration::from_millis(10), progress },]
    );
    assert_eq!(watching.observe(&fetching, at(20)), []);
    let starting = view(1, "STARTING", &phases, &part(9));
    assert_eq!(watching.observe(&starting, at(30)), [phase(30, "STARTING", None)]);
}

#[test]
fn the_end_is_left_to_the_closing_line() {
    let mut watching = Watching::everything();
    let failed = view(1, "FAILED", &[("ACCEPTED", 0), ("FAILED", 70)], &json!({}));
    assert_eq!(watching.observe(&failed, at(80)), [phase(0, "ACCEPTED", None)]);
}

#[test]
fn a_record_that_bailey_has_not_touched_tells_nothing() {
    let record = json!({"id": "e", "status": "PENDING_DEPLOY"});
    let view = crate::view::view(record.as_object().unwrap()).unwrap();
    assert_eq!(Watching::everything().observe(&view, at(0)), []);
}

#[test]
fn without_a_goal_every_good_end_is_one_and_failure_is_none() {
    for status in Status::ALL {
        let expected = match status {
            Status::Failed => Progress::Missed,
            Status::Deployed | Status::Destroyed | Status::Paused => Progress::Reached,
            _ => Progress::Continue,
        };
        assert_eq!(progress(&[], Some(status)), expected, "{status}");
    }
    assert_eq!(progress(&[], None), Progress::Continue);
}

#[test]
fn with_a_goal_only_ends_without_a_way_to_it_miss_it() {
    for status in Status::ALL {
        let expected = match status {
            Status::Deployed => Progress::Reached,
            Status::Failed | Status::Destroyed => Progress::Missed,
            _ => Progress::Continue,
        };
        assert_eq!(progress(&[Status::Deployed], Some(status)), expected, "{status}");
    }
    assert_eq!(progress(&[Status::Failed], Some(Status::Failed)), Progress::Reached);
    assert_eq!(progress(&[Status::Destroyed], Some(Status::Deployed)), Progress::Continue);
}
