//! Every state meets every event: the table in `docs/lifecycle.md`, made by the code itself.
//!
//! `BAILEY_WRITE_DOCS=1 cargo test` writes the document anew.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "what is missing here has failed its test"
)]

use crate::world::{LaunchFate, World, host_failure, record_with, seed_record};
use bailey_lifecycle::{
    InstanceState, Step,
    ledger::{Entry, State},
};
use bailey_model::{Base64Bytes, failure::FailureCode, hosts::HostPhase};
use serde_json::{Map, Value, json};
use std::{fmt::Write as _, fs, path::Path};

/// A state, by the name that the table gives it, and how a world gets there.
type Situation = (&'static str, fn() -> World);

/// Something that happens, by the name that the table gives it.
type Event = (&'static str, fn(&mut World));

const SITUATIONS: [Situation; 25] = [
    ("ACCEPTED", || until(World::with_record(seed_record()), "ACCEPTED")),
    ("REFUSED", || until(World::with_record(record_with(&json!({"cpu_count": -1}))), "REFUSED")),
    ("LAUNCHING", || until(World::with_record(seed_record()), "LAUNCHING")),
    ("LAUNCHING, to be ended", || {
        let mut world = until(World::with_record(seed_record()), "LAUNCHING");
        world.ask("PENDING_DESTROY");
        world.step(false);
        project(&mut world);
        world
    }),
    ("BOOTING", booting),
    ("VERIFYING", || {
        let mut world = booting();
        world.host_works();
        until(world, "VERIFYING")
    }),
    ("RUNNING", running),
    ("RUNNING, always", || {
        let mut world = World::with_record(record_with(&json!({"restart": "always"})));
        world.deploy();
        world
    }),
    ("DEGRADED", || {
        let mut world = running();
        world.later(3_601);
        world.settle();
        world.later(301);
        world.settle();
        world
    }),
    ("PAUSING", pausing),
    ("STOPPING", || {
        let mut world = pausing();
        world.host_works();
        until(world, "STOPPING")
    }),
    ("PAUSED", paused),
    ("RESUMING", || {
        let mut world = paused();
        world.ask("RESUMING");
        until(world, "RESUMING")
    }),
    ("MOVING", || {
        let mut world = World::with_record(record_with(&json!({"restart": "always"})));
        world.deploy();
        world.announces(true);
        until(world, "MOVING")
    }),
    ("WAITING", || {
        let mut world = World::with_record(record_with(&json!({"restart": "always"})));
        world.deploy();
        world.announces(true);
        world.fate = LaunchFate::Refused;
        world.deploy();
        world
    }),
    ("REPLACING", || {
        let mut world = paused();
        world.can_start = false;
        world.ask("RESUMING");
        until(world, "REPLACING")
    }),
    ("DRAINING", draining),
    ("TERMINATING", || {
        let mut world = draining();
        world.later(61);
        until(world, "TERMINATING")
    }),
    ("JOINING", || until(World::with_record(sharing()), "JOINING")),
    ("RUNNING, shared", shared),
    ("DRAINING, shared", || {
        let mut world = shared();
        world.ask("PENDING_DESTROY");
        world.settle();
        world
    }),
    ("TERMINATING, shared", || {
        let mut world = shared();
        world.beside_another(None);
        world.ask("PENDING_DESTROY");
        world.settle();
        world.later(61);
        until(world, "TERMINATING")
    }),
    ("DESTROYED", || {
        let mut world = draining();
        world.deploy();
        world
    }),
    ("FAILED", || {
        let mut world = World::with_record(seed_record());
        world.fate = LaunchFate::Refused;
        world.settle();
        world
    }),
    ("DESTROYED, record gone", || {
        let mut world = draining();
        world.deploy();
        world.record = None;
        world
    }),
];

const REQUESTS: [Event; 8] = [
    ("`PENDING_DEPLOY`, same", |world| {
        let record = world.record.clone().unwrap_or_else(|| match seed_record() {
            Value::Object(record) => record,
            _ => Map::new(),
        });
        let kept = ["id", "configuration", "created_at"];
        let kept = record.into_iter().filter(|(name, _)| kept.contains(&name.as_str()));
        world.write(kept.chain([("status".to_owned(), "PENDING_DEPLOY".into())]).collect());
    }),
    ("`PENDING_DEPLOY`, other", |world| world.write(record_with(&json!({"memory_mib": 2048})))),
    ("`PENDING_DEPLOY`, malformed", |world| {
        world.write(record_with(&json!({"memory_mib": "much"})));
    }),
    ("`PENDING_DESTROY`", |world| world.ask("PENDING_DESTROY")),
    ("`PAUSING`", |world| world.ask("PAUSING")),
    ("`RESUMING`", |world| world.ask("RESUMING")),
    ("a result", |world| {
        let other = if world.status() == "FAILED" { "DEPLOYED" } else { "FAILED" };
        world.ask(other);
    }),
    ("record gone", |world| {
        world.record = None;
        world.step(false);
        world.later(61);
    }),
];

const EVENTS: [Event; 9] = [
    ("instance terminated", |world| all_instances(world, InstanceState::Terminated)),
    ("instance runs", |world| all_instances(world, InstanceState::Running)),
    ("instance stopped", |world| all_instances(world, InstanceState::Stopped)),
    ("AWS announces its end", |world| world.announces(true)),
    ("host gives up", |world| {
        world.host_answers(|assignment| {
            assignment.phase = HostPhase::Failed;
            assignment.answer = None;
            assignment.failure = Some(host_failure(FailureCode::EnclaveStopped));
        });
    }),
    ("enclave restarted", |world| {
        world.host_answers(|assignment| {
            assignment.restarts += 1;
            assignment.answer = None;
        });
    }),
    ("good answer", World::host_works),
    ("bad answer", |world| {
        world.host_answers(|assignment| {
            if let Some(answer) = &mut assignment.answer {
                answer.document = Base64Bytes(b"no document".to_vec());
            }
        });
    }),
    ("half an hour passes", |world| world.later(1_801)),
];

/// Carries out steps until the entry is in the phase, and shows it.
fn until(mut world: World, phase: &str) -> World {
    for _ in 0..60 {
        if world.entry.as_ref().is_some_and(|entry| entry.phase() == phase) {
            project(&mut world);
            return world;
        }
        assert!(world.step(false), "{phase} is never reached: {:?}", world.entry);
    }
    panic!("{phase} is never reached");
}

/// Brings the record up to date, and does nothing else.
fn project(world: &mut World) {
    while matches!(world.next(), Step::Project(_)) {
        world.step(false);
    }
}

fn booting() -> World {
    let mut world = World::with_record(seed_record());
    world.settle();
    world
}

fn running() -> World {
    let mut world = World::with_record(seed_record());
    world.deploy();
    world
}

fn sharing() -> Value {
    record_with(&json!({"share_parent": true, "restart": "always", "instance_type": "m5.2xlarge"}))
}

fn shared() -> World {
    let mut world = World::with_record(sharing());
    world.deploy();
    world
}

fn pausing() -> World {
    let mut world = running();
    world.ask("PAUSING");
    world.settle();
    world
}

fn paused() -> World {
    let mut world = pausing();
    world.deploy();
    world
}

fn draining() -> World {
    let mut world = running();
    world.ask("PENDING_DESTROY");
    world.settle();
    world
}

fn all_instances(world: &mut World, state: InstanceState) {
    for instance in &mut world.instances {
        instance.state = state;
    }
}

/// What the first decision about an event is: the state that the entry enters, with the code of what
/// was refused or failed; a dash when it goes on as before.
fn reaction(situation: Situation, event: Event) -> String {
    let mut world = situation.1();
    let before = world.entry.clone().unwrap();
    event.1(&mut world);
    if let Some(reaction) = change(&before, world.entry.as_ref().unwrap()) {
        return reaction;
    }
    for _ in 0..4 {
        match world.next() {
            Step::Save(entry) => {
                if let Some(reaction) = change(&before, &entry) {
                    return reaction;
                }
                world.step(false);
            }
            Step::Project(_) => _ = world.step(false),
            Step::Terminate(_) if matches!(before.state, State::Draining { .. }) => {
                return "terminates".to_owned();
            }
            _ => break,
        }
    }
    "–".to_owned()
}

fn change(before: &Entry, after: &Entry) -> Option<String> {
    let code = |entry: &Entry| entry.failure.as_ref().map(|failure| failure.code);
    let refused = after.refused.as_ref().filter(|_| after.refused != before.refused);
    let phase = |entry: &Entry| match &entry.state {
        State::Launching { cancelled: Some(_), .. } => "LAUNCHING, to be ended",
        _ => entry.phase(),
    };
    let is_new = after.generation != before.generation;
    if phase(after) != phase(before) || is_new {
        let failed = code(after).filter(|_| code(before) != code(after) || is_new);
        let why = failed.map(|code| format!(" ({code})")).unwrap_or_default();
        let new = if is_new { "new: " } else { "" };
        return Some(format!("{new}{}{why}", phase(after)));
    }
    refused.map(|failure| format!("refused ({})", failure.code))
}

fn table(first: &str, events: &[Event]) -> String {
    let mut text = format!("| {first} |");
    for (name, _) in events {
        let _ = write!(text, " {name} |");
    }
    text.push_str("\n|");
    text.push_str(&" --- |".repeat(events.len() + 1));
    for situation in SITUATIONS {
        let _ = write!(text, "\n| `{}` |", situation.0);
        for event in events {
            let _ = write!(text, " {} |", reaction(situation, *event));
        }
    }
    text.push('\n');
    text
}

fn document() -> String {
    format!(
        "# Every state, every event\n\n\
         Made by the code: `BAILEY_WRITE_DOCS=1 cargo test --workspace --test lifecycle table`; a test \
         checks that it is current.\n\n\
         Each cell shows the first decision about an event: the state that is entered, with the code of \
         what failed or was refused; `new:` when it is another generation; `terminates` when the instance is \
         terminated at once. A dash means that the event \
         changes nothing: it waits, is overwritten in the record, or is no news, and what was under way \
         goes on.\n\n\
         ## What the web app writes\n\n\
         *Same* is the configuration that was accepted, *other* another one. *A result* is a status that \
         only the coordinator writes. *Record gone* is a record that stays away for longer than the grace \
         period.\n\n{}\n\
         ## What happens to instance, host and enclave\n\n\
         *Half an hour* is the deadline of a deploy; a running enclave attests again every hour. *Always* is the \
         restart policy of the record, as of one that shares its parent here; *terminating, shared* is one whose host, on \
         which another enclave runs, does not end it. *Its end* is that of the instance, announced by EC2 or AWS Health: a \
         stop, a retirement or the interruption of a spot instance.\n\n{}",
        table("state", &REQUESTS),
        table("state", &EVENTS),
    )
}

#[test]
fn the_documented_table_of_states_and_events_is_what_the_code_decides() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/lifecycle.md");
    let made = document();
    if std::env::var_os("BAILEY_WRITE_DOCS").is_some() {
        fs::write(&path, &made).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    for (made, written) in made.lines().zip(written.lines()) {
        assert_eq!(made, written, "docs/lifecycle.md is not current");
    }
    assert_eq!(made.len(), written.len(), "docs/lifecycle.md is not current");
}
