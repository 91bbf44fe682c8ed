"""Makes aws_schema.json: what the resources that terraform/ uses are made of, in the provider's own words.

The provider's binary carries its schema, and so do the bindings that are generated from it, as
JavaScript inside the wheel `cdktn-provider-aws`. They say of every attribute whether it is required, optional
or computed, its type, and which blocks there are. This reads those texts; nothing of them is run.

usage: extract_schema.py WHEEL [--check]     writes aws_schema.json beside it, or compares
"""

import io
import json
import pathlib
import re
import sys
import tarfile
import zipfile

HERE = pathlib.Path(__file__).parent
SCHEMA = HERE / "aws_schema.json"
TERRAFORM = HERE.parents[1] / "terraform"

SCALARS = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
GETTERS = {
    "getStringAttribute": "string",
    "getNumberAttribute": "number",
    "getBooleanAttribute": "bool",
    "getListAttribute": ["list", "string"],
    "getNumberListAttribute": ["list", "number"],
}

# `name: { value: …, isBlock: …, type: "set", storageClassType: "FooList" }` of a function that writes HCL.
WRITTEN = re.compile(
    r'^ {8,12}(\w+): \{\n\s+value: (.*),\n\s+isBlock: (true|false),\n\s+type: "(\w+)",\n'
    r'\s+storageClassType: "([\w.]+)",',
    re.M,
)
# `// name - computed: …, optional: …, required: …` and the getter behind it.
READ = re.compile(
    r"^    // (\w+) - computed: (true|false), optional: (true|false), required: (true|false)\n"
    r"((?:    .*\n)*?)    get (\w+)\(\) \{\n        return (.*?);\n    \}",
    re.M,
)
CLASS = re.compile(r"^class (\w+) extends cdktn\.(\w+)(.*?)^\}", re.M | re.S)
WRITER = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{\n(.*?)^\}", re.M | re.S)
KIND = {"TerraformResource": "resource_schemas", "TerraformDataSource": "data_source_schemas"}

WRITE_ONLY = {"computed": False, "optional": True, "required": False}


class Unreadable(Exception):
    """A text of the bindings has another form than is known."""


def container(name):
    """A type by the name that the bindings give it: `stringMap`, `cdktn.StringMapList`."""
    name = name.removeprefix("cdktn.")
    name = name[0].lower() + name[1:]
    for suffix, kind in (("List", "list"), ("Map", "map")):
        if name.endswith(suffix):
            inner = container(name.removesuffix(suffix))
            return None if inner is None else [kind, inner]
    return SCALARS.get(name)


class Source:
    """One file of the bindings: a resource, a data source or the provider."""

    def __init__(self, text):
        self.text = text[: text.rfind("//# sourceMappingURL")]
        self.writers = {}
        for name, body in WRITER.findall(self.text):
            self.writers[name[0].upper() + name[1:]] = written(body)
        self.bases, self.read = {}, {}
        for name, base, body in CLASS.findall(self.text):
            self.bases[name] = base
            self.read[name] = dict(getters(body))

    def block(self, attributes, getters_of_it):
        """A block of attributes and blocks, given both halves of what is known of it."""
        block = {"attributes": {}, "block_types": {}}
        # Nothing reads the provider's own blocks, so they have no getters.
        known = {name: WRITE_ONLY for name in attributes} | getters_of_it
        for name, getter in known.items():
            flags = {flag: True for flag in ("computed", "optional", "required") if getter[flag]}
            it = attributes.get(name)
            if it is None:
                block["attributes"][name] = {"type": self.type_of(name, getter), **flags}
            elif not it["is_block"]:
                block["attributes"][name] = {"type": declared(name, it), **flags}
            else:
                self.add_nested(block, name, it, getter, flags)
        return block

    def add_nested(self, block, name, it, getter, flags):
        struct = it["storage"]
        if struct not in self.writers:
            struct = re.sub(r"(List|Map)$", "", struct)
        if struct not in self.writers:
            raise Unreadable(f"{name}: no {struct}")
        inner = self.block(self.writers[struct], self.read.get(f"{struct}OutputReference", {}))
        many = "listMapperHcl" in it["value"]
        # `listMapperHcl(…, false)` writes an attribute of objects, and not blocks.
        is_attribute = (
            (many and ", false)" in it["value"])
            or (getter["computed"] and not many and it["type"] != "struct")
            or it["type"] == "map"
        )
        if is_attribute:
            kind = it["type"] if it["type"] in ("set", "map") else "list"
            whole = object_of(inner)
            block["attributes"][name] = {
                "type": whole if it["type"] == "struct" else [kind, whole],
                **flags,
            }
            return
        mode = "single" if it["type"] == "struct" else it["type"]
        nested = {"nesting_mode": mode, "block": inner}
        if getter["required"]:
            nested["min_items"] = 1
        if not many and mode != "single":
            nested["max_items"] = 1
        block["block_types"][name] = nested

    def type_of(self, name, getter):
        """The type of an attribute that is only read."""
        call = re.match(r"(cdktn\.Fn\.tolist\()?this\.(get\w+)\('", getter["returns"])
        if call and call[2] in GETTERS:
            kind = GETTERS[call[2]]
            return ["set", kind[1]] if call[1] and isinstance(kind, list) else kind
        made = getter["made"]
        if made is None:
            return "dynamic"
        kind = "set" if getter["is_set"] else "list"
        if made.startswith("cdktn."):
            found = container(made)
            return [kind, found[1]] if found and found[0] == "list" else found
        objects = self.objects(made)
        return {"ComplexMap": ["map", objects], "ComplexList": [kind, objects]}.get(
            self.bases.get(made), objects
        )

    def objects(self, made):
        stem = re.sub(r"(List|Map)$", "", made)
        for name in (f"{made}OutputReference", f"{stem}OutputReference", made):
            if self.bases.get(name) == "ComplexObject":
                return ["object", {k: self.type_of(k, g) for k, g in self.read[name].items()}]
        raise Unreadable(f"no class for {made}")


def written(body):
    fields = ("value", "is_block", "type", "storage")
    found = {}
    for name, *rest in WRITTEN.findall(body):
        found[name] = dict(zip(fields, rest))
        found[name]["is_block"] = found[name]["is_block"] == "true"
    return found


def getters(body):
    for name, computed, optional, required, _, prop, returns in READ.findall(body):
        made = re.search(
            rf'^    _{prop} = new ([\w.]+)\(this, "{name}"(?:, (true|false))?\)', body, re.M
        )
        yield name, {
            "computed": computed == "true",
            "optional": optional == "true",
            "required": required == "true",
            "returns": returns,
            "made": made[1] if made else None,
            "is_set": bool(made) and made[2] == "true",
        }


def declared(name, it):
    found = container(it["storage"])
    if found is None:
        raise Unreadable(f"{name}: {it['storage']}")
    return ["set", found[1]] if it["type"] == "set" and isinstance(found, list) else found


def object_of(block):
    whole = {name: it["type"] for name, it in block["attributes"].items()}
    for name, it in block["block_types"].items():
        whole[name] = [it["nesting_mode"], object_of(it["block"])]
    return ["object", whole]


def used():
    """What terraform/ declares, as (kind of schema, type)."""
    found = set()
    for path in TERRAFORM.rglob("*.tf"):
        for kind, name in re.findall(r'^(resource|data) "(aws_\w+)"', path.read_text(), re.M):
            found.add(("data_source_schemas" if kind == "data" else "resource_schemas", name))
    return found


def files(wheel):
    """The bindings' files, by their folders' names."""
    with zipfile.ZipFile(wheel) as archive:
        inner = next(name for name in archive.namelist() if name.endswith(".jsii.tgz"))
        packed = io.BytesIO(archive.read(inner))
    with tarfile.open(fileobj=packed) as archive:
        for member in archive:
            found = re.fullmatch(r"package/lib/([\w-]+)/index\.js", member.name)
            if found:
                yield found[1], archive.extractfile(member).read().decode()


def extract(wheel):
    wanted = used()
    schema = {"provider_version": None, "provider": None, **{kind: {} for kind in KIND.values()}}
    for folder, text in files(wheel):
        name = re.search(r'static tfResourceType = "(\w+)"', text)
        top = re.search(r"^class (\w+) extends cdktn\.(Terraform\w+)", text, re.M)
        if not name or not top:
            continue
        kind = KIND.get(top[2])
        if folder != "provider" and (kind, name[1]) not in wanted:
            continue
        source = Source(text)
        attributes = written(source.text[source.text.index("synthesizeHclAttributes()") :])
        try:
            block = {"version": 0, "block": source.block(attributes, source.read[top[1]])}
        except Unreadable as error:
            raise SystemExit(f"{folder}: {error}") from error
        if folder == "provider":
            schema["provider"] = block
            schema["provider_version"] = re.search(r"providerVersion: '([\d.]+)'", text)[1]
        else:
            schema[kind][name[1]] = block
    missing = {name for kind, name in wanted if name not in schema[kind]}
    if missing:
        raise SystemExit(f"the bindings know no {', '.join(sorted(missing))}")
    return json.dumps(schema, separators=(",", ":"), sort_keys=True) + "\n"


def main(arguments):
    if not arguments or arguments[1:] not in ([], ["--check"]):
        raise SystemExit(__doc__)
    text = extract(arguments[0])
    if "--check" in arguments:
        if text != SCHEMA.read_text():
            raise SystemExit("aws_schema.json is not what the bindings say: run without --check")
        print("aws_schema.json is what the bindings say")
    else:
        SCHEMA.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
