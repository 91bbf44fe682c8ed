"""docs/deploy.md, walked as its reader would: each command is run, and each thing that it expects is looked for.

The guide's text is what is tested: its shell blocks in their order, its record, its `Expected:` and `Run again:`
paragraphs. Where AWS is missing, something stands in for it (guide_cloud.py), and the guide lists all that does.
"""

import re
import subprocess

from workspace import REPOSITORY

GUIDE = REPOSITORY / "docs/deploy.md"
# What the guide writes instead of names that a reader knows.
PLACEHOLDERS = ("BUCKET", "REPORTS", "TABLE")
# In what is expected: any text, and any one word.
ANY, WORDS = "…", ("VERSION", "N")
# What a reader answers, by how a command begins.
ANSWERS = {
    "scripts/build-and-publish": "yes\n",
    "scripts/deploy": "yes\n",
    "scripts/destroy": "dev\n",
    "scripts/setup-environment": "yes\n",
}


class Block:
    """A shell block of the guide, with what is expected of it."""

    def __init__(self, commands, expected, again):
        self.commands, self.expected, self.again = commands, expected, again


def blocks(text):
    """The shell blocks in their order."""
    found = []
    parts = re.split(r"^ *```(\w*)\n(.*?)^ *```$", text, flags=re.M | re.S)
    # Prose, then language, content and the prose after each block.
    for language, content, after in zip(parts[1::3], parts[2::3], parts[3::3]):
        if language == "sh":
            commands = [line.split("  # ")[0].strip() for line in content.splitlines() if line.strip()]
            found.append(Block(commands, [], []))
        if found:
            found[-1].expected += promised(after, "Expected:")
            found[-1].again += promised(after, "Run again:")
    return found


def promised(prose, begin):
    """What stands between backticks in the paragraphs that begin so."""
    paragraphs = [" ".join(it.split()) for it in prose.split("\n\n")]
    return [text for it in paragraphs if it.startswith(begin) for text in re.findall(r"`([^`]+)`", it)]


def record(text):
    """The guide's record."""
    return re.search(r"^```json\n(.*?)^```$", text, re.M | re.S)[1]


def stands_in(text):
    """The rows of the table of what stands in for AWS."""
    section = text.split("\n## Without an account\n")[1]
    return [line.split(" | ")[0].strip("| ") for line in section.splitlines() if line.startswith("| ") and "---" not in line][1:]


def pattern(expected):
    """What is expected, as a pattern of a text whose white space is single blanks."""
    escaped = re.escape(expected).replace(ANY, ".*?")
    return re.sub(rf"\b({'|'.join(WORDS)})\b", r"[^\\s/]+", escaped)


def missing(expected, output):
    """What is expected and not in the output."""
    text = " ".join(re.sub(r"\x1b\[[\d;]*m", "", output).split())
    return [one for one in expected if not re.search(pattern(one), text)]


class Reader:
    """Somebody who has a checkout and follows the guide in it. `as_here` changes a command for the place where it is run,
    `after` is told of each that was."""

    def __init__(self, root, variables, as_here, after):
        self.root, self.variables, self.as_here, self.after = root, variables, as_here, after
        self.names, self.environment = {}, {}

    def follow(self, block):
        """Runs a block and gives what is wrong with what came of it."""
        output = self.run_all(block)
        problems = [f"{block.commands}: no {one!r} in\n{output}" for one in missing(self.named(block.expected), output)]
        if block.again:
            output = self.run_all(block)
            problems += [f"{block.commands}, run again: no {one!r} in\n{output}" for one in missing(self.named(block.again), output)]
        return problems

    def named(self, texts):
        return [self.filled(text) for text in texts]

    def filled(self, text):
        for name in PLACEHOLDERS:
            if name in self.names:
                text = re.sub(rf"\b{name}\b", self.names[name], text)
        return text

    def run_all(self, block):
        output = ""
        for command in block.commands:
            output += self.run(command)
            self.after(command)
        return output

    def run(self, command):
        if command.startswith("export "):
            self.environment |= dict(it.split("=", 1) for it in self.filled(command).split()[1:])
            return ""
        answer = next((it for begin, it in ANSWERS.items() if command.startswith(begin)), "")
        filled = self.as_here(self.filled(command))
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", filled],
            cwd=self.root,
            env={**self.variables(), **self.environment},
            input=answer,
            capture_output=True,
            text=True,
        )
        assert ran.returncode == 0, f"{filled}: exit code {ran.returncode}\n{ran.stdout[-3000:]}{ran.stderr[-3000:]}"
        return f"$ {command}\n{ran.stdout}{ran.stderr}"
