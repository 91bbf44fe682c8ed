# A topic, alarms that name it, and a dashboard. The metrics are those that the coordinator prints in
# CloudWatch's embedded metric format; a test holds their names against the code.

data "aws_caller_identity" "current" {}

resource "aws_sns_topic" "this" {
  name = "${var.deployment}-alarms"
}

data "aws_iam_policy_document" "topic" {
  statement {
    sid       = "AlarmsOfThisAccount"
    actions   = ["sns:Publish"]
    resources = [aws_sns_topic.this.arn]

    principals {
      type        = "Service"
      identifiers = ["cloudwatch.amazonaws.com"]
    }
    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [data.aws_caller_identity.current.account_id]
    }
  }
}

resource "aws_sns_topic_policy" "this" {
  arn    = aws_sns_topic.this.arn
  policy = data.aws_iam_policy_document.topic.json
}

resource "aws_sns_topic_subscription" "email" {
  for_each = var.alarm_emails

  topic_arn = aws_sns_topic.this.arn
  protocol  = "email"
  endpoint  = each.value
}

locals {
  of_deployment = { Deployment = var.deployment }

  # One metric each. `missing` says what it means when there are no data: a counter that has not moved
  # is not told, and a coordinator that is dead tells nothing.
  alarms = {
    degraded = {
      description = "An enclave runs and fails to attest again."
      namespace   = "Bailey", metric = "enclaves", statistic = "Maximum"
      dimensions  = merge(local.of_deployment, { phase = "DEGRADED" })
      comparison  = "GreaterThanThreshold", threshold = 0, periods = 1, missing = "notBreaching"
    }
    sweeps-missing = {
      description = "The coordinator has not looked through everything for ten minutes: nothing is served, or something cannot be read."
      namespace   = "Bailey", metric = "sweeps", statistic = "Sum"
      dimensions  = merge(local.of_deployment, { outcome = "done" })
      comparison  = "LessThanThreshold", threshold = 1, periods = 2, missing = "breaching"
    }
    orphans = {
      description = "An instance that no enclave owned was ended."
      namespace   = "Bailey", metric = "orphans_ended", statistic = "Sum"
      dimensions  = local.of_deployment
      comparison  = "GreaterThanThreshold", threshold = 0, periods = 1, missing = "notBreaching"
    }
    steps-retried = {
      description = "Many steps fail and are tried again: capacity, throttling or permissions."
      namespace   = "Bailey", metric = "steps_retried", statistic = "Sum"
      dimensions  = local.of_deployment
      comparison  = "GreaterThanThreshold", threshold = var.thresholds.steps_retried, periods = 1, missing = "notBreaching"
    }
    notices-failed = {
      description = "People could not be told what happened."
      namespace   = "Bailey", metric = "notices", statistic = "Sum"
      dimensions  = merge(local.of_deployment, { outcome = "failed" })
      comparison  = "GreaterThanThreshold", threshold = 0, periods = 1, missing = "notBreaching"
    }
    function-errors = {
      description = "The coordinator's function failed."
      namespace   = "AWS/Lambda", metric = "Errors", statistic = "Sum"
      dimensions  = { FunctionName = var.function_name }
      comparison  = "GreaterThanThreshold", threshold = 0, periods = 2, missing = "notBreaching"
    }
    function-throttled = {
      description = "The coordinator's function was not let run."
      namespace   = "AWS/Lambda", metric = "Throttles", statistic = "Sum"
      dimensions  = { FunctionName = var.function_name }
      comparison  = "GreaterThanThreshold", threshold = 0, periods = 2, missing = "notBreaching"
    }
    stream-age = {
      description = "The streams are read too late."
      namespace   = "AWS/Lambda", metric = "IteratorAge", statistic = "Maximum"
      dimensions  = { FunctionName = var.function_name }
      comparison  = "GreaterThanThreshold", threshold = var.thresholds.stream_age_s * 1000, periods = 1, missing = "notBreaching"
    }
    unserved = {
      description = "Something could not be served nor noted: look into the queue."
      namespace   = "AWS/SQS", metric = "ApproximateNumberOfMessagesVisible", statistic = "Maximum"
      dimensions  = { QueueName = var.failures_queue_name }
      comparison  = "GreaterThanThreshold", threshold = 0, periods = 1, missing = "notBreaching"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.deployment}-${each.key}"
  alarm_description   = each.value.description
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 300
  evaluation_periods  = each.value.periods
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  treat_missing_data  = each.value.missing
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

# Failures have one metric for each code, and an alarm cannot search: it asks for their sum.
resource "aws_cloudwatch_metric_alarm" "failures" {
  alarm_name          = "${var.deployment}-failures"
  alarm_description   = "Enclaves failed; their records and the dashboard say why."
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.thresholds.failures
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]

  metric_query {
    id          = "failures"
    expression  = "SELECT SUM(failures) FROM SCHEMA(Bailey, Deployment, code) WHERE Deployment = '${var.deployment}'"
    period      = 300
    return_data = true
  }
}
