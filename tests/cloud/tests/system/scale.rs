//! Many records at once, on light hosts. `make scale` is the same with a thousand, and measures.

use crate::system::{LIMIT, System};
use bailey_local_cloud::{local::Record, scale::record};
use std::collections::{BTreeMap, BTreeSet};

#[tokio::test(flavor = "multi_thread")]
async fn thirty_records_at_once_are_each_deployed_on_one_instance_and_none_is_left() {
    let system = System::light(&[]).await;
    let ids: Vec<_> = (0..30).map(|number| format!("many-{number}")).collect();
    let records: Vec<_> = ids.iter().map(|id| record(id)).collect();
    system.put_records(&records).await.unwrap();
    let mut hosts = BTreeSet::new();
    for id in &ids {
        let deployed = system.reaches(id, "DEPLOYED").await;
        assert_eq!(deployed["attestation"]["verdict"], "verified");
        hosts.insert(deployed["deployment"]["instance_id"].as_str().unwrap().to_owned());
    }
    let simulation = system.simulation().await.unwrap();
    assert_eq!((hosts.len(), simulation.launches), (30, 30));
    assert_eq!(simulation.enclave_launches(), 30);
    assert_eq!(system.launched_twice().await.unwrap(), BTreeMap::new());

    system.set_statuses(&ids, "PENDING_DESTROY").await.unwrap();
    assert_eq!(system.wait_for_count("DESTROYED", 30, LIMIT).await.unwrap(), 30);
    assert_eq!(system.simulation().await.unwrap().launches, 30);
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_light_host_attests_again_is_paused_and_resumed_and_drained() {
    let system = System::light(&[("reattest_interval_s", 1)]).await;
    system.put_record(&record("light")).await.unwrap();
    let is_third = |record: &Record| {
        let report = record.get("attestation").and_then(|proof| proof["report"].as_str());
        report.is_some_and(|report| report.ends_with("/1/0000000003.json"))
    };
    let before = system.becomes("light", "a third report", is_third).await;
    assert_eq!(system.simulation().await.unwrap().enclave_launches(), 1);

    system.set_status("light", "PAUSING").await.unwrap();
    system.reaches("light", "PAUSED").await;
    system.set_status("light", "RESUMING").await.unwrap();
    let after = system.reaches("light", "DEPLOYED").await;
    assert_eq!(after["deployment"]["instance_id"], before["deployment"]["instance_id"]);
    let simulation = system.simulation().await.unwrap();
    assert_eq!((simulation.launches, simulation.enclave_launches()), (1, 2));
    system.destroy_all(&["light"]).await;
}
