//! The protocol's wire forms, and that nothing on the wire can do harm.

use super::*;
use crate::frame;
use proptest::prelude::*;

fn text(response: &WorkloadResponse) -> String {
    String::from_utf8(response.to_json().unwrap()).unwrap()
}

fn entry(event: OutputEvent) -> WorkloadResponse {
    WorkloadResponse::Entry(OutputEntry { sequence: 18, at_ms: 5, dropped: 2, event })
}

#[test]
fn the_requests_wire_forms_are_the_documented_ones() {
    let text = |request: WorkloadRequest| String::from_utf8(request.to_json().unwrap()).unwrap();
    assert_eq!(text(WorkloadRequest::Health), r#"{"version":1,"request":"health"}"#);
    assert_eq!(
        text(WorkloadRequest::Output { after: Some(17) }),
        r#"{"version":1,"request":"output","after":17}"#
    );
    assert_eq!(
        text(WorkloadRequest::Output { after: None }),
        r#"{"version":1,"request":"output"}"#
    );
}

#[test]
fn the_responses_wire_forms_are_the_documented_ones() {
    let bytes = b"hello".to_vec().into();
    let line = OutputEvent::Line { stream: OutputStream::Stdout, bytes, complete: true };
    let exited = |exit| OutputEvent::Exited { attempt: 1, exit, will_restart: true };
    let events = [
        (line, r#"{"line":{"stream":"stdout","bytes":"aGVsbG8=","complete":true}}"#),
        (OutputEvent::Started { pid: 7, attempt: 1 }, r#"{"started":{"pid":7,"attempt":1}}"#),
        (
            exited(WorkloadExit::Code(3)),
            r#"{"exited":{"attempt":1,"exit":{"code":3},"will_restart":true}}"#,
        ),
        (
            exited(WorkloadExit::Signal(9)),
            r#"{"exited":{"attempt":1,"exit":{"signal":9},"will_restart":true}}"#,
        ),
        (
            OutputEvent::NotStarted { attempt: 2, reason: "no".into(), will_restart: false },
            r#"{"not_started":{"attempt":2,"reason":"no","will_restart":false}}"#,
        ),
    ];
    for (event, expected) in events {
        assert_eq!(
            text(&entry(event)),
            format!(
                r#"{{"version":1,"entry":{{"sequence":18,"at_ms":5,"dropped":2,"event":{expected}}}}}"#
            )
        );
    }
    let health =
        Health { status: HealthStatus::NotConfigured, detail: "no probe".into(), at_ms: 5 };
    assert_eq!(
        text(&WorkloadResponse::Health(health)),
        r#"{"version":1,"health":{"status":"not_configured","detail":"no probe","at_ms":5}}"#
    );
    assert_eq!(
        text(&WorkloadResponse::refused(WorkloadRefusalCode::Busy, "full")),
        r#"{"version":1,"error":{"code":"Busy","message":"full"}}"#
    );
}

#[test]
fn another_version_is_named_in_the_error() {
    let err = WorkloadRequest::parse(br#"{"version":2,"request":"health"}"#).unwrap_err();
    let expected = "version 2 of the workload protocol is not supported, 1 is";
    assert_eq!(err.to_string(), expected);
    let err = WorkloadResponse::parse(br#"{"version":2}"#).unwrap_err();
    assert_eq!(err.to_string(), expected);
}

#[test]
fn a_request_or_response_that_says_two_things_is_refused() {
    let err = WorkloadRequest::parse(br#"{"version":1,"request":"health","after":1}"#).unwrap_err();
    assert!(matches!(err, WorkloadRequestError::AfterForHealth));
    let both = br#"{"version":1,"health":{"status":"healthy","detail":"","at_ms":1},"error":{"code":"Busy","message":""}}"#;
    for body in [&both[..], br#"{"version":1}"#] {
        assert!(matches!(WorkloadResponse::parse(body), Err(WorkloadResponseError::NotOne)));
    }
}

#[test]
fn the_largest_entries_fit_into_a_frame() {
    let largest = |event| {
        let entry = OutputEntry { sequence: u64::MAX, at_ms: u64::MAX, dropped: u64::MAX, event };
        let body = WorkloadResponse::Entry(entry).to_json().unwrap();
        frame::encode(&body, MAX_WORKLOAD_RESPONSE_LEN).unwrap();
    };
    largest(OutputEvent::Line {
        stream: OutputStream::Stdout,
        bytes: vec![0xff; MAX_LINE_BYTES].into(),
        complete: false,
    });
    // Every one of these characters takes six in JSON.
    let reason = shorten("\u{1}".repeat(2 * MAX_REASON_BYTES));
    largest(OutputEvent::NotStarted {
        attempt: u32::MAX,
        reason: reason.clone(),
        will_restart: false,
    });
    let health = Health { status: HealthStatus::Unhealthy, detail: reason, at_ms: u64::MAX };
    let body = WorkloadResponse::Health(health).to_json().unwrap();
    frame::encode(&body, MAX_WORKLOAD_RESPONSE_LEN).unwrap();
    let request = WorkloadRequest::Output { after: Some(u64::MAX) }.to_json().unwrap();
    frame::encode(&request, MAX_WORKLOAD_REQUEST_LEN).unwrap();
}

#[test]
fn a_long_text_is_cut_between_two_characters() {
    assert_eq!(shorten("short".into()), "short");
    assert_eq!(shorten("x".repeat(MAX_REASON_BYTES)).len(), MAX_REASON_BYTES);
    let cut = shorten(format!("x{}", "é".repeat(MAX_REASON_BYTES)));
    assert_eq!(cut.len(), MAX_REASON_BYTES - 1);
    assert!(cut.ends_with('é'));
}

fn events() -> impl Strategy<Value = OutputEvent> {
    let exit = prop_oneof![
        any::<i32>().prop_map(WorkloadExit::Code),
        any::<i32>().prop_map(WorkloadExit::Signal)
    ];
    let stream = prop_oneof![
        Just(OutputStream::Keep),
        Just(OutputStream::Stderr),
        Just(OutputStream::Stdout)
    ];
    prop_oneof![
        (any::<u32>(), exit, any::<bool>()).prop_map(|(attempt, exit, will_restart)| {
            OutputEvent::Exited { attempt, exit, will_restart }
        }),
        (stream, prop::collection::vec(any::<u8>(), 0..200), any::<bool>()).prop_map(
            |(stream, bytes, complete)| OutputEvent::Line { stream, bytes: bytes.into(), complete }
        ),
        (any::<u32>(), ".{0,50}", any::<bool>()).prop_map(|(attempt, reason, will_restart)| {
            OutputEvent::NotStarted { attempt, reason, will_restart }
        }),
        (any::<u32>(), any::<u32>())
            .prop_map(|(pid, attempt)| OutputEvent::Started { pid, attempt }),
    ]
}

proptest! {
    #[test]
    fn entries_survive_the_wire(
        sequence in any::<u64>(), at_ms in any::<u64>(), dropped in any::<u64>(), event in events(),
    ) {
        let response =
            WorkloadResponse::Entry(OutputEntry { sequence, at_ms, dropped, event });
        let body = response.to_json().unwrap();
        prop_assert_eq!(WorkloadResponse::parse(&body).unwrap(), response);
    }

    #[test]
    fn requests_survive_the_wire(after in any::<Option<u64>>()) {
        let request = WorkloadRequest::Output { after };
        prop_assert_eq!(WorkloadRequest::parse(&request.to_json().unwrap()).unwrap(), request);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(body in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = WorkloadRequest::parse(&body);
        let _ = WorkloadResponse::parse(&body);
    }

    /// Random bytes are hardly ever JSON; a changed message nearly is one.
    #[test]
    fn no_damaged_message_makes_a_parser_panic(
        event in events(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        for mut body in [
            entry(event).to_json().unwrap(),
            WorkloadRequest::Output { after: Some(9) }.to_json().unwrap(),
        ] {
            for (place, byte) in &changes {
                let place = place.index(body.len());
                body[place] = *byte;
            }
            if let Ok(response) = WorkloadResponse::parse(&body) {
                prop_assert_eq!(WorkloadResponse::parse(&response.to_json().unwrap()).unwrap(), response);
            }
            let _ = WorkloadRequest::parse(&body);
        }
    }

    #[test]
    fn a_shortened_text_is_bounded_and_a_beginning(text in "\\PC{0,3000}") {
        let short = shorten(text.clone());
        prop_assert!(short.len() <= MAX_REASON_BYTES);
        prop_assert!(text.starts_with(&short));
    }
}
