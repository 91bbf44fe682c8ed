# What the coordinator may do: the calls that it makes, and what Lambda and EC2 do in its name.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  ec2 = join(":", [
    "arn", data.aws_partition.current.partition, "ec2", data.aws_region.current.region,
    data.aws_caller_identity.current.account_id,
  ])
  # An image belongs to no account, as its ARN has it.
  image = join(":", [
    "arn", data.aws_partition.current.partition, "ec2", data.aws_region.current.region, "",
    "image/${var.ami_id}",
  ])
  has_index = var.enclaves_table.has_status_index
  subnets   = [for it in var.subnets : "${local.ec2}:subnet/${it.subnet_id}"]
  # The groups of enclaves, whose ids the web app makes up.
  enclaves_groups = join(":", [
    "arn", data.aws_partition.current.partition, "logs", data.aws_region.current.region,
    data.aws_caller_identity.current.account_id, "log-group", "${coalesce(var.log_group_prefix, "/none/")}*",
  ])
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "this" {
  name               = local.name
  description        = "The coordinator of Nitro Enclaves"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

data "aws_iam_policy_document" "this" {
  # No PutItem: what the web app wrote is never replaced.
  statement {
    sid       = "Records"
    actions   = ["dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:UpdateItem"]
    resources = [var.enclaves_table.arn]
  }

  statement {
    sid       = "RecordsThatWait"
    actions   = [local.has_index ? "dynamodb:Query" : "dynamodb:Scan"]
    resources = [local.has_index ? "${var.enclaves_table.arn}/index/status-index" : var.enclaves_table.arn]
  }

  statement {
    sid       = "Ledger"
    actions   = ["dynamodb:DeleteItem", "dynamodb:GetItem", "dynamodb:PutItem", "dynamodb:Query"]
    resources = [var.ledger_table.arn]
  }

  statement {
    sid       = "LedgerOfWhatIsActive"
    actions   = ["dynamodb:Query"]
    resources = ["${var.ledger_table.arn}/index/active-index"]
  }

  # It cannot write what a host says of itself, only remove it.
  statement {
    sid       = "SayWhatHostsShouldRun"
    actions   = ["dynamodb:PutItem"]
    resources = [var.hosts_table.arn]

    condition {
      test     = "ForAllValues:StringLike"
      variable = "dynamodb:LeadingKeys"
      values   = ["desired#*"]
    }
    condition {
      test     = "Null"
      variable = "dynamodb:LeadingKeys"
      values   = ["false"]
    }
  }

  statement {
    sid       = "Hosts"
    actions   = ["dynamodb:DeleteItem", "dynamodb:GetItem"]
    resources = [var.hosts_table.arn]
  }

  # Lambda reads the streams in the function's name.
  statement {
    sid       = "Streams"
    actions   = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator"]
    resources = [var.enclaves_table.stream_arn, var.hosts_table.stream_arn]
  }

  # ListStreams and the calls of EC2 that describe know no resources (AWS, Service Authorization Reference).
  statement {
    sid       = "WhatKnowsNoResources"
    actions   = ["dynamodb:ListStreams", "ec2:DescribeInstances", "ec2:DescribeLaunchTemplateVersions"]
    resources = ["*"]
  }

  # Both conditions together: from this template, and with nothing that it names replaced. What the request itself
  # names is in the next statement.
  statement {
    sid     = "LaunchParentsFromTheirTemplate"
    actions = ["ec2:RunInstances"]
    resources = [
      "${local.ec2}:instance/*",
      "${local.ec2}:volume/*",
      var.parent_security_group_arn,
      local.image,
      var.launch_template.arn,
    ]

    condition {
      test     = "ArnEquals"
      variable = "ec2:LaunchTemplate"
      values   = [var.launch_template.arn]
    }
    condition {
      test     = "Bool"
      variable = "ec2:IsLaunchTemplateResource"
      values   = ["true"]
    }
  }

  statement {
    sid       = "LaunchIntoTheirSubnets"
    actions   = ["ec2:RunInstances"]
    resources = local.subnets

    condition {
      test     = "ArnEquals"
      variable = "ec2:LaunchTemplate"
      values   = [var.launch_template.arn]
    }
  }

  statement {
    sid       = "WithAnInterfaceThere"
    actions   = ["ec2:RunInstances"]
    resources = ["${local.ec2}:network-interface/*"]

    condition {
      test     = "ArnEquals"
      variable = "ec2:LaunchTemplate"
      values   = [var.launch_template.arn]
    }
    condition {
      test     = "ArnEquals"
      variable = "ec2:Subnet"
      values   = local.subnets
    }
  }

  statement {
    sid       = "AndNoPublicAddress"
    effect    = "Deny"
    actions   = ["ec2:RunInstances"]
    resources = ["${local.ec2}:network-interface/*"]

    condition {
      test     = "Bool"
      variable = "ec2:AssociatePublicIpAddress"
      values   = ["true"]
    }
  }

  statement {
    sid       = "LaunchNoInstanceWithoutOurTag"
    effect    = "Deny"
    actions   = ["ec2:RunInstances"]
    resources = ["${local.ec2}:instance/*"]

    condition {
      test     = "StringNotEquals"
      variable = "aws:RequestTag/bailey:deployment"
      values   = [var.deployment]
    }
  }

  statement {
    sid       = "TagWhatIsLaunched"
    actions   = ["ec2:CreateTags"]
    resources = ["${local.ec2}:instance/*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["RunInstances"]
    }
    condition {
      test     = "ForAllValues:StringEquals"
      variable = "aws:TagKeys"
      values   = ["Name", "bailey:deployment", "bailey:enclave", "bailey:generation", "bailey:spare"]
    }
  }

  statement {
    sid       = "PassTheParentsRoleAlone"
    actions   = ["iam:PassRole"]
    resources = [var.parent_role_arn]

    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com"]
    }
  }

  statement {
    sid       = "EndAndPauseOurInstancesAlone"
    actions   = ["ec2:StartInstances", "ec2:StopInstances", "ec2:TerminateInstances"]
    resources = ["${local.ec2}:instance/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/bailey:deployment"
      values   = [var.deployment]
    }
  }

  statement {
    sid       = "Reports"
    actions   = ["s3:GetObject", "s3:PutObject"]
    resources = ["${var.reports_bucket.arn}/reports/*"]
  }

  statement {
    sid       = "SignedManifests"
    actions   = ["s3:GetObject"]
    resources = [for arn in var.eif_bucket_arns : "${arn}/*.manifest.dsse.json"]
  }

  dynamic "statement" {
    for_each = var.topic_arn == null ? [] : [var.topic_arn]

    content {
      sid       = "TellPeople"
      actions   = ["sns:Publish"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.log_group_prefix == null ? [] : [local.enclaves_groups]

    content {
      sid       = "MakeEnclavesLogGroups"
      actions   = ["logs:CreateLogGroup", "logs:PutRetentionPolicy"]
      resources = [statement.value]
    }
  }

  dynamic "statement" {
    for_each = var.log_group_prefix == null ? [] : [local.enclaves_groups]

    content {
      sid       = "WriteWhatWasMeasured"
      actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      resources = ["${statement.value}:log-stream:attestation"]
    }
  }

  # Lambda's own doing, in the function's name.
  statement {
    sid       = "WhatFails"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.failures.arn]
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents"]
    resources = ["${aws_cloudwatch_log_group.this.arn}:*"]
  }
}

resource "aws_iam_role_policy" "this" {
  name   = "coordinator"
  role   = aws_iam_role.this.id
  policy = data.aws_iam_policy_document.this.json
}
