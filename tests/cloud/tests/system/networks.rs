//! Enclaves that talk: each reaches what its record lists, and is reached where its record says.

use crate::{
    images,
    system::{LIMIT, System, options, record},
};
use serde_json::json;
use std::{net::Ipv4Addr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};

/// A server that says a word to whoever connects.
pub(crate) async fn says(word: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(word.as_bytes()).await;
        }
    });
    port
}

/// A port that nobody has.
pub(crate) async fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port()
}

/// Asks the enclave behind the port to go to `target`; what it heard there.
pub(crate) async fn through(port: u16, target: &str) -> String {
    let ask = async {
        loop {
            if let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
                let mut heard = String::new();
                let asked = stream.write_all(format!("{target}\n").as_bytes()).await;
                if asked.is_ok()
                    && stream.read_to_string(&mut heard).await.is_ok()
                    && !heard.is_empty()
                {
                    return heard;
                }
            }
            // The workload may not listen yet.
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(LIMIT, ask).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn enclaves_reach_what_their_records_list_and_are_reached_where_these_say() {
    let (one, other) = (says("hello from one").await, says("hello from the other").await);
    let mut system = System::of(options(&[])).await;
    system.cloud.start_coordinator().unwrap();
    let mut doors = Vec::new();
    for (id, target) in [("talks", one), ("chats", other)] {
        let (inside, outside) = (free_port().await, free_port().await);
        let image = images::working(&["relay", &inside.to_string()], &[inside]);
        system.upload_eif(&format!("{id}.eif"), image.bytes).await.unwrap();
        let configuration = json!({
            "eif_path": format!("s3://your-bucket/{id}.eif"),
            "egress": [format!("127.0.0.1:{target}")],
            "ingress": [{"parent_port": outside, "enclave_port": inside}],
        });
        system.put_record(&record(id, &configuration)).await.unwrap();
        doors.push(outside);
    }
    for id in ["talks", "chats"] {
        system.reaches(id, "DEPLOYED").await;
    }

    for (door, mine, word, others) in
        [(doors[0], one, "hello from one", other), (doors[1], other, "hello from the other", one)]
    {
        let heard = through(door, &format!("127.0.0.1:{mine}")).await;
        assert!(heard.starts_with("HTTP/1.1 200 ") && heard.ends_with(word), "{heard}");
        for refused in [
            format!("127.0.0.1:{others}"),
            "169.254.169.254:80".to_owned(),
            "example.com:443".to_owned(),
        ] {
            let heard = through(door, &refused).await;
            assert!(heard.starts_with("HTTP/1.1 403 "), "{refused}: {heard}");
        }
    }
    let logs = system.logs();
    assert!(logs.contains("egress refused") && logs.contains("169.254.169.254:80"), "{logs}");

    system.destroy_all_but_end(&["talks", "chats"]).await;
    for door in doors {
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, door)).await.is_err());
    }
    system.end().await;
}
