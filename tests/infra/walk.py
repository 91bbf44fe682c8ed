"""The guide, from its first command to its last."""

import json

import guide
import guide_cloud
import installation


def the_guide_leads_from_nothing_to_a_verified_enclave_and_back(it):
    text = guide.GUIDE.read_text()
    assert guide.stands_in(text) == guide_cloud.STANDS_IN, guide.stands_in(text)
    with guide_cloud.Place(it) as place:
        Walk(place, text).go()


class Walk:
    def __init__(self, place, text):
        self.place, self.text = place, text
        self.reader = guide.Reader(place.root, place.variables, self.as_here, self.after)
        self.done, self.has_coordinator = [], False

    def go(self):
        problems = []
        for block in guide.blocks(self.text):
            problems += self.reader.follow(block)
        assert not problems, "\n".join(problems)
        # A page that lost its steps would be walked without a problem.
        scripts = {command.split()[0] for command in self.done if command.startswith("scripts/")}
        wanted = {"build-and-publish", "connect-table", "create-backend", "deploy", "destroy", "setup-environment", "smoke-test", "status"}
        assert scripts == {f"scripts/{one}" for one in wanted}, scripts
        assert self.place.cloud.living() == [], "instances are left"

    def as_here(self, command):
        """A command, with the root that stands in for Nitro's."""
        if command.startswith(("scripts/smoke-test", "bailey verify")):
            return f"{command} --root {self.place.cloud.variables['BAILEY_TRUSTED_ROOT']}"
        return command

    def after(self, command):
        """What happens in an account when a command was run."""
        self.done.append(command)
        if command.startswith(("scripts/setup-environment", "scripts/deploy")):
            self.place.appear()
            applied = self.place.applied()
            outputs = applied.outputs
            self.reader.names |= {
                "BUCKET": outputs["eif_bucket"],
                "REPORTS": outputs["reports_bucket"],
                "TABLE": outputs["enclaves_table"],
            }
            if outputs.get("coordinator_function") and outputs["enclaves_table"] == guide_cloud.THEIRS:
                self.start(applied)
        if command.startswith("scripts/smoke-test"):
            record = self.reader.filled(guide.record(self.text))
            (self.place.root / "record.json").write_text(json.dumps(json.loads(record)))
        if command.startswith("bailey watch"):
            self.refuses_while_it_lives()

    def start(self, applied):
        """The coordinator, when everything that it needs is there for the first time."""
        if self.has_coordinator:
            return
        cloud, self.has_coordinator = self.place.cloud, True
        foreseen, found = (installation.of(one) for one in (cloud.applied, applied))
        assert found == foreseen, f"the guide came to {found} instead of {foreseen}"
        cloud.start_coordinator()

    def refuses_while_it_lives(self):
        try:
            self.reader.run("scripts/destroy dev")
        except AssertionError as refusal:
            assert "these instances are still there" in str(refusal), refusal
        else:
            raise AssertionError("scripts/destroy took an environment away in which an enclave lives")


PAGE = """# A page
1. Say it:

   ```sh
   printf 'wrote %s, 3 files\\n' /tmp/NAME
   ```

   Expected: `wrote /tmp/…, N files`, and `nothing else`.

   Run again: `it is there already`
"""


def a_guide_that_promises_in_vain_is_noticed(it):
    (block,) = guide.blocks(PAGE)
    assert block.expected == ["wrote /tmp/…, N files", "nothing else"], block.expected
    reader = guide.Reader("/", dict, lambda command: command, lambda command: None)
    said = [problem.split(" in\n")[0] for problem in reader.follow(block)]
    command = block.commands
    assert said == [f"{command}: no 'nothing else'", f"{command}, run again: no 'it is there already'"], said
    block.commands = ["false"]
    try:
        reader.follow(block)
    except AssertionError as failure:
        assert "exit code 1" in str(failure), failure
    else:
        raise AssertionError("a command that fails is not noticed")


TESTS = [
    a_guide_that_promises_in_vain_is_noticed,
    the_guide_leads_from_nothing_to_a_verified_enclave_and_back,
]
