"""`aws_iam_policy_document`: from its blocks to the JSON that the provider renders of them."""

FIELDS = [
    ("actions", "Action"),
    ("not_actions", "NotAction"),
    ("resources", "Resource"),
    ("not_resources", "NotResource"),
]


def rendered(config):
    """The policy, as a value; `config` is the data source's configuration."""
    statements = [statement(it) for it in config.get("statement") or []]
    policy = {"Version": config.get("version") or "2012-10-17", "Statement": statements}
    if config.get("policy_id"):
        policy["Id"] = config["policy_id"]
    return policy


def statement(it):
    made = {"Sid": it["sid"]} if it.get("sid") else {}
    made["Effect"] = it.get("effect") or "Allow"
    for field, name in FIELDS:
        if it.get(field):
            made[name] = alone_or_sorted(it[field])
    for field, name in (("principals", "Principal"), ("not_principals", "NotPrincipal")):
        if it.get(field):
            who = {one["type"]: alone_or_sorted(one["identifiers"]) for one in it[field]}
            made[name] = "*" if who == {"*": "*"} else who
    for one in it.get("condition") or []:
        tests = made.setdefault("Condition", {}).setdefault(one["test"], {})
        tests[one["variable"]] = one["values"][0] if len(one["values"]) == 1 else one["values"]
    return made


def alone_or_sorted(values):
    return values[0] if len(values) == 1 else sorted(values, reverse=True)
