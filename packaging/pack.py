"""Packs the release: archives that are the same bytes whenever they are made of the same files, a bill of
materials for each, and the sums of all. Called by scripts/dist, which builds the programs."""

import argparse
import gzip
import hashlib
import io
import json
import os
import re
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
# Any instant serves that a zip can hold; the day of the build would make two builds differ.
INSTANT = (1980, 1, 1, 0, 0, 0)
INSTANT_UNIX = 315532800


def main():
    arguments = parse_arguments()
    metadata = cargo_metadata()
    version = next(p["version"] for p in metadata["packages"] if p["name"] == "bailey-agent")
    machine = os.uname().machine
    programs, output = arguments.programs, arguments.output
    for program in ("bailey-agent", "bailey-coordinator", "bailey"):
        check_glibc(programs / program, arguments.most_glibc)
    for program in ("keep", "keep-kms"):
        check_static(arguments.static / program)
    output.mkdir(parents=True, exist_ok=True)
    crates = ("bailey-agent", "bailey-coordinator", "bailey", "bailey-enclave-image", "bailey-kms")
    bills = {name: bill_of_materials(metadata, name) for name in crates}
    licence = {"LICENSE": file("LICENSE")}
    agent = {
        "bin/bailey-agent": (programs / "bailey-agent", 0o755),
        "agent.example.toml": file("agent/agent.example.toml"),
        **tree("agent/systemd", "systemd"),
        **tree("ami", "ami"),
    }
    coordinator = {
        "bin/bailey-coordinator": (programs / "bailey-coordinator", 0o755),
        "coordinator.example.toml": file("coordinator/coordinator.example.toml"),
        **tree("coordinator/event-filters", "event-filters"),
    }
    cli = {"bin/bailey": (programs / "bailey", 0o755), "report.schema.json": file("docs/report.schema.json")}
    enclave = {
        "bin/keep": (arguments.static / "keep", 0o755),
        "bin/keep-kms": (arguments.static / "keep-kms", 0o755),
        "keep-kms.cdx.json": (bills["bailey-kms"], 0o644),
    }
    made = []
    for archive, crate, members in (
        ("agent", "bailey-agent", agent),
        ("coordinator", "bailey-coordinator", coordinator),
        ("bailey", "bailey", cli),
        ("enclave", "bailey-enclave-image", enclave),
    ):
        bill = {"sbom.cdx.json": (bills[crate], 0o644)}
        path = output / f"{archive}.tar.gz"
        write_tar(path, f"{crate}-{version}-{machine}", {**members, **licence, **bill}, arguments.compression)
        bill_path = output / f"{archive}.cdx.json"
        bill_path.write_bytes(bills[crate])
        made += [path, bill_path]
    # As Lambda names the processors.
    architecture = {"aarch64": "arm64"}.get(machine, machine)
    path = output / f"coordinator-lambda-{architecture}.zip"
    write_zip(path, {
        "bootstrap": (REPOSITORY / "coordinator/lambda/bootstrap", 0o755),
        "bailey-coordinator": (programs / "bailey-coordinator", 0o755),
        "sbom.cdx.json": (bills["bailey-coordinator"], 0o644),
        **licence,
    }, arguments.compression)
    made.append(path)
    sums = "".join(f"{sha256(path)}  {path.name}\n" for path in sorted(made))
    (output / "SHA256SUMS").write_text(sums)
    print(sums, end="")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=Path, required=True, help="where the built programs are")
    parser.add_argument("--static", type=Path, required=True, help="where the programs for images are")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--most-glibc", default="2.34", help="the newest version of glibc that may be needed")
    parser.add_argument("--compression", type=int, default=6, choices=range(1, 10), help="1 is quick, for tests")
    return parser.parse_args()


def file(path):
    """A file of the repository, with the mode that git would give it."""
    path = REPOSITORY / path
    return (path, 0o755 if os.access(path, os.X_OK) else 0o644)


def tree(folder, name):
    """Every file below a folder of the repository, under another name."""
    root = REPOSITORY / folder
    found = sorted(path for path in root.rglob("*") if path.is_file())
    return {f"{name}/{path.relative_to(root)}": file(path) for path in found}


def contents(source):
    return source if isinstance(source, bytes) else source.read_bytes()


def write_tar(path, top, members, level):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            source, mode = members[name]
            data = contents(source)
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), mode, INSTANT_UNIX
            archive.addfile(entry, io.BytesIO(data))
    with path.open("wb") as out, gzip.GzipFile("", "wb", level, out, mtime=0) as packed:
        packed.write(tar.getvalue())


def write_zip(path, members, level):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name in sorted(members):
            source, mode = members[name]
            entry = zipfile.ZipInfo(name, INSTANT)
            entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, mode << 16, 3
            archive.writestr(entry, contents(source), compresslevel=level)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def cargo_metadata():
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", rust_target()]
    return json.loads(subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True).stdout)


def rust_target():
    lines = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout.splitlines()
    return next(line.split(": ")[1] for line in lines if line.startswith("host: "))


def bill_of_materials(metadata, crate):
    """CycloneDX 1.5: the crates that are linked into a program, and what each of them needs. It holds no time
    and no number of its own, so that it is the same for the same program."""
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(i for i, p in packages.items() if p["name"] == crate and p["source"] is None)
    needs, waiting = {}, [root]
    while waiting:
        current = waiting.pop()
        if current in needs:
            continue
        linked = [
            dependency["pkg"]
            for dependency in nodes[current]["deps"]
            if any(kind["kind"] is None for kind in dependency["dep_kinds"])
        ]
        needs[current] = linked
        waiting += linked
    reference = lambda i: f"pkg:cargo/{packages[i]['name']}@{packages[i]['version']}"
    checksums = locked_checksums()

    def component(i):
        package = packages[i]
        found = {
            "type": "application" if i == root else "library",
            "bom-ref": reference(i),
            "name": package["name"],
            "version": package["version"],
            "purl": reference(i),
        }
        if package.get("license"):
            found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        checksum = checksums.get((package["name"], package["version"]))
        if checksum:
            found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return found

    others = sorted((i for i in needs if i != root), key=reference)
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(root)},
        "components": [component(i) for i in others],
        "dependencies": [
            {"ref": reference(i), "dependsOn": sorted({reference(j) for j in needs[i]})} for i in [root, *others]
        ],
    }
    return (json.dumps(bill, indent=1) + "\n").encode()


def locked_checksums():
    text = (REPOSITORY / "Cargo.lock").read_text()
    entry = r'name = "([^"]+)"\nversion = "([^"]+)"\nsource = "[^"]+"\nchecksum = "([0-9a-f]+)"'
    return {(name, version): checksum for name, version, checksum in re.findall(entry, text)}


def check_static(program):
    """Ends the whole when a program for images needs a C library, which an image has not."""
    if needed_versions(program.read_bytes()):
        sys.exit(f"pack: {program} is a dynamic program, and an image has no C library")


def check_glibc(program, most):
    """Ends the whole when a program needs a newer glibc than Amazon Linux 2023 and Lambda have."""
    needed = [v for v in needed_versions(program.read_bytes()) if v.startswith("GLIBC_")]
    number = lambda version: tuple(int(part) for part in version.removeprefix("GLIBC_").split("."))
    if not needed:
        sys.exit(f"pack: {program} names no version of glibc: is it a dynamic program?")
    newest = max((v for v in needed if v[6:7].isdigit()), key=number)
    if number(newest) > number(most):
        sys.exit(f"pack: {program} needs {newest}, and at most GLIBC_{most} is there where it runs")
    print(f"{program.name} needs {newest}", file=sys.stderr)


def needed_versions(elf):
    """The names in `.gnu.version_r` of a 64-bit little-endian ELF file (LSB, section symbol versioning)."""
    if elf[:6] != b"\x7fELF\x02\x01":
        sys.exit("pack: not a 64-bit little-endian ELF file")
    (offset,) = struct.unpack_from("<Q", elf, 0x28)
    size, count = struct.unpack_from("<HH", elf, 0x3A)
    sections = [struct.unpack_from("<IIQQQQIIQQ", elf, offset + i * size) for i in range(count)]
    names = []
    for section in sections:
        if section[1] != 0x6FFFFFFE:  # SHT_GNU_verneed
            continue
        strings, at = sections[section[6]][4], section[4]
        for _ in range(section[7]):
            _, entries, _, first, following = struct.unpack_from("<HHIII", elf, at)
            entry = at + first
            for _ in range(entries):
                _, _, _, name, after = struct.unpack_from("<IHHII", elf, entry)
                start = strings + name
                names.append(elf[start:elf.index(b"\0", start)].decode())
                entry += after
            at += following
    return names


if __name__ == "__main__":
    main()
