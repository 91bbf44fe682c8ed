"""READMEs of modules: their tables of inputs and outputs, made from the code."""

import re
import sys

from workspace import REPOSITORY

MODULES = REPOSITORY / "terraform/modules"
BEGIN, END = "<!-- made by tests/infra/documents.py -->", "<!-- end -->"


def blocks(path, kind):
    """(name, body) of the top-level blocks of a kind, in a file as `terraform fmt` leaves it."""
    return re.findall(rf'^{kind} "(\w+)" \{{\n(.*?)^\}}', path.read_text(), re.M | re.S)


def attribute(body, name):
    found = re.search(rf"^  {name} += (.*(?:\n(?:    .*|  [\]\}}]\)?))*)", body, re.M)
    return re.sub(r"\s+", " ", found[1]) if found else None


def tables(module):
    lines = ["| input | type | default | |", "| --- | --- | --- | --- |"]
    for name, body in blocks(module / "variables.tf", "variable"):
        default = attribute(body, "default")
        default = "required" if default is None else f"`{default}`"
        description = attribute(body, "description").strip('"')
        lines.append(f"| `{name}` | `{attribute(body, 'type')}` | {default} | {description} |")
    lines += ["", "| output | |", "| --- | --- |"]
    for name, body in blocks(module / "outputs.tf", "output"):
        lines.append(f"| `{name}` | {attribute(body, 'description').strip(chr(34))} |")
    return "\n".join(lines)


def whole(module):
    """The README as it should be."""
    text = (module / "README.md").read_text()
    before, _, after = text.partition(BEGIN)[0], None, text.partition(END)[2]
    return f"{before}{BEGIN}\n{tables(module)}\n{END}{after}"


def outdated():
    """READMEs that do not say what the code says."""
    modules = sorted(path for path in MODULES.iterdir() if path.is_dir())
    missing = [f"{it.name} has no README" for it in modules if not (it / "README.md").exists()]
    return missing + [
        f"{it.name}/README.md is not current: run tests/infra/documents.py"
        for it in modules
        if (it / "README.md").exists() and (it / "README.md").read_text() != whole(it)
    ]


def differing_roots():
    """Files in which the environments differ, apart from their values and the key of their state."""
    environments = REPOSITORY / "terraform/environments"
    texts = {}
    for path in sorted(environments.glob("*/*.tf")):
        text = path.read_text().replace(f"bailey/{path.parent.name}.tfstate", "")
        texts.setdefault(path.name, {}).setdefault(text, []).append(path.parent.name)
    return [f"{name} is not the same in {list(by.values())}" for name, by in texts.items() if len(by) > 1]


if __name__ == "__main__":
    for module in sorted(MODULES.iterdir()):
        (module / "README.md").write_text(whole(module))
    sys.exit(0)
