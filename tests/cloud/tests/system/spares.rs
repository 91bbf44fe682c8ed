//! Hosts that are booted before anybody asks.

use crate::system::{System, record};
use bailey_local_cloud::ec2::SimulationView;
use serde_json::json;

/// The coordinator keeps so many spare hosts of the type that records here ask for.
async fn with_spares(count: i64) -> System {
    let mut system = System::without_coordinator(&[], &[]).await;
    keep(&mut system, count);
    system.cloud.start_coordinator().unwrap();
    system
}

fn keep(system: &mut System, count: i64) {
    let spares = toml::toml! { instance_type = "m5.xlarge" };
    let mut spares = spares;
    spares.insert("count".to_owned(), count.into());
    system.cloud.configure_coordinator("spares", vec![toml::Value::Table(spares)]);
}

/// The names of slots whose host waits for work.
async fn ready(system: &System, count: usize) {
    let seen = async {
        loop {
            let ledger = system.ledger().await.unwrap();
            let is_ready = |item: &&bailey_local_cloud::local::Record| {
                item["pk"] == "spares" && item["state"]["name"] == "READY"
            };
            if ledger.iter().filter(is_ready).count() == count {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(crate::system::LIMIT, seen).await.expect("spare hosts are ready");
}

fn live(view: &SimulationView) -> Vec<&str> {
    view.live().map(|it| it.id.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_takes_a_spare_host_and_another_one_takes_its_place() {
    let mut system = with_spares(1).await;
    ready(&system, 1).await;
    let before = system.simulation().await.unwrap();
    let spare = live(&before)[0].to_owned();
    system.put_record(&record("first", &json!({}))).await.unwrap();
    let deployed = system.reaches("first", "DEPLOYED").await;
    assert_eq!(deployed["instance_id"], spare.as_str());
    assert!(deployed["deployment"]["phases"].get("LAUNCHING").is_none(), "{deployed:?}");
    ready(&system, 1).await;
    assert_eq!(system.simulation().await.unwrap().launches, 2);

    // A host is used once: what is destroyed takes it along.
    system.set_status("first", "PENDING_DESTROY").await.unwrap();
    system.reaches("first", "DESTROYED").await;
    let after = system.simulation().await.unwrap();
    assert!(!live(&after).contains(&spare.as_str()), "{after:?}");

    // Slots that are no longer called for are emptied.
    keep(&mut system, 0);
    system.cloud.restart_coordinator().await.unwrap();
    system.simulation_becomes("nothing is left", |view| view.live().count() == 0).await;
    ready(&system, 0).await;
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deploys_never_take_one_spare_host() {
    let mut system = with_spares(1).await;
    ready(&system, 1).await;
    let ids = ["one", "two", "three"];
    for id in ids {
        system.put_record(&record(id, &json!({}))).await.unwrap();
    }
    let mut hosts = std::collections::BTreeSet::new();
    for id in ids {
        let deployed = system.reaches(id, "DEPLOYED").await;
        hosts.insert(deployed["instance_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(hosts.len(), 3, "{hosts:?}");
    keep(&mut system, 0);
    system.cloud.restart_coordinator().await.unwrap();
    system.destroy_all_but_end(&ids).await;
    system.simulation_becomes("nothing is left", |view| view.live().count() == 0).await;
    ready(&system, 0).await;
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spare_host_that_is_lost_is_not_given_to_anybody() {
    let mut system = with_spares(1).await;
    ready(&system, 1).await;
    let spare = live(&system.simulation().await.unwrap())[0].to_owned();
    system.ec2().fail_instance(&spare).await.unwrap();
    system.put_record(&record("first", &json!({}))).await.unwrap();
    let deployed = system.reaches("first", "DEPLOYED").await;
    assert_ne!(deployed["instance_id"], spare.as_str());
    keep(&mut system, 0);
    system.cloud.restart_coordinator().await.unwrap();
    system.destroy_all_but_end(&["first"]).await;
    system.simulation_becomes("nothing is left", |view| view.live().count() == 0).await;
    ready(&system, 0).await;
    system.end().await;
}
