//! What one enclave costs in calls of AWS.

use crate::system::{LIMIT, System, record};
use serde_json::json;
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// How many calls of DynamoDB the coordinator may make for one enclave, from the request to deploy to
/// its end; a transaction counts as one.
const MOST_DYNAMODB: u64 = 20;
/// And how many of EC2.
const MOST_EC2: u64 = 6;

/// Service and operation of each call, and how often it was made.
type Counts = BTreeMap<(String, String), u64>;

/// The calls that the coordinator's figures show.
fn counts(metrics: &str) -> Counts {
    let count = |line: &str| {
        let labels = line.strip_prefix("bailey_api_calls_total{service=\"")?;
        let (service, rest) = labels.split_once("\",operation=\"")?;
        let (operation, times) = rest.split_once("\"} ")?;
        Some(((service.to_owned(), operation.to_owned()), times.parse().unwrap()))
    };
    metrics.lines().filter_map(count).collect()
}

fn between(before: &Counts, after: &Counts) -> Counts {
    let more = |(call, times): (&(String, String), &u64)| {
        (call.clone(), times - before.get(call).copied().unwrap_or_default())
    };
    after.iter().map(more).filter(|(_, times)| *times > 0).collect()
}

fn of_service(counts: &Counts, service: &str) -> u64 {
    counts.iter().filter(|((of, _), _)| of == service).map(|(_, times)| times).sum()
}

/// What the tables' streams are read with, enclave or no enclave.
fn without_polls(mut counts: Counts) -> Counts {
    counts.retain(|(service, _), _| service != "DynamoDB Streams");
    counts
}

fn table(title: &str, counts: &Counts) -> String {
    let mut text = format!("{title}\n");
    for ((service, operation), times) in counts {
        let _ = writeln!(text, "  {service:<17} {operation:<22} {times:>4}");
    }
    text
}

/// Waits until the coordinator has read everything that is in the streams, and has nothing to do.
async fn settled(system: &System) -> Counts {
    let polls = |counts: &Counts| of_service(counts, "DynamoDB Streams");
    let begun = polls(&counts(&system.metrics().await));
    let settled = async {
        loop {
            let metrics = system.metrics().await;
            let counts = counts(&metrics);
            // A dozen reads are at least three of each shard.
            let is_idle = metrics.contains("\nbailey_queue_age_seconds 0.0\n");
            let has_swept = metrics.contains("\nbailey_sweeps_total{outcome=\"done\"} 1\n");
            if is_idle && has_swept && polls(&counts) >= begun + 12 {
                return counts;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let settled = tokio::time::timeout(LIMIT, settled).await;
    settled.expect("the coordinator comes to rest")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_enclave_from_deploy_to_destroy_stays_within_its_budget_of_calls() {
    let rare_sweeps = [("sweep_interval_s", 3_600)];
    let agents = [("beat_interval_ms", 500), ("poll_idle_ms", 1_000)];
    let mut system = System::without_coordinator(&rare_sweeps, &agents).await;
    system.cloud.configure_coordinator("metrics_listen", "127.0.0.1:0");
    system.cloud.start_coordinator().unwrap();

    let before = settled(&system).await;
    let idle = between(&before, &settled(&system).await);
    assert_eq!(
        without_polls(idle),
        Counts::new(),
        "nothing is called for while there is no enclave"
    );

    let before = settled(&system).await;
    system.put_record(&record("counted", &json!({}))).await.unwrap();
    let deployed = system.reaches("counted", "DEPLOYED").await;
    let at_deployed = settled(&system).await;
    let host = deployed["deployment"]["host"].as_str().unwrap().to_owned();
    let agent = idle_agent(&system, &host).await;
    let running = between(&at_deployed, &settled(&system).await);
    assert_eq!(without_polls(running), Counts::new(), "an enclave that runs costs no calls");
    system.set_status("counted", "PENDING_DESTROY").await.unwrap();
    system.reaches("counted", "DESTROYED").await;
    let after = settled(&system).await;

    let deploy = without_polls(between(&before, &at_deployed));
    let destroy = without_polls(between(&at_deployed, &after));
    let whole = without_polls(between(&before, &after));
    let budget = table("the coordinator's calls for one enclave", &whole);
    println!(
        "{budget}{}{}",
        table("of these to deploy it", &deploy),
        table("and to end it", &destroy)
    );
    println!("{agent}");
    assert!(of_service(&whole, "DynamoDB") <= MOST_DYNAMODB, "{budget}");
    assert!(of_service(&whole, "EC2") <= MOST_EC2, "{budget}");
    system.end().await;
}

/// The agent's calls until its host is idle, and those of an idle one between two heartbeats.
async fn idle_agent(system: &System, host: &str) -> String {
    let beat = || async { system.beat(host).await.unwrap().unwrap() };
    let first = beat().await;
    let later = async {
        loop {
            let later = beat().await;
            let beats = |beat: &bailey_model::hosts::Beat| beat.calls["DynamoDB.UpdateItem"];
            if beats(&later) >= beats(&first) + 4 {
                return later;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let later = tokio::time::timeout(LIMIT, later).await.expect("the agent's heart beats");
    let mut text =
        String::from("the agent's calls, and those within 4 heartbeats of an idle host\n");
    for (call, times) in &later.calls {
        let before = first.calls.get(call).copied().unwrap_or_default();
        let _ = writeln!(text, "  {call:<24} {before:>4} {:>4}", times - before);
    }
    text
}
