//! What happened to an enclave, as `bailey events` tells it.

use crate::{
    images::program,
    system::{LIMIT, System, record},
};
use serde_json::{Value, json};
use std::process::{Output, Stdio};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

fn events(system: &System, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("bailey"));
    command.envs(system.env()).arg("events").args(arguments).kill_on_drop(true);
    command
}

async fn output(system: &System, arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = events(system, arguments).output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// The texts among these that are names of states, in their order.
fn states(told: &str) -> Vec<&str> {
    told.lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .filter(|word| word.chars().all(|c| c.is_ascii_uppercase()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_events_of_an_enclave_are_told_from_its_acceptance_to_its_end() {
    let system = System::start().await;
    let (code, _, said) = output(&system, &["told"]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("knows no enclave `told`"), "{said}");

    // A reader that is there before the first request.
    let mut reader = events(&system, &["told", "--follow"]).stdout(Stdio::piped()).spawn().unwrap();
    system.put_record(&record("told", &json!({}))).await.unwrap();
    system.reaches("told", "DEPLOYED").await;
    let (code, told, _) = output(&system, &["told"]).await;
    assert_eq!(code, Some(0));
    let way = ["ACCEPTED", "LAUNCHING", "BOOTING", "VERIFYING", "RUNNING"];
    assert_eq!(states(&told), way, "{told}");

    let (code, json, _) = output(&system, &["told", "--json"]).await;
    assert_eq!(code, Some(0));
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (number, event) in (1..).zip(&lines) {
        assert_eq!(event["number"], number, "{event}");
    }
    assert_eq!(lines[0]["text"], "ACCEPTED");

    system.set_status("told", "PENDING_DESTROY").await.unwrap();
    let mut followed = Vec::new();
    let mut lines = BufReader::new(reader.stdout.take().unwrap()).lines();
    let to_its_end = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            followed.push(line);
        }
        reader.wait().await.unwrap()
    };
    let status = tokio::time::timeout(LIMIT, to_its_end).await.expect("the reader ends by itself");
    assert_eq!(status.code(), Some(0));
    let (_, told, _) = output(&system, &["told"]).await;
    assert_eq!(followed.join("\n") + "\n", told, "each event once, in its order");
    assert_eq!(states(&told).last(), Some(&"DESTROYED"));
    println!("{told}");

    let (code, again, _) = output(&system, &["told", "--follow"]).await;
    assert_eq!((code, again), (Some(0), told), "nothing more happens");
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn following_an_enclave_that_goes_on_ends_with_the_time_that_was_given() {
    let system = System::start().await;
    let (code, told, said) = output(&system, &["nobody", "--follow", "--timeout", "1"]).await;
    assert_eq!((code, told.as_str()), (Some(1), ""));
    assert!(said.contains("no coordinator has taken it up"), "{said}");
    system.put_record(&record("lives", &json!({}))).await.unwrap();
    system.reaches("lives", "DEPLOYED").await;
    let (code, told, said) = output(&system, &["lives", "--follow", "--timeout", "1"]).await;
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(states(&told).last(), Some(&"RUNNING"));
    system.destroy_all(&["lives"]).await;
}
