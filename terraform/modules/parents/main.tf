# Who the parents are, and how they are launched. An agent calls DynamoDB and S3 and, where it is told to,
# CloudWatch Logs.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

data "aws_ec2_managed_prefix_list" "gateway" {
  for_each = toset(["dynamodb", "s3"])
  name     = "com.amazonaws.${data.aws_region.current.region}.${each.key}"
}

locals {
  name        = "${var.deployment}-parent"
  eif_objects = [for arn in var.eif_bucket_arns : "${arn}/*"]
  # The instance itself, as IAM knows it. A parent that is taken over can speak for itself alone.
  self = "$${ec2:SourceInstanceARN}"
  # What agents call, by what it is called on: bailey_runtime counts the calls, a test compares.
  table_actions  = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
  object_actions = ["s3:GetObject", "s3:GetObjectVersion"]
  stream_actions = ["logs:CreateLogStream", "logs:PutLogEvents"]
  has_logs       = var.log_group_prefix != null
  # Two streams of any enclave: which enclave comes next is not known. Groups are the coordinator's, and so is the stream
  # `attestation`.
  streams = [
    for name in ["application", "system"] : join(":", [
      "arn", data.aws_partition.current.partition, "logs", data.aws_region.current.region,
      data.aws_caller_identity.current.account_id, "log-group", "${coalesce(var.log_group_prefix, "/none/")}*",
      "log-stream", name,
    ])
  ]
  all_actions   = concat(local.table_actions, local.object_actions, local.has_logs ? local.stream_actions : [])
  all_resources = concat([var.hosts_table.arn], local.eif_objects, local.has_logs ? local.streams : [])

  user_data = join("", concat(
    ["hosts_table = ${jsonencode(var.hosts_table.name)}\n"],
    local.has_logs ? ["log_group_prefix = ${jsonencode(var.log_group_prefix)}\n"] : [],
  ))
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "this" {
  name               = local.name
  description        = "Parents of Nitro Enclaves"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "aws_iam_policy_document" "agent" {
  statement {
    sid       = "ReadWhatItShouldRun"
    actions   = ["dynamodb:GetItem"]
    resources = [var.hosts_table.arn]

    condition {
      test     = "ForAllValues:StringEquals"
      variable = "dynamodb:LeadingKeys"
      values   = ["desired#${local.self}"]
    }
    condition {
      test     = "Null"
      variable = "dynamodb:LeadingKeys"
      values   = ["false"]
    }
  }

  statement {
    sid       = "SayWhatItSees"
    actions   = ["dynamodb:UpdateItem"]
    resources = [var.hosts_table.arn]

    condition {
      test     = "ForAllValues:StringEquals"
      variable = "dynamodb:LeadingKeys"
      values   = ["observed#${local.self}", "beat#${local.self}"]
    }
    condition {
      test     = "Null"
      variable = "dynamodb:LeadingKeys"
      values   = ["false"]
    }
  }

  # GetObjectVersion: every range of a fetch names the version that the first answer had.
  statement {
    sid       = "ReadImages"
    actions   = local.object_actions
    resources = local.eif_objects
  }

  dynamic "statement" {
    for_each = local.has_logs ? [local.streams] : []

    content {
      sid       = "WriteWhatWorkloadsPrint"
      actions   = local.stream_actions
      resources = statement.value
    }
  }

  # Credentials that were carried off still bear the instance's ARN. Elsewhere they are of no use:
  # each call has to come from the VPC and from the address of the instance that they were given to.
  statement {
    sid       = "NobodyButInstances"
    effect    = "Deny"
    actions   = local.all_actions
    resources = local.all_resources

    condition {
      test     = "Null"
      variable = "ec2:SourceInstanceARN"
      values   = ["true"]
    }
  }

  statement {
    sid       = "NotFromOutsideOfTheVpc"
    effect    = "Deny"
    actions   = local.all_actions
    resources = local.all_resources

    condition {
      test     = "StringNotEquals"
      variable = "aws:SourceVpc"
      values   = ["$${aws:EC2InstanceSourceVPC}"]
    }
  }

  statement {
    sid       = "NotFromAnotherAddress"
    effect    = "Deny"
    actions   = local.all_actions
    resources = local.all_resources

    condition {
      test     = "StringNotEquals"
      variable = "aws:VpcSourceIp"
      values   = ["$${aws:EC2InstanceSourcePrivateIPv4}"]
    }
  }
}

resource "aws_iam_role_policy" "agent" {
  name   = "agent"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.agent.json
}

resource "aws_iam_role_policy_attachment" "session_manager" {
  count = var.allow_session_manager ? 1 : 0

  role       = aws_iam_role.this.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonSSMManagedInstanceCore"
}

resource "aws_iam_instance_profile" "this" {
  name = local.name
  role = aws_iam_role.this.name
}

resource "aws_security_group" "this" {
  name        = local.name
  description = "Parents of Nitro Enclaves"
  vpc_id      = var.vpc_id

  tags = { Name = local.name }
}

resource "aws_vpc_security_group_egress_rule" "gateway" {
  for_each = data.aws_ec2_managed_prefix_list.gateway

  security_group_id = aws_security_group.this.id
  description       = "TLS to ${each.key}"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = each.value.id
}

resource "aws_vpc_security_group_egress_rule" "interface" {
  count = var.interface_endpoints_cidr == null ? 0 : 1

  security_group_id = aws_security_group.this.id
  description       = "TLS to interface endpoints"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.interface_endpoints_cidr
}

# What enclaves are reached by and what they reach, through the agent. Names of the resources are of what they are for,
# so that another order of the lists changes nothing.
resource "aws_vpc_security_group_ingress_rule" "enclaves" {
  for_each = {
    for it in var.ingress :
    "${it.from_port}-${coalesce(it.to_port, it.from_port)} from ${coalesce(it.cidr_ipv4, it.security_group_id)}" => it
  }

  security_group_id            = aws_security_group.this.id
  description                  = each.value.description
  ip_protocol                  = "tcp"
  from_port                    = each.value.from_port
  to_port                      = coalesce(each.value.to_port, each.value.from_port)
  cidr_ipv4                    = each.value.cidr_ipv4
  referenced_security_group_id = each.value.security_group_id
}

resource "aws_vpc_security_group_egress_rule" "enclaves" {
  for_each = {
    for it in var.egress : join(" ", [
      "${it.from_port}-${coalesce(it.to_port, it.from_port)} to",
      coalesce(it.cidr_ipv4, it.cidr_ipv6, it.prefix_list_id, it.security_group_id),
    ]) => it
  }

  security_group_id            = aws_security_group.this.id
  description                  = each.value.description
  ip_protocol                  = "tcp"
  from_port                    = each.value.from_port
  to_port                      = coalesce(each.value.to_port, each.value.from_port)
  cidr_ipv4                    = each.value.cidr_ipv4
  cidr_ipv6                    = each.value.cidr_ipv6
  prefix_list_id               = each.value.prefix_list_id
  referenced_security_group_id = each.value.security_group_id
}

# The coordinator names template and version; it adds the type, the zone and its subnet, a token, tags. No network
# interface here: EC2 takes a subnet either with an interface or with the request.
resource "aws_launch_template" "this" {
  name                                 = local.name
  description                          = "Parents of Nitro Enclaves"
  update_default_version               = true
  image_id                             = var.ami_id
  ebs_optimized                        = "true"
  instance_initiated_shutdown_behavior = "terminate"
  user_data                            = base64encode(local.user_data)
  vpc_security_group_ids               = [aws_security_group.this.id]

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  enclave_options {
    enabled = true
  }

  # One hop: nothing behind a bridge of the parent, and no enclave's proxy, gets credentials.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = var.root_volume_gib
      encrypted             = "true"
      delete_on_termination = "true"
    }
  }
}
