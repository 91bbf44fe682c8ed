use super::*;
use crate::judge::tests::{NOW, Scene, scene};
use bailey_model::report::Verdict;
use bailey_simulated_nsm::Mode;
use tempfile::TempDir;

/// A directory with the three reports of an enclave, as they lie in the bucket.
struct Copy {
    scene: Scene,
    directory: TempDir,
    digests: Vec<Digest>,
}

const NAMES: [&str; 3] = ["3/0000000001.json", "3/0000000002.json", "3/0000000010.json"];

fn copy() -> Copy {
    let scene = scene(Mode::Production);
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("3")).unwrap();
    let mut digests: Vec<Digest> = Vec::new();
    for (name, sequence) in NAMES.into_iter().zip([1, 2, 10]) {
        let mut report = scene.report(Verdict::Verified);
        report.sequence = sequence;
        report.judged_at = UnixMillis(NOW + sequence);
        report.previous = digests.last().map(ToString::to_string);
        let bytes = serde_json::to_vec(&report).unwrap();
        fs::write(directory.path().join(name), &bytes).unwrap();
        digests.push(Digest::of(&bytes));
    }
    Copy { scene, directory, digests }
}

impl Copy {
    fn path(&self, index: usize) -> PathBuf {
        self.directory.path().join(NAMES[index])
    }

    fn judge_from(&self, from: Option<Digest>) -> History {
        let ends = Ends { from, head: self.digests[2] };
        let entries = read(self.directory.path()).unwrap();
        judge_all(entries, ends, &self.scene.demands(), AsOf::Report)
    }

    /// What is wrong, as `<file>: <problem>`.
    fn problems(&self) -> Vec<String> {
        let history = self.judge_from(None);
        assert!(!history.accepted);
        assert!(!history.intact);
        let of_file = |file: &FileView| {
            let name = file.name.clone();
            file.problems.clone().into_iter().map(move |problem| format!("{name}: {problem}"))
        };
        history.files.iter().flat_map(of_file).chain(history.problems.clone()).collect()
    }

    fn edit(&self, index: usize, edit: impl FnOnce(&mut Report)) {
        let (_, mut report) = crate::evidence::read_report(&self.path(index)).unwrap();
        edit(&mut report);
        fs::write(self.path(index), serde_json::to_vec(&report).unwrap()).unwrap();
    }
}

#[track_caller]
fn assert_problems(found: &[String], starts: &[&str]) {
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}\nshould start with\n{start}");
    }
}

#[test]
fn a_whole_history_is_accepted_flat_or_in_generations() {
    let copy = copy();
    let history = copy.judge_from(None);
    assert!(history.accepted, "{history:#?}");
    for name in NAMES {
        let root = copy.directory.path();
        let flat = root.join(Path::new(name).file_name().unwrap());
        fs::rename(root.join(name), flat).unwrap();
    }
    assert!(copy.judge_from(None).accepted);
}

#[test]
fn a_missing_report_shows_in_the_one_after_it() {
    let copy = copy();
    fs::remove_file(copy.path(1)).unwrap();
    assert_problems(&copy.problems(), &["3/0000000010.json: does not follow `3/0000000001.json`"]);
}

#[test]
fn an_edited_report_shows_in_the_one_after_it_and_the_last_in_the_head() {
    let first = copy();
    first.edit(0, |report| report.judged_at = UnixMillis(NOW));
    assert_problems(&first.problems(), &["3/0000000002.json: does not follow `3/0000000001.json`"]);
    let last = copy();
    last.edit(2, |report| report.judged_at = UnixMillis(NOW + 11));
    assert_problems(&last.problems(), &["it ends with `3/0000000010.json`, SHA-256 "]);
}

#[test]
fn reports_that_changed_places_are_out_of_order() {
    let copy = copy();
    let aside = copy.directory.path().join("aside");
    fs::rename(copy.path(0), &aside).unwrap();
    fs::rename(copy.path(1), copy.path(0)).unwrap();
    fs::rename(&aside, copy.path(1)).unwrap();
    assert_problems(
        &copy.problems(),
        &[
            "3/0000000001.json: lies in the wrong place: it says that it is number 2",
            "3/0000000001.json: is out of order: the report before it is `3/0000000002.json`",
            "3/0000000002.json: lies in the wrong place: it says that it is number 1",
            "3/0000000002.json: says that it is the first, but `3/0000000001.json` lies before it",
            "3/0000000010.json: is out of order: the report before it is `3/0000000001.json`",
        ],
    );
}

#[test]
fn a_truncated_history_does_not_reach_its_head_and_an_empty_one_neither() {
    let copy = copy();
    fs::remove_file(copy.path(2)).unwrap();
    assert_problems(&copy.problems(), &["it ends with `3/0000000002.json`, SHA-256 "]);
    fs::remove_file(copy.path(1)).unwrap();
    fs::remove_file(copy.path(0)).unwrap();
    assert_problems(&copy.problems(), &["it holds no report, and the head is "]);
}

#[test]
fn a_history_without_its_beginning_is_whole_only_from_where_it_is_said_to_start() {
    let copy = copy();
    fs::remove_file(copy.path(0)).unwrap();
    assert_problems(&copy.problems(), &["3/0000000002.json: is not the start: it follows "]);
    assert!(copy.judge_from(Some(copy.digests[0])).accepted);
    assert!(!copy.judge_from(Some(copy.digests[1])).intact);
}

#[test]
fn a_first_report_does_not_pass_for_a_later_start() {
    let copy = copy();
    assert!(!copy.judge_from(Some(copy.digests[0])).intact);
}

#[test]
fn foreign_files_are_named() {
    let copy = copy();
    fs::write(copy.directory.path().join("notes.txt"), "hello").unwrap();
    assert_problems(&copy.problems(), &["notes.txt: is foreign: it holds no report"]);
}

#[test]
fn a_report_of_another_enclave_is_foreign_and_its_binding_fails() {
    let copy = copy();
    copy.edit(2, |report| report.enclave_id = "other".parse().unwrap());
    assert_problems(
        &copy.problems(),
        &["3/0000000010.json: is foreign: it is of `other`", "it ends with "],
    );
    let judgement = copy.judge_from(None).files.remove(2).judgement.unwrap();
    assert!(judgement.refusal().unwrap().starts_with("report_binding: "));
}

#[test]
fn a_report_after_the_head_is_named() {
    let copy = copy();
    let ends = Ends { from: None, head: copy.digests[1] };
    let entries = read(copy.directory.path()).unwrap();
    let history = judge_all(entries, ends, &copy.scene.demands(), AsOf::Report);
    assert_eq!(
        history.problems,
        ["the head is `3/0000000002.json`, but `3/0000000010.json` lies after it"]
    );
}

#[test]
fn every_report_must_be_accepted_by_the_same_policy() {
    let copy = copy();
    let ends = Ends { from: None, head: copy.digests[2] };
    let demands =
        Demands { roots: bailey_attestation::TrustedRoots::aws(), ..copy.scene.demands() };
    let history = judge_all(read(copy.directory.path()).unwrap(), ends, &demands, AsOf::Report);
    assert!(history.intact);
    assert!(!history.accepted);
    let text = crate::render::history(&history);
    let first = "REJECTED: the history is whole, but 3 of its 3 reports fail\n";
    assert!(text.starts_with(first), "{text}");
    assert!(text.contains("3/0000000001.json  is not accepted: "), "{text}");
}

#[test]
fn generation_ten_comes_after_generation_nine() {
    let mut paths = ["10/0000000003.json", "9/0000000002.json", "readme", "9/0000000001.json"];
    paths.sort_by(|a, b| in_order(Path::new(a), Path::new(b)));
    assert_eq!(paths, ["9/0000000001.json", "9/0000000002.json", "10/0000000003.json", "readme"]);
}
