"""Checks of every policy of an installation. Each check gives its problems as texts."""

import json
import re

import parliament
from iam import many, statements
from workspace import REPOSITORY

# Actions that know no resources, as AWS's Service Authorization Reference has it: an Allow has to name `*`.
NO_RESOURCES = {
    "dynamodb:ListStreams": "lists the streams of the account",
    "ec2:DescribeInstances": "descriptions of EC2 know no resources",
    "ec2:DescribeLaunchTemplateVersions": "descriptions of EC2 know no resources",
}
# Ids that nobody knows before the instance exists; each such statement has a condition instead.
UNNAMED = ("instance/*", "network-interface/*", "volume/*")
# The one part of an ARN of CloudWatch Logs that may follow a wildcard.
STREAM = r":log-stream:[\w-]+"
# A role's policies written into it may have so many characters together, white space not counted.
MOST_CHARACTERS = 10_240
# parliament takes a policy variable for a text, where AWS fills in an address.
FILLED_IN = "${aws:EC2InstanceSourcePrivateIPv4}"

# Attributes that hold a policy, by type of resource.
HOLDERS = {
    "aws_iam_policy": ["policy"],
    "aws_iam_role": ["assume_role_policy"],
    "aws_iam_role_policy": ["policy"],
    "aws_s3_bucket_policy": ["policy"],
    "aws_sns_topic_policy": ["policy"],
    "aws_vpc_endpoint": ["policy"],
}


def every(applied):
    """(address, policy as text) of every policy."""
    for kind, attributes in HOLDERS.items():
        for address, values in applied.of(kind):
            for attribute in attributes:
                # An endpoint without a policy of its own is given AWS's, which is known after apply.
                if kind != "aws_vpc_endpoint" or values[attribute].startswith("{"):
                    yield address, values[attribute]


def role_policies(applied, module):
    """The policies written into the role of a module."""
    return [
        values["policy"]
        for address, values in applied.of("aws_iam_role_policy")
        if address.startswith(f"module.{module}")
    ]


def wildcards(applied):
    """Allowed actions with wildcards, and wildcard resources where the API knows resources."""
    problems = []
    for address, policy in every(applied):
        for it in statements(policy):
            where = f"{address}, {it.get('Sid', 'no Sid')}"
            actions = many(it.get("Action", []))
            if it["Effect"] != "Allow":
                continue
            if "NotAction" in it or "NotResource" in it:
                problems.append(f"{where}: allows all but something")
            problems += [f"{where}: wildcard action {one}" for one in actions if "*" in one]
            for resource in many(it.get("Resource", [])):
                problems += wide(where, resource, actions, it)
    return problems


def wide(where, resource, actions, it):
    if resource == "*":
        return [
            f"{where}: wildcard resource for {action}"
            for action in actions
            if action not in NO_RESOURCES
        ]
    if "*" not in resource:
        return []
    # Objects of one bucket, streams of one log group.
    own = resource.split(":", 5)[-1]
    if resource.startswith("arn:aws:s3:::") and "*" not in own.split("/")[0] and "/" in own:
        return []
    if ":logs:" in resource and resource.endswith(":*") and resource.count("*") == 1:
        return []
    # Groups below a prefix that ends in a slash, and one named stream in each of them.
    if re.search(rf":log-group:/[\w./#-]+/\*({STREAM})?$", resource) and resource.count("*") == 1:
        return []
    if resource.endswith(UNNAMED) and resource.count("*") == 1 and it.get("Condition"):
        return []
    return [f"{where}: wildcard resource {resource}"]


# What a resource with a wildcard is, as terraform/README.md lists it.
SHAPES = [
    (r":ec2:.*:(instance|network-interface|volume)/\*$", r"\1/*"),
    (r":s3:::[^*/]+/\*\.manifest\.dsse\.json$", "bucket/*.manifest.dsse.json"),
    (r":s3:::[^*/]+/\*$", "bucket/*"),
    (r":s3:::[^*/]+/[^*]+/\*$", "bucket/prefix/*"),
    (r":log-group:/[^*]+/\*:log-stream:[^*]+$", "log-group:prefix/*:log-stream:name"),
    (r":log-group:/[^*]+/\*$", "log-group:prefix/*"),
    (r":log-group:/[^*]+[^*/]:\*$", "log-group:name:*"),
]


def exceptions(applied):
    """What is allowed with a wildcard: actions on every resource, and shapes of resources."""
    found = set()
    for _, policy in every(applied):
        for it in statements(policy):
            for resource in many(it.get("Resource", [])) if it["Effect"] == "Allow" else []:
                if resource == "*":
                    found |= set(many(it["Action"]))
                elif "*" in resource:
                    shapes = [found_in.expand(shape) for pattern, shape in SHAPES if (found_in := re.search(pattern, resource))]
                    found.add(shapes[0] if shapes else resource)
    return found


def undocumented(applied):
    """Wildcards that terraform/README.md does not list, those that it lists in vain, and reasons that are none."""
    text = (REPOSITORY / "terraform/README.md").read_text().split("## Exceptions")[1]
    rows = [line.split(" | ")[0] for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    # Of the other rows one is a Deny, and one about policies that AWS keeps.
    listed = {name for row in rows for name in re.findall(r"`([^`]+)`", row)} - {"*", "s3:*"}
    found = exceptions(applied)
    return (
        [f"{one} is allowed and not listed in terraform/README.md" for one in sorted(found - listed)]
        + [f"{one} is listed in terraform/README.md and nowhere allowed" for one in sorted(listed - found)]
        + [f"{action} knows resources" for action in sorted(NO_RESOURCES) if knows_resources(action)]
    )


def knows_resources(action):
    """Whether AWS's Service Authorization Reference, as parliament has it, names resources for an action."""
    prefix, name = action.split(":")
    (privilege,) = [
        it
        for service in parliament.iam_definition
        if service["prefix"] == prefix
        for it in service["privileges"]
        if it["privilege"] == name
    ]
    return any(it["resource_type"] for it in privilege["resource_types"])


def lint(applied):
    """What parliament says of a policy: unknown actions, wrong resources, conditions that do not exist."""
    problems = []
    for address, policy in every(applied):
        if is_of_resource(policy):
            continue
        # Nor does it know that the label of a stream has colons.
        policy = re.sub(r"/stream/[\dT:.-]+", "/stream/label", policy)
        policy = together(policy)
        try:
            found = parliament.analyze_policy_string(policy, ignore_private_auditors=True).findings
        except Exception as error:  # noqa: BLE001 it fails in many ways on what it does not expect
            problems.append(f"{address}: cannot be read: {error}")
            continue
        for one in found:
            if not (one.issue == "MISMATCHED_TYPE" and FILLED_IN in str(one.detail)):
                problems.append(f"{address}: {one.issue} {str(one.detail)[:300]}")
    return problems


def together(policy):
    """The policy, with all resources of launches in each statement that allows them: parliament wants to find them in
    one, where AWS looks for each resource in all statements."""
    policy = json.loads(policy)
    launches = [it for it in many(policy["Statement"]) if it["Effect"] == "Allow" and "ec2:RunInstances" in many(it["Action"])]
    resources = sorted({resource for it in launches for resource in many(it["Resource"])})
    for it in launches:
        it["Resource"] = resources
    return json.dumps(policy)


def is_of_resource(policy):
    """Whether it is a policy of a resource, which names principals; parliament knows those of identities."""
    return any("Principal" in it for it in statements(policy))


def sizes(applied):
    problems = []
    for address, policy in every(applied):
        size = len(json.dumps(json.loads(policy), separators=(",", ":")))
        if size > MOST_CHARACTERS:
            problems.append(f"{address}: {size} characters, {MOST_CHARACTERS} are allowed")
    return problems


def trust(applied):
    """Each role is for one service of AWS and nobody else."""
    problems = []
    for address, values in applied.of("aws_iam_role"):
        for it in statements(values["assume_role_policy"]):
            services = it.get("Principal", {}).get("Service")
            if set(it["Principal"]) != {"Service"} or not isinstance(services, str):
                problems.append(f"{address}: is for {it['Principal']}")
    return problems


def kinds(applied):
    """By ARN: what a resource stands for in calls.py."""
    names = {
        applied.outputs["enclaves_table"]: "enclaves",
        applied.outputs["ledger_table"]: "ledger",
        applied.outputs["hosts_table"]: "hosts",
        applied.outputs["eif_bucket"]: "eif",
        applied.outputs["reports_bucket"]: "reports",
    }

    prefix = applied.outputs.get("log_group_prefix")

    def kind(arn, action):
        if arn == "*":
            return "*" if not action.startswith("ec2:") else "ec2"
        service, rest = arn.split(":")[2], arn.split(":", 5)[5]
        if service == "logs" and prefix and rest.startswith(f"log-group:{prefix}"):
            return "enclaves' logs"
        if service in ("dynamodb", "s3"):
            name = rest.removeprefix("table/").split("/")[0]
            return names.get(name, name)
        return {"sns": "topic", "sqs": "failures"}.get(service, service)

    return kind


def allowed(applied, module):
    """What a module's role allows: {(what it is called on, action)}."""
    kind = kinds(applied)
    return {
        (kind(resource, action), action)
        for policy in role_policies(applied, module)
        for it in statements(policy)
        if it["Effect"] == "Allow"
        for action in many(it["Action"])
        for resource in many(it["Resource"])
    }


def compared(applied, module, called):
    """Where a role and the calls of its program differ."""
    granted = allowed(applied, module)
    return [f"{module}: {action} on {what} is called and not allowed" for what, action in sorted(called - granted)] + [
        f"{module}: {action} on {what} is allowed and never called"
        for what, action in sorted(granted - called)
    ]
