//! What a host says when it is ended already.

use crate::system::System;
use bailey_agent::{
    hosts_table::{DynamoHostsTable, Made},
    ports::HostsTable as _,
};
use bailey_model::hosts::{Beat, Observed, desired_key};
use bailey_runtime::calls::Calls;

#[tokio::test(flavor = "multi_thread")]
async fn a_late_word_of_a_host_whose_items_were_removed_leaves_nothing() {
    let system = System::without_coordinator(&[], &[]).await;
    let arn = "arn:aws:ec2:eu-west-1:123456789012:instance/i-1";
    let name = &system.names().hosts_table;
    let client = system.dynamodb();
    let table = DynamoHostsTable {
        client: client.clone(),
        table: name.clone(),
        instance_arn: arn.to_owned(),
        calls: Calls::default(),
        made: Made::default(),
    };
    let text = |text: &str| aws_sdk_dynamodb::types::AttributeValue::S(text.to_owned());
    let say = async || {
        table.report(&Observed::default()).await.unwrap();
        table.beat(&Beat::default()).await.unwrap();
    };
    say().await;
    assert_eq!(system.hosts().await.unwrap().len(), 2);
    let remove = async || {
        for item in system.hosts().await.unwrap() {
            let delete =
                client.delete_item().table_name(name).key("pk", text(item["pk"].as_str().unwrap()));
            delete.send().await.unwrap();
        }
    };
    remove().await;
    say().await;
    assert_eq!(system.hosts().await.unwrap().len(), 0);

    // A host that is still wanted goes on to speak, whoever removed its items.
    let desired = serde_json::json!({ "version": 1, "drain": false, "assignments": [] });
    let mut desired = bailey_runtime::items::to_item(&desired).unwrap();
    desired.insert("pk".to_owned(), text(&desired_key(arn)));
    client.put_item().table_name(name).set_item(Some(desired)).send().await.unwrap();
    say().await;
    assert_eq!(system.hosts().await.unwrap().len(), 3);
    remove().await;
    system.end().await;
}
