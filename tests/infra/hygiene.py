"""What an installation has to be like, apart from its policies. Each check gives its problems as texts."""

import base64
import json

import yaml
from iam import statements
from workspace import REPOSITORY


def buckets(applied):
    """Versioned, encrypted, closed to the public, reached by TLS alone, owned by the account."""
    of = {
        "is versioned": versioned(applied),
        "is encrypted": {
            values["bucket"]
            for _, values in applied.of("aws_s3_bucket_server_side_encryption_configuration")
            if values["rule"][0]["apply_server_side_encryption_by_default"][0]["sse_algorithm"]
        },
        "blocks public access": {
            values["bucket"]
            for _, values in applied.of("aws_s3_bucket_public_access_block")
            if all(values[key] for key in ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"))
        },
        "has an owner": {
            values["bucket"]
            for _, values in applied.of("aws_s3_bucket_ownership_controls")
            if values["rule"][0]["object_ownership"] == "BucketOwnerEnforced"
        },
        "refuses plain HTTP": {
            values["bucket"]
            for _, values in applied.of("aws_s3_bucket_policy")
            if any(refuses_plain_http(it, values["bucket"]) for it in statements(values["policy"]))
        },
    }
    names = [values["bucket"] for _, values in applied.of("aws_s3_bucket")]
    return [f"bucket {name}: nothing {what}" for what, those in of.items() for name in names if name not in those]


def versioned(applied):
    return {
        values["bucket"]
        for _, values in applied.of("aws_s3_bucket_versioning")
        if values["versioning_configuration"][0]["status"] == "Enabled"
    }


def refuses_plain_http(it, bucket):
    arn = f"arn:aws:s3:::{bucket}"
    wanted = {"Bool": {"aws:SecureTransport": "false"}}
    is_whole = it["Action"] == "s3:*" and set(it["Resource"]) == {arn, f"{arn}/*"}
    return it["Effect"] == "Deny" and it.get("Condition") == wanted and it["Principal"] == "*" and is_whole


def tables(applied):
    """Recoverable, protected, on demand, with the streams that the coordinator reads."""
    views = {"enclaves": "NEW_AND_OLD_IMAGES", "hosts": "NEW_IMAGE", "ledger": ""}
    problems = []
    for address, values in applied.of("aws_dynamodb_table"):
        kind = values["name"].rsplit("-", 1)[1]
        if not any(it["enabled"] for it in values["point_in_time_recovery"]):
            problems.append(f"{address}: cannot be recovered to a point in time")
        if not values["deletion_protection_enabled"]:
            problems.append(f"{address}: can be deleted")
        if values["billing_mode"] != "PAY_PER_REQUEST":
            problems.append(f"{address}: is billed {values['billing_mode']}")
        stream = values["stream_view_type"] if values["stream_enabled"] else ""
        if stream != views[kind]:
            problems.append(f"{address}: has the stream {stream!r} instead of {views[kind]!r}")
    return problems


def parents(applied):
    """The launch template makes a parent that is closed, and can host enclaves."""
    it = applied.one("aws_launch_template")
    volume = it["block_device_mappings"][0]["ebs"][0]
    metadata = it["metadata_options"][0]
    user_data = base64.b64decode(it["user_data"]).decode()
    wanted = {
        "enclaves": (it["enclave_options"][0]["enabled"], True),
        "tokens of the metadata service": (metadata["http_tokens"], "required"),
        "hops to the metadata service": (metadata["http_put_response_hop_limit"], 1),
        "encrypted volume": (volume["encrypted"], "true"),
        "type of volume": (volume["volume_type"], "gp3"),
        "volume goes with the instance": (volume["delete_on_termination"], "true"),
        # EC2 takes a subnet either with an interface or with the request, and the coordinator sends one.
        "interfaces of its own": (it["network_interfaces"], []),
        "security groups": (len(it["vpc_security_group_ids"]), 1),
        "what a shutdown means": (it["instance_initiated_shutdown_behavior"], "terminate"),
        "default version is the newest": (it["update_default_version"], True),
        "key for SSH": (it["key_name"], ""),
        "user data": (user_data, told(applied)),
    }
    return [
        f"launch template: {what} is {found!r} instead of {right!r}"
        for what, (found, right) in wanted.items()
        if (found or "") != right and found != right
    ]


def told(applied):
    """What agents are told by the user data."""
    prefix = applied.outputs["log_group_prefix"]
    lines = [f'hosts_table = "{applied.outputs["hosts_table"]}"\n']
    return "".join(lines + ([f'log_group_prefix = "{prefix}"\n'] if prefix else []))


RULE = ("from_port", "to_port", "cidr_ipv4", "cidr_ipv6", "prefix_list_id", "referenced_security_group_id")


def traffic(applied, variables):
    """The parents' rules are those that are listed, and what their own calls need; nothing else."""
    interfaces = applied.of("aws_vpc_endpoint")
    services = ["dynamodb", "s3"] + (["interfaces"] if variables.get("log_group_prefix") else [])
    wanted = {
        "aws_vpc_security_group_ingress_rule": [rule(it) for it in variables.get("parents_ingress", [])],
        "aws_vpc_security_group_egress_rule": [rule(it) for it in variables.get("parents_egress", [])] + services,
    }
    problems = []
    for kind, right in wanted.items():
        found = [
            ours(address, values) for address, values in applied.of(kind) if address.startswith("module.parents")
        ]
        problems += [f"parents: the rule {one} is not listed" for one in found if one not in right]
        problems += [f"parents: there is no rule {one}" for one in right if one not in found]
    assert interfaces, "the installation was expected to have a network of its own"
    return problems


def rule(it):
    """A listed rule, as a resource has it."""
    values = {**it, "to_port": it.get("to_port", it["from_port"]), "referenced_security_group_id": it.get("security_group_id")}
    return "tcp " + " ".join(f"{name}={values[name]}" for name in RULE if values.get(name))


def ours(address, values):
    """A rule that is there: what it is for, or what it says."""
    is_tls = (values["ip_protocol"], values["from_port"], values["to_port"]) == ("tcp", 443, 443)
    for service in ("dynamodb", "s3"):
        if address.endswith(f'rule.gateway["{service}"]') and is_tls and values["prefix_list_id"]:
            return service
    if address.endswith("rule.interface[0]") and is_tls and values["cidr_ipv4"] == "10.64.0.0/16":
        return "interfaces"
    return f"{values['ip_protocol']} " + " ".join(f"{name}={values[name]}" for name in RULE if values[name])


def network(applied):
    """Nothing comes in but to endpoints and where it is listed, and there is no way to the internet."""
    problems = [
        f"{address}: lets in {values['cidr_ipv4']}"
        for address, values in applied.of("aws_vpc_security_group_ingress_rule")
        if not address.startswith("module.parents")
        and not (address.startswith("module.network") and values["from_port"] == 443 and values["cidr_ipv4"] != "0.0.0.0/0")
    ]
    problems += [
        f"{address}: lets everything through"
        for address, values in applied.of("aws_vpc_endpoint")
        if values["vpc_endpoint_type"] == "Gateway" and not values["policy"].startswith("{")
    ]
    for kind in ("aws_internet_gateway", "aws_nat_gateway", "aws_route", "aws_egress_only_internet_gateway"):
        problems += [f"{address}: a way to the internet" for address, _ in applied.of(kind)]
    problems += [
        f"{address}: has rules of its own"
        for address, values in applied.of("aws_security_group")
        if values["ingress"] or values["egress"]
    ]
    problems += [
        f"{address}: gives public addresses"
        for address, values in applied.of("aws_subnet")
        if values["map_public_ip_on_launch"]
    ]
    gateways = {values["service_name"].rsplit(".", 1)[1] for _, values in applied.of("aws_vpc_endpoint") if values["vpc_endpoint_type"] == "Gateway"}
    if gateways != {"dynamodb", "s3"}:
        problems.append(f"gateways are there for {sorted(gateways)}")
    return problems


def function(applied):
    """What invokes the coordinator, how often it is tried, and where it goes in the end."""
    problems = []
    for address, values in applied.of("aws_lambda_event_source_mapping"):
        kind = address.split('"')[1]
        file = json.loads((REPOSITORY / f"coordinator/event-filters/{kind}.json").read_text())
        filters = [json.loads(it["pattern"]) for it in values["filter_criteria"][0]["filter"]]
        if sorted(map(json.dumps, filters)) != sorted(map(json.dumps, file)):
            problems.append(f"{address}: its filters are not those of coordinator/event-filters")
        wanted = {
            "bisect_batch_on_function_error": True,
            "function_response_types": ["ReportBatchItemFailures"],
        }
        for key, right in wanted.items():
            if values[key] != right:
                problems.append(f"{address}: {key} is {values[key]}")
        if not values["destination_config"] or values["maximum_retry_attempts"] in (None, -1):
            problems.append(f"{address}: a batch that fails is tried for ever, or lost")
    variables = applied.one("aws_lambda_function")["environment"][0]["variables"]
    size = sum(len(name) + len(value) for name, value in variables.items())
    if size > 4_096:
        problems.append(f"the function's environment has {size} bytes, 4096 are allowed")
    for address, values in applied.of("aws_cloudwatch_log_group"):
        if not values["retention_in_days"]:
            problems.append(f"{address}: is kept for ever")
    for address, values in applied.of("aws_sqs_queue"):
        if not values["sqs_managed_sse_enabled"]:
            problems.append(f"{address}: is not encrypted")
    return problems


def alarms(applied):
    """Every alarm tells somebody."""
    return [
        f"{address}: tells nobody"
        for address, values in applied.of("aws_cloudwatch_metric_alarm")
        if not values["alarm_actions"]
    ]


def image(applied):
    """The parents' image is built with the parameters that the component declares."""
    component = yaml.safe_load(applied.one("aws_imagebuilder_component")["data"])
    declared = {name: it for one in component.get("parameters", []) for name, it in one.items()}
    (used,) = applied.one("aws_imagebuilder_image_recipe")["component"]
    given = {it["name"] for it in used["parameter"]}
    needed = {name for name, it in declared.items() if "default" not in it}
    return [f"the component knows no parameter {name}" for name in sorted(given - declared.keys())] + [
        f"the component needs the parameter {name}" for name in sorted(needed - given)
    ]
