"""Writes what terraform defines as the file that the system tests take: `BAILEY_INSTALLATION=FILE cargo test --test system`.

usage: describe.py FILE
"""

import json
import pathlib
import sys

import installation
from workspace import Provider, Workspace


def main(file):
    provider = Provider()
    try:
        with Workspace(provider) as workspace:
            # With this name everything is called what the system tests call it.
            applied = workspace.apply("prod", deployment="bailey")
            pathlib.Path(file).write_text(json.dumps(installation.for_system_tests(applied)))
    finally:
        provider.end()


if __name__ == "__main__":
    main(sys.argv[1])
