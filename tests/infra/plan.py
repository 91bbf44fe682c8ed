"""The plan of production as JSON, for tools that read plans.

usage: plan.py FILE
"""

import pathlib
import sys

from workspace import WITH_IMAGE, Provider, Workspace, arguments_of


def main(file):
    provider = Provider()
    try:
        with Workspace(provider) as workspace:
            root = "terraform/environments/prod"
            workspace.init(root)
            workspace.terraform(root, "plan", "-out=plan", "-input=false", *arguments_of(WITH_IMAGE))
            pathlib.Path(file).write_text(workspace.terraform(root, "show", "-json", "plan"))
    finally:
        provider.end()


if __name__ == "__main__":
    main(sys.argv[1])
