# The coordinator as a Lambda function: what invokes it, with what settings, and where what fails goes.

locals {
  name = "${var.deployment}-coordinator"

  # Written where the archive's `bootstrap` puts them.
  manifest_keys = {
    for number, key in var.manifest_public_keys : "BAILEY_MANIFEST_KEY_${number}" => key
  }

  spares = [
    for spare in var.spares : join("", [
      "{ instance_type = ${jsonencode(spare.instance_type)}, count = ${spare.count}",
      spare.availability_zone == null ? "" : ", availability_zone = ${jsonencode(spare.availability_zone)}",
      " }",
    ])
  ]

  # JSON's strings and lists of strings are TOML's.
  configuration = join("\n", concat(
    [
      "deployment = ${jsonencode(var.deployment)}",
      "enclaves_table = ${jsonencode(var.enclaves_table.name)}",
      "ledger_table = ${jsonencode(var.ledger_table.name)}",
      "hosts_table = ${jsonencode(var.hosts_table.name)}",
      "reports_bucket = ${jsonencode(var.reports_bucket.name)}",
      "launch_template = ${jsonencode(var.launch_template.name)}",
      "subnets = [${join(", ", [
        for it in var.subnets :
        "{ availability_zone = ${jsonencode(it.availability_zone)}, subnet_id = ${jsonencode(it.subnet_id)} }"
      ])}]",
      "role_arn = ${jsonencode(var.parent_role_arn)}",
      "manifest_keys = ${jsonencode([for name in keys(local.manifest_keys) : "/tmp/bailey/${name}.pem"])}",
      "fallback_types = ${jsonencode(var.fallback_types)}",
      "spares = [${join(", ", local.spares)}]",
    ],
    var.topic_arn == null ? [] : ["notify_topic_arn = ${jsonencode(var.topic_arn)}"],
    var.log_group_prefix == null ? [] : [
      "log_group_prefix = ${jsonencode(var.log_group_prefix)}",
      "log_retention_days = ${var.log_retention_days}",
    ],
    [for key, value in var.settings : "${key} = ${value}"],
    [""],
  ))
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${local.name}"
  retention_in_days = var.log_retention_days
}

resource "aws_lambda_function" "this" {
  function_name = local.name
  description   = "Turns requests in a DynamoDB table into verified Nitro Enclaves"
  role          = aws_iam_role.this.arn

  s3_bucket         = var.package.bucket
  s3_key            = var.package.key
  s3_object_version = var.package.version
  source_code_hash  = var.package.sha256

  package_type                   = "Zip"
  runtime                        = "provided.al2023"
  handler                        = "bootstrap"
  architectures                  = [var.architecture]
  memory_size                    = var.memory_mib
  timeout                        = var.timeout_s
  reserved_concurrent_executions = var.most_concurrent

  environment {
    variables = merge(local.manifest_keys, {
      BAILEY_COORDINATOR_TOML = local.configuration
      # Read by nobody. The coordinator takes the template's version at its start, and a function
      # whose environment changes starts anew.
      BAILEY_LAUNCH_TEMPLATE_VERSION = tostring(var.launch_template.version)
    })
  }

  depends_on = [aws_cloudwatch_log_group.this, aws_iam_role_policy.this]
}

# What the function could not even note in the ledger, after every try: batches of the streams, and
# events. The sweep finds the records all the same; here is what a person wants to know.
resource "aws_sqs_queue" "failures" {
  name                      = "${local.name}-failures"
  message_retention_seconds = 14 * 24 * 3600
  sqs_managed_sse_enabled   = true
}

resource "aws_lambda_event_source_mapping" "this" {
  for_each = {
    enclaves = { stream_arn = var.enclaves_table.stream_arn, filters = var.event_filters.enclaves }
    hosts    = { stream_arn = var.hosts_table.stream_arn, filters = var.event_filters.hosts }
  }

  function_name                      = aws_lambda_function.this.arn
  event_source_arn                   = each.value.stream_arn
  starting_position                  = "TRIM_HORIZON"
  batch_size                         = 100
  maximum_batching_window_in_seconds = 0
  parallelization_factor             = 1
  bisect_batch_on_function_error     = true
  maximum_retry_attempts             = 20
  maximum_record_age_in_seconds      = 3600
  function_response_types            = ["ReportBatchItemFailures"]

  filter_criteria {
    dynamic "filter" {
      for_each = jsondecode(each.value.filters)

      content {
        pattern = jsonencode(filter.value)
      }
    }
  }

  destination_config {
    on_failure {
      destination_arn = aws_sqs_queue.failures.arn
    }
  }
}

resource "aws_lambda_function_event_invoke_config" "this" {
  function_name                = aws_lambda_function.this.function_name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 3600

  destination_config {
    on_failure {
      destination = aws_sqs_queue.failures.arn
    }
  }

  depends_on = [aws_iam_role_policy.this]
}

resource "aws_cloudwatch_event_rule" "instances" {
  name        = "${local.name}-instances"
  description = "What becomes of instances"

  event_pattern = jsonencode({
    source = ["aws.ec2"]
    detail-type = [
      "EC2 Instance State-change Notification",
      "EC2 Spot Instance Interruption Warning",
      "EC2 Instance Rebalance Recommendation",
    ]
  })
}

resource "aws_cloudwatch_event_rule" "health" {
  name        = "${local.name}-health"
  description = "What AWS Health says of instances"

  event_pattern = jsonencode({
    source      = ["aws.health"]
    detail-type = ["AWS Health Event"]
    detail      = { service = ["EC2"] }
  })
}

resource "aws_cloudwatch_event_rule" "sweep" {
  name                = "${local.name}-sweep"
  description         = "Time to look for what the streams did not say"
  schedule_expression = var.sweep_schedule
}

locals {
  rules = {
    health    = aws_cloudwatch_event_rule.health
    instances = aws_cloudwatch_event_rule.instances
    sweep     = aws_cloudwatch_event_rule.sweep
  }
}

resource "aws_cloudwatch_event_target" "this" {
  for_each = local.rules

  rule = each.value.name
  arn  = aws_lambda_function.this.arn
}

resource "aws_lambda_permission" "this" {
  for_each = local.rules

  statement_id  = each.key
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.this.function_name
  principal     = "events.amazonaws.com"
  source_arn    = each.value.arn
}
