"""What AWS would answer: ids and ARNs of the right form, the same for the same resource each time."""

import hashlib

ACCOUNT = "123456789012"
REGION = "eu-west-1"
HERE = f"{REGION}:{ACCOUNT}"

# What stands for a table of the web app that Terraform did not make; tests name it.
EXISTING_TABLE = {
    "hash_key": "id",
    "stream_enabled": True,
    "stream_view_type": "NEW_AND_OLD_IMAGES",
}

# Attributes by type; in braces the resource's own attributes, and `hex`, a name of its own.
KNOWN = {
    "aws_cloudwatch_dashboard": {"dashboard_arn": f"arn:aws:cloudwatch::{ACCOUNT}:dashboard/{{dashboard_name}}"},
    "aws_cloudwatch_event_rule": {"arn": f"arn:aws:events:{HERE}:rule/{{name}}", "id": "{name}"},
    "aws_cloudwatch_log_group": {"arn": f"arn:aws:logs:{HERE}:log-group:{{name}}", "id": "{name}"},
    "aws_cloudwatch_metric_alarm": {"arn": f"arn:aws:cloudwatch:{HERE}:alarm:{{alarm_name}}"},
    "aws_dynamodb_table": {
        "arn": f"arn:aws:dynamodb:{HERE}:table/{{name}}",
        "id": "{name}",
        "stream_arn": f"arn:aws:dynamodb:{HERE}:table/{{name}}/stream/2026-01-01T00:00:00.000",
    },
    "aws_iam_instance_profile": {"arn": f"arn:aws:iam::{ACCOUNT}:instance-profile/{{name}}"},
    "aws_iam_policy": {"arn": f"arn:aws:iam::{ACCOUNT}:policy/{{name}}"},
    "aws_iam_role": {"arn": f"arn:aws:iam::{ACCOUNT}:role/{{name}}", "id": "{name}"},
    "aws_lambda_function": {"arn": f"arn:aws:lambda:{HERE}:function:{{function_name}}"},
    "aws_launch_template": {
        "arn": f"arn:aws:ec2:{HERE}:launch-template/lt-{{hex}}",
        "id": "lt-{hex}",
        "latest_version": 1,
    },
    "aws_route_table": {"id": "rtb-{hex}"},
    "aws_s3_bucket": {"arn": "arn:aws:s3:::{bucket}", "id": "{bucket}"},
    "aws_security_group": {"arn": f"arn:aws:ec2:{HERE}:security-group/sg-{{hex}}", "id": "sg-{hex}"},
    "aws_sns_topic": {"arn": f"arn:aws:sns:{HERE}:{{name}}", "id": f"arn:aws:sns:{HERE}:{{name}}"},
    "aws_sqs_queue": {
        "arn": f"arn:aws:sqs:{HERE}:{{name}}",
        "id": f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{{name}}",
    },
    "aws_subnet": {"arn": f"arn:aws:ec2:{HERE}:subnet/subnet-{{hex}}", "id": "subnet-{hex}"},
    "aws_vpc": {"id": "vpc-{hex}"},
    "data.aws_caller_identity": {"account_id": ACCOUNT, "id": ACCOUNT},
    "data.aws_dynamodb_table": {
        "arn": f"arn:aws:dynamodb:{HERE}:table/{{name}}",
        "stream_arn": f"arn:aws:dynamodb:{HERE}:table/{{name}}/stream/2026-01-01T00:00:00.000",
        **EXISTING_TABLE,
    },
    "data.aws_ec2_managed_prefix_list": {"id": "pl-{hex}"},
    "data.aws_partition": {"partition": "aws", "dns_suffix": "amazonaws.com"},
    "data.aws_region": {"region": REGION, "id": REGION},
    "data.aws_subnet": {"availability_zone": lambda known: zone_of(known["id"]), "vpc_id": "vpc-0123456789abcdef0"},
}


def zone_of(subnet):
    """The last digit of a subnet's id says in which zone it lies: a, b or c."""
    return f"{REGION}{'abc'[int(subnet[-1], 16) % 3]}"


class Maker:
    """Makes up what is not known of one resource, out of what is."""

    def __init__(self, name, known):
        self.name, self.known = name, known
        seed = [name] + sorted(f"{k}={v}" for k, v in known.items() if isinstance(v, str))
        self.hex = hashlib.sha256("\n".join(seed).encode()).hexdigest()[:17]

    def value(self, path, kind):
        known = KNOWN.get(self.name, {}).get(path[0]) if len(path) == 1 else None
        if callable(known):
            return known(self.known)
        if isinstance(known, str):
            return known.format(hex=self.hex, **self.known)
        if known is not None:
            return known
        if kind == "string":
            return self.text(path)
        if kind in ("number", "bool"):
            return {"number": 0, "bool": False}[kind]
        outer, inner = kind
        if outer == "object":
            return {name: self.value((*path, name), it) for name, it in inner.items()}
        return {} if outer == "map" else []

    def text(self, path):
        name = str(path[-1])
        digest = hashlib.sha256("/".join(map(str, path)).encode()).hexdigest()[:6]
        if name == "arn" or name.endswith("_arn"):
            service = self.name.removeprefix("data.").split("_")[1]
            return f"arn:aws:{service}:{HERE}:{name}/{self.hex}{digest}"
        return f"{name}-{self.hex[:6]}{digest}"
