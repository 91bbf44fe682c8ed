//! The history of an enclave's reports, fetched and verified as an auditor does.

use crate::{
    images::program,
    system::{System, record},
};
use bailey_local_cloud::local::Record;
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The file of the nth report in a copy of the history.
fn file(sequence: usize) -> String {
    format!("1/{sequence:010}.json")
}

/// A directory that holds the reports, up to the head.
struct Copy {
    directory: PathBuf,
    head: String,
    /// The root that the local cloud trusts.
    root: PathBuf,
}

impl Copy {
    /// A copy of this one, to be changed.
    fn changed(&self, name: &str, change: impl FnOnce(&Path)) -> Self {
        let directory = self.directory.with_file_name(name);
        fs::create_dir_all(directory.join("1")).unwrap();
        for report in fs::read_dir(self.directory.join("1")).unwrap() {
            let report = report.unwrap();
            let copied = directory.join("1").join(report.file_name());
            fs::copy(report.path(), copied).unwrap();
        }
        change(&directory);
        Self { directory, head: self.head.clone(), root: self.root.clone() }
    }

    /// Without credentials or endpoint: nothing but the directory, the head and the root.
    fn verify(&self) -> Output {
        let mut command = Command::new(program("bailey"));
        command.env_clear().args(["verify", "--require-production", "--chain"]);
        command.arg(&self.directory).arg("--head").arg(&self.head);
        command.arg("--root").arg(&self.root).output().unwrap()
    }

    #[track_caller]
    fn is_refused(&self, naming: &str) {
        let Output { status, stdout, .. } = self.verify();
        let said = String::from_utf8_lossy(&stdout);
        let name = self.directory.display();
        assert_eq!(status.code(), Some(1), "{name}: {said}");
        assert!(said.starts_with("REJECTED: the history is not whole\n"), "{name}: {said}");
        // The columns' widths depend on what else is wrong.
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains(naming), "{name} should say\n{naming}\nand says\n{said}");
    }

    #[track_caller]
    fn cannot_be_read(&self, naming: &str) {
        let Output { status, stderr, .. } = self.verify();
        let said = String::from_utf8_lossy(&stderr);
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(naming), "{said}");
    }
}

/// Whether the record shows a report of at least this number.
fn has_reached(record: &Record, sequence: u64) -> bool {
    let report = record.get("attestation").and_then(|proof| proof["report"].as_str());
    let number = report.and_then(|report| report.rsplit('/').next()?.strip_suffix(".json"));
    number.and_then(|number| number.parse::<u64>().ok()).is_some_and(|found| found >= sequence)
}

/// Fetches the history with the real program. `name` is that of the directory.
fn fetch(system: &System, id: &str, name: &str) -> Copy {
    let directory = system.state_dir().join(name).join("whole");
    let mut command = Command::new(program("bailey"));
    command.envs(system.env()).args(["report", id, "--history"]).arg(&directory);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let said = String::from_utf8_lossy(&stdout);
    assert_eq!(status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&stderr));
    let (_, head) = said.split_once("--head ").unwrap();
    let head = head.split_whitespace().next().unwrap().to_owned();
    assert!(said.contains("which is the head that the record names"), "{said}");
    Copy { directory, head, root: system.trusted_root() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_accepted_whole_and_refused_when_anything_of_it_was_changed() {
    let system = System::start_with(&[("reattest_interval_s", 1)], &[]).await;
    for id in ["audited", "other"] {
        system.put_record(&record(id, &json!({}))).await.unwrap();
    }
    system.becomes("audited", "a third report", |record| has_reached(record, 3)).await;
    system.becomes("other", "a report", |record| has_reached(record, 1)).await;
    let whole = fetch(&system, "audited", "audited");
    let last = fs::read_dir(whole.directory.join("1")).unwrap().count();
    assert!(last >= 3, "{last} reports");

    let verified = whole.verify();
    let said = String::from_utf8_lossy(&verified.stdout);
    assert_eq!(verified.status.code(), Some(0), "{said}");
    let accepted =
        format!("ACCEPTED: the history is whole, each of its {last} reports is authentic");
    assert!(said.starts_with(&accepted), "{said}");

    // A byte of the first shows in the second, one of the last in the head.
    let edit = |directory: &Path, sequence: usize| {
        let path = directory.join(file(sequence));
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("m5.xlarge", "m6i.xlarge")).unwrap();
    };
    let edited = whole.changed("edited", |directory| edit(directory, 1));
    edited.is_refused(&format!("{} does not follow `{}`", file(2), file(1)));
    let edited = whole.changed("edited-last", |directory| edit(directory, last));
    edited.is_refused(&format!("it ends with `{}`", file(last)));

    let missing =
        whole.changed("missing", |directory| fs::remove_file(directory.join(file(2))).unwrap());
    missing.is_refused(&format!("{} does not follow `{}`", file(3), file(1)));
    let first =
        whole.changed("beheaded", |directory| fs::remove_file(directory.join(file(1))).unwrap());
    first.is_refused(&format!("{} is not the start", file(2)));
    let truncated = whole
        .changed("truncated", |directory| fs::remove_file(directory.join(file(last))).unwrap());
    truncated.is_refused(&format!("it ends with `{}`", file(last - 1)));

    let reordered = whole.changed("reordered", |directory| {
        let [first, second, aside] =
            [file(1), file(2), "aside".to_owned()].map(|name| directory.join(name));
        fs::rename(&first, &aside).unwrap();
        fs::rename(&second, &first).unwrap();
        fs::rename(&aside, &second).unwrap();
    });
    reordered.is_refused(&format!("{} lies in the wrong place", file(1)));
    let renamed = whole.changed("renamed", |directory| {
        fs::rename(directory.join(file(last)), directory.join(file(last + 1))).unwrap();
    });
    renamed.is_refused(&format!("{} lies in the wrong place", file(last + 1)));

    let other = fetch(&system, "other", "other").directory.join(file(1));
    let foreign = whole.changed("foreign", |directory| {
        fs::copy(&other, directory.join("1/foreign.json")).unwrap();
    });
    foreign.is_refused("1/foreign.json is foreign: it is of `other`, the history of `audited`");
    let replaced = whole.changed("replaced", |directory| {
        fs::copy(&other, directory.join(file(last))).unwrap();
    });
    replaced.is_refused(&format!("{} is foreign: it is of `other`", file(last)));
    let none = whole.changed("none", |directory| fs::write(directory.join("x"), "x").unwrap());
    none.is_refused("x is foreign: it holds no report");

    // What cannot be read is nobody's fault, and no judgement.
    let unreadable = whole.changed("unreadable", |directory| {
        std::os::unix::fs::symlink("nowhere", directory.join(file(last + 1))).unwrap();
    });
    unreadable.cannot_be_read(&format!("{}`", file(last + 1)));
    let absent = Copy { directory: whole.directory.join("absent"), ..whole };
    absent.cannot_be_read("cannot list `");

    system.destroy_all(&["audited", "other"]).await;
}
