"""Which calls of AWS the programs make, read from their sources, as actions of IAM.

The SDK's operations are method calls with names of their own, and items of transactions are built by
builders; EC2 and SNS are spoken to by name. Each source file stands for the table or the bucket that it
is about. What another file calls is an error here, so that nothing is overlooked.
"""

import re

from workspace import REPOSITORY

# Which table or bucket a source file is about.
COORDINATOR = {
    "coordinator/src/store/hosts.rs": "hosts",
    "coordinator/src/store/images.rs": "eif",
    "coordinator/src/store/ledger.rs": "ledger",
    "coordinator/src/store/records.rs": "enclaves",
    "coordinator/src/store/reports.rs": "reports",
    # Carries out what the others built.
    "coordinator/src/store/transaction.rs": None,
}
# Of the shape `run` alone, which is deployed by nobody's Terraform: it follows the streams itself.
RUN_ONLY = [
    "coordinator/src/run.rs",
    "coordinator/src/store/checkpoints.rs",
    "coordinator/src/streams/dynamo.rs",
]
AGENT = {"agent/src/hosts_table.rs": "hosts", "agent/src/image/object.rs": "eif"}

OPERATIONS = [
    "batch_get_item", "batch_write_item", "delete_item", "delete_object", "describe_stream",
    "describe_table", "get_item", "get_object", "get_records", "get_shard_iterator", "head_object",
    "list_objects_v2", "list_streams", "list_tables", "put_item", "put_object", "query", "scan",
    "transact_get_items", "transact_write_items", "update_item",
]  # fmt: skip
CALL = re.compile(rf"\.({'|'.join(OPERATIONS)})\(\)")
# A transaction needs the rights of its items; it is no action of its own.
ITEM = re.compile(r"\b(Get|Put|Update|Delete|ConditionCheck)::builder\(\)")
# Each operation of our own client of CloudWatch Logs, with the calls in it, and who uses which on what.
LOGS_CLIENT = "crates/runtime/src/logs.rs"
LOGS_OPERATION = re.compile(r"\n    (?:pub )?async fn (\w+)\((.*?)\n    \}\n", re.S)
LOGS_USERS = {"coordinator/src/pcr_log.rs": "coordinator", "agent/src/workload/ship.rs": "agent"}
LOGS_USE = re.compile(r"\blogs\s*\.(\w+)\(")
NAMED = re.compile(r'(?:const ACTION: &str = |self\.switch\(|\.call\()"(\w+)"')

# Actions that a call needs besides its own, and why.
IMPLIED = {
    # The request tags the instance.
    ("ec2", "ec2:RunInstances"): [("ec2", "ec2:CreateTags"), ("iam", "iam:PassRole")],
}
# What Lambda does in the function's name: reads the streams, sends on what fails, writes logs.
BY_LAMBDA = {
    ("enclaves", "dynamodb:DescribeStream"),
    ("enclaves", "dynamodb:GetRecords"),
    ("enclaves", "dynamodb:GetShardIterator"),
    ("hosts", "dynamodb:DescribeStream"),
    ("hosts", "dynamodb:GetRecords"),
    ("hosts", "dynamodb:GetShardIterator"),
    ("*", "dynamodb:ListStreams"),
    ("failures", "sqs:SendMessage"),
    ("logs", "logs:CreateLogStream"),
    ("logs", "logs:PutLogEvents"),
}


def coordinator():
    """What the coordinator calls as a function: {(what it is called on, action)}."""
    found = of_files("coordinator/src", COORDINATOR, RUN_ONLY)
    found |= {("ec2", f"ec2:{name}") for name in named("coordinator/src/ec2/mod.rs")}
    found |= {("topic", f"sns:{name}") for name in named("coordinator/src/sns.rs")}
    found |= logs_of("coordinator")
    for call, more in IMPLIED.items():
        found |= set(more) if call in found else set()
    return found | BY_LAMBDA


def agent():
    """What an agent calls."""
    return of_files("agent/src", AGENT, []) | logs_of("agent")


def logs_of(program):
    """What a program calls of CloudWatch Logs."""
    client = production((REPOSITORY / LOGS_CLIENT).read_text())
    operations = {name: re.findall(r'\.call\(\s*"(\w+)"', body) for name, body in LOGS_OPERATION.findall(client)}
    found = set()
    for path in sorted([*(REPOSITORY / "agent/src").rglob("*.rs"), *(REPOSITORY / "coordinator/src").rglob("*.rs")]):
        name, text = str(path.relative_to(REPOSITORY)), production(path.read_text())
        used = set(LOGS_USE.findall(text)) & operations.keys()
        if used and name not in LOGS_USERS:
            raise AssertionError(f"{name} calls {sorted(used)} of CloudWatch Logs: say in calls.py for whom")
        if LOGS_USERS.get(name) == program:
            found |= {("enclaves' logs", f"logs:{action}") for one in used for action in operations[one]}
    assert found, f"nothing of CloudWatch Logs was found for the {program}"
    return found


def of_files(folder, known, left_out):
    found = set()
    for path in sorted((REPOSITORY / folder).rglob("*.rs")):
        name = str(path.relative_to(REPOSITORY))
        text = production(path.read_text())
        actions = {action for call in CALL.findall(text) for action in of_operation(call, text)}
        actions |= {f"dynamodb:{action}Item" for action in items(text)}
        if name in left_out or not actions or is_test(path):
            continue
        if name not in known:
            raise AssertionError(f"{name} calls {sorted(actions)}: say in calls.py on what")
        found |= {(known[name], action) for action in actions if known[name]}
    return found


def items(text):
    """The kinds of items in transactions. An `Update` may be a type of the file's own."""
    if "TransactWriteItem" not in text and "TransactGetItem" not in text and "types::{" not in text:
        return set()
    return set(ITEM.findall(text))


def of_operation(call, text):
    if call in ("transact_get_items", "transact_write_items"):
        return []
    if call in ("get_object", "head_object"):
        # A pinned version is another right.
        pinned = "version_id(" in text
        return ["s3:GetObject", "s3:GetObjectVersion"] if pinned else ["s3:GetObject"]
    service = "s3" if "object" in call else "dynamodb"
    return [f"{service}:{''.join(word.capitalize() for word in call.split('_'))}"]


def named(path):
    return set(NAMED.findall(production((REPOSITORY / path).read_text())))


def production(text):
    """A source file without its tests."""
    return text.split("#[cfg(test)]\nmod ")[0]


def is_test(path):
    return path.stem.endswith("tests") or "tests" in path.parts
