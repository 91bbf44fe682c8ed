"""Mistakes, planted one by one where terraform refuses them, and all together where only our checks can."""

import calls
import hygiene
import iam_cases
import metrics
import policies
from workspace import TALKATIVE, Failed, Workspace

# (what, module, file, old, new, what terraform says).
REFUSED = [
    ("a misspelt argument", "tables", "main.tf", "billing_mode    ", "biling_mode     ", 'argument named "biling_mode"'),
    ("an unknown block", "parents", "main.tf", "enclave_options {", "enclave_option {", 'type "enclave_option"'),
    ("a missing argument", "storage", "main.tf", "      sse_algorithm = \"AES256\"\n", "", 'argument "sse_algorithm" is required'),
    ("a wrong type", "coordinator", "main.tf", " = var.timeout_s", ' = "soon"', "a number is required"),
    ("a reference to nothing", "network", "main.tf", "aws_route_table.private.id\n}", "aws_route_table.privat.id\n}", "undeclared resource"),
    ("an attribute that only AWS sets", "observability", "main.tf", 'name = "${var.deployment}-alarms"', 'name = "${var.deployment}-alarms"\n  arn  = "arn:aws:sns:eu-west-1:123456789012:x"', "arn is set by AWS alone"),
    ("an unknown type of resource", "web-app-access", "main.tf", '"aws_iam_policy" "this"', '"aws_iam_polcy" "this"', 'resource type "aws_iam_polcy"'),
]  # fmt: skip

MODULES = "terraform/modules"
COORDINATOR, PARENTS = f"{MODULES}/coordinator", f"{MODULES}/parents"
DASHBOARD, ALARMS = f"{MODULES}/observability/dashboard.tf", f"{MODULES}/observability/main.tf"

# (what, file, old, new, what our checks say).
TAKEN = [
    ("an action too many", f"{COORDINATOR}/iam.tf", '"dynamodb:DescribeTable", "dynamodb:GetItem"', '"dynamodb:BatchGetItem", "dynamodb:DescribeTable", "dynamodb:GetItem"', "dynamodb:BatchGetItem on enclaves is allowed and never called"),
    ("an action too few", f"{COORDINATOR}/iam.tf", '"dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"', '"dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"', "dynamodb:DeleteItem on ledger is called and not allowed"),
    ("an action that does not exist", f"{COORDINATOR}/iam.tf", '"sqs:SendMessage"', '"sqs:SendMessages"', "sqs:SendMessages"),
    ("an action on the wrong resource", f"{COORDINATOR}/iam.tf", '["${var.reports_bucket.arn}/reports/*"]', "[var.reports_bucket.arn]", "RESOURCE_MISMATCH"),
    ("a wildcard action", f"{COORDINATOR}/iam.tf", '"logs:CreateLogStream", "logs:PutLogEvents"', '"logs:*"', "wildcard action logs:*"),
    ("a wildcard resource", f"{COORDINATOR}/iam.tf", '"${var.ledger_table.arn}/index/active-index"', '"*"', "wildcard resource for dynamodb:Query"),
    ("a wildcard table", f"{MODULES}/web-app-access/main.tf", '[var.enclaves_table_arn, "${var.enclaves_table_arn}/index/status-index"]', '["${var.enclaves_table_arn}*"]', "table/bailey-prod-enclaves*"),
    ("any instance may be ended", f"{COORDINATOR}/iam.tf", 'variable = "aws:ResourceTag/bailey:deployment"\n      values   = [var.deployment]', 'variable = "aws:ResourceTag/bailey:deployment"\n      values   = [var.deployment, "other"]', "to terminate another installation's instance should be denied"),
    ("any role may be passed to any service", f"{COORDINATOR}/iam.tf", '"iam:PassedToService"\n      values   = ["ec2.amazonaws.com"]', '"iam:PassedToService"\n      values   = ["ec2.amazonaws.com", "lambda.amazonaws.com"]', "to pass the role to another service should be denied"),
    ("a launch may replace what the template names", f"{COORDINATOR}/iam.tf", '    condition {\n      test     = "Bool"\n      variable = "ec2:IsLaunchTemplateResource"\n      values   = ["true"]\n    }\n', '', "to replace what the template names should be denied"),
    ("a launch with another installation's tag", f"{COORDINATOR}/iam.tf", 'variable = "aws:RequestTag/bailey:deployment"\n      values   = [var.deployment]', 'variable = "aws:RequestTag/bailey:deployment"\n      values   = [var.deployment, "other"]', "to launch with another installation's tag should be denied"),
    ("an agent that reads what others should run", f"{PARENTS}/main.tf", '"desired#${local.self}"', '"desired#${local.self}", "desired#arn:aws:ec2:eu-west-1:123456789012:instance/i-0bbbbbbbbbbbbbbbb"', "to read what another should run should be denied"),
    ("stolen credentials that work elsewhere", f"{PARENTS}/main.tf", '"aws:SourceVpc"\n      values   = ["$${aws:EC2InstanceSourceVPC}"]', '"aws:SourceVpc"\n      values   = ["$${aws:SourceVpc}"]', "stolen credentials in another VPC should be denied"),
    ("stolen credentials that work next door", f"{PARENTS}/main.tf", 'variable = "aws:VpcSourceIp"\n      values   = ["$${aws:EC2InstanceSourcePrivateIPv4}"]', 'variable = "aws:VpcSourceIp"\n      values   = ["$${aws:VpcSourceIp}"]', "stolen credentials on another instance of the VPC should be denied"),
    ("a bucket without encryption", f"{MODULES}/storage/main.tf", '_encryption_configuration" "this" {\n  for_each = aws_s3_bucket.this', '_encryption_configuration" "this" {\n  for_each = { for kind, it in aws_s3_bucket.this : kind => it if kind != "reports" }', "bailey-prod-reports-123456789012: nothing is encrypted"),
    ("a bucket open to plain HTTP", f"{MODULES}/storage/main.tf", '_policy" "this" {\n  for_each = aws_s3_bucket.this', '_policy" "this" {\n  for_each = { for kind, it in aws_s3_bucket.this : kind => it if kind != "eif" }', "bailey-prod-eif-123456789012: nothing refuses plain HTTP"),
    ("a table that can be deleted", f"{MODULES}/tables/main.tf", "deletion_protection_enabled = var.deletion_protection", "deletion_protection_enabled = false", "can be deleted"),
    ("a stream without old images", f"{MODULES}/tables/main.tf", 'stream_view_type            = "NEW_AND_OLD_IMAGES"', 'stream_view_type            = "KEYS_ONLY"', "has the stream 'KEYS_ONLY'"),
    ("two hops to the metadata service", f"{PARENTS}/main.tf", "hop_limit = 1", "hop_limit = 2", "hops to the metadata service is 2"),
    ("a volume in clear", f"{PARENTS}/main.tf", 'encrypted             = "true"', 'encrypted             = "false"', "encrypted volume is 'false'"),
    ("a parent with SSH", f"{PARENTS}/main.tf", '"aws_vpc_security_group_egress_rule" "interface"', '"aws_vpc_security_group_ingress_rule" "ssh" {\n  security_group_id = aws_security_group.this.id\n  ip_protocol       = "tcp"\n  from_port         = 22\n  to_port           = 22\n  cidr_ipv4         = "0.0.0.0/0"\n}\n\nresource "aws_vpc_security_group_egress_rule" "interface"', "the rule tcp from_port=22 to_port=22 cidr_ipv4=0.0.0.0/0 is not listed"),
    ("an endpoint open to everybody on the network", f"{MODULES}/network/main.tf", "  to_port           = 443\n  cidr_ipv4         = var.cidr", '  to_port           = 443\n  cidr_ipv4         = "0.0.0.0/0"', "lets in 0.0.0.0/0"),
    ("a rule wider than it is listed", f"{PARENTS}/main.tf", "  from_port                    = each.value.from_port\n", "  from_port                    = 1024\n", "the rule tcp from_port=1024 to_port=8443 referenced_security_group_id=sg-0123456789abcdef0 is not listed"),
    ("a rule that is listed and not made", f"{PARENTS}/main.tf", "for it in var.egress : join", "for it in slice(var.egress, 0, 0) : join", "there is no rule tcp from_port=443 to_port=443 cidr_ipv4=203.0.113.0/24"),
    ("a gateway that lets everything through", f"{MODULES}/network/main.tf", "= local.gateway_policies[each.key]\n", '= each.key == "dynamodb" ? null : local.gateway_policies[each.key]\n', "lets everything through"),
    ("a gateway to every bucket", f"{MODULES}/network/endpoints.tf", '"arn:${local.partition}:s3:::al2023-repos-${local.region}-de612dc2/*"', '"arn:${local.partition}:s3:::*/*"', "wildcard resource arn:aws:s3:::*/*"),
    ("an agent that writes what was measured", f"{PARENTS}/main.tf", 'for name in ["application", "system"]', 'for name in ["application", "system", "attestation"]', "to write what was measured should be denied"),
    ("an agent that writes any group", f"{PARENTS}/main.tf", '"${coalesce(var.log_group_prefix, "/none/")}*"', '"*"', "to write the coordinator's log should be denied"),
    ("a coordinator that may not make groups", f"{COORDINATOR}/iam.tf", '["logs:CreateLogGroup", "logs:PutRetentionPolicy"]', '["logs:PutRetentionPolicy"]', "logs:CreateLogGroup on enclaves' logs is called and not allowed"),
    ("an agent that may not make its streams", f"{PARENTS}/main.tf", '["logs:CreateLogStream", "logs:PutLogEvents"]', '["logs:PutLogEvents"]', "logs:CreateLogStream on enclaves' logs is called and not allowed"),
    ("a wildcard that nobody lists", f"{COORDINATOR}/iam.tf", '"${arn}/*.manifest.dsse.json"', '"${arn}/*.json"', "123456789012/*.json is allowed and not listed in terraform/README.md"),
    ("a launch into any subnet", f"{COORDINATOR}/iam.tf", '    resources = local.subnets\n', '    resources = ["${local.ec2}:subnet/*"]\n', "to launch into another subnet should be denied"),
    ("an interface in any subnet", f"{COORDINATOR}/iam.tf", '      variable = "ec2:Subnet"\n      values   = local.subnets', '      variable = "ec2:Subnet"\n      values   = ["${local.ec2}:subnet/*"]', "to make an interface in another subnet should be denied"),
    ("a public address", f"{COORDINATOR}/iam.tf", 'variable = "ec2:AssociatePublicIpAddress"\n      values   = ["true"]', 'variable = "ec2:AssociatePublicIpAddress"\n      values   = ["false"]', "to give a public address should be denied"),
    ("a template with an interface", f"{PARENTS}/main.tf", "  block_device_mappings {", "  network_interfaces {\n    device_index = 0\n  }\n\n  block_device_mappings {", "interfaces of its own"),
    ("batches that are tried for ever", f"{COORDINATOR}/main.tf", "maximum_retry_attempts             = 20", "maximum_retry_attempts             = -1", "is tried for ever, or lost"),
    ("a filter of one's own", f"{MODULES}/installation/main.tf", "coordinator/event-filters/hosts.json", "coordinator/event-filters/enclaves.json", "its filters are not those"),
    ("a parameter that the image's component does not have", f"{MODULES}/installation/main.tf", "    ReleaseSha256 ", "    ReleaseSha265 ", "the component needs the parameter ReleaseSha256"),
    ("a metric that nobody emits", ALARMS, 'metric = "orphans_ended"', 'metric = "orphans"', "an alarm looks at orphans, which nobody emits"),
    ("a metric that nobody shows", DASHBOARD, '"reattestations_missed"', '"reattestations_mist"', "reattestations_missed is emitted and not shown"),
    ("an alarm that tells nobody", ALARMS, "alarm_actions       = [aws_sns_topic.this.arn]\n  ok_actions          = [aws_sns_topic.this.arn]\n\n  metric_query", "ok_actions          = [aws_sns_topic.this.arn]\n\n  metric_query", "tells nobody"),
]  # fmt: skip


def unnoticed_by_terraform(provider):
    problems = []
    with Workspace(provider) as healthy:
        for module in {module for _, module, *_ in REFUSED}:
            healthy.init(f"{MODULES}/{module}")
            healthy.terraform(f"{MODULES}/{module}", "validate", "-no-color")
    for what, module, file, old, new, says in REFUSED:
        with Workspace(provider) as planted:
            planted.plant(f"{MODULES}/{module}/{file}", old, new)
            try:
                planted.init(f"{MODULES}/{module}")
                planted.terraform(f"{MODULES}/{module}", "validate", "-no-color")
                problems.append(f"{what} is not noticed")
            except Failed as refusal:
                if says not in " ".join(str(refusal).replace("│", " ").split()):
                    problems.append(f"{what}: terraform says something else:\n{refusal}")
    return problems


def unnoticed_by_us(provider):
    with Workspace(provider) as planted:
        for _, file, old, new, _ in TAKEN:
            planted.plant(file, old, new)
        said = "\n".join(everything_said(planted.apply("prod", **TALKATIVE)))
    return [f"{what} is not noticed: no {says!r} in\n{said}" for what, *_, says in TAKEN if says not in said]


def everything_said(applied):
    """The problems that all checks together find."""
    called = calls.coordinator() - {("enclaves", "dynamodb:Scan")}
    yield from policies.compared(applied, "coordinator", called)
    yield from policies.compared(applied, "parents", calls.agent())
    yield from iam_cases.wrong(applied)
    yield from hygiene.traffic(applied, TALKATIVE)
    for check in (
        policies.wildcards, policies.undocumented, policies.lint, policies.sizes, policies.trust, hygiene.buckets,
        hygiene.tables, hygiene.parents, hygiene.network, hygiene.function, hygiene.alarms, hygiene.image,
        metrics.compared,
    ):  # fmt: skip
        yield from check(applied)
