locals {
  # Of every value of these labels: CloudWatch finds them, for they come and go.
  every = {
    for key, it in {
      funnel      = { metric = "enclaves", labels = "phase", statistic = "Maximum" }
      phase_times = { metric = "phase_seconds", labels = "phase", statistic = "p90" }
      failures    = { metric = "failures", labels = "code", statistic = "Sum" }
      calls       = { metric = "api_calls", labels = "service,operation", statistic = "Sum" }
      notices     = { metric = "notices", labels = "outcome", statistic = "Sum" }
      sweeps      = { metric = "sweeps", labels = "outcome", statistic = "Sum" }
    } :
    key => [[{
      id         = key
      label      = ""
      expression = "SEARCH('{Bailey,Deployment,${it.labels}} MetricName=\"${it.metric}\" Deployment=\"${var.deployment}\"', '${it.statistic}', 300)"
    }]]
  }

  widgets = [
    {
      title = "Enclaves by phase"
      help  = "From ACCEPTED to RUNNING: where they are now."
      view  = "timeSeries", stacked = true
      graph = local.every.funnel
    },
    {
      title = "Seconds in each phase, 90th percentile"
      help  = "When an enclave first went through it."
      view  = "bar", stacked = false
      graph = local.every.phase_times
    },
    {
      title = "Failed enclaves by code"
      help  = "The codes are those of the record's `error`."
      view  = "timeSeries", stacked = true
      graph = local.every.failures
    },
    {
      title = "Attestations that running enclaves missed, and those that are degraded"
      help  = "One that goes on failing is ended."
      view  = "timeSeries", stacked = false
      graph = [
        ["Bailey", "reattestations_missed", "Deployment", var.deployment, { stat = "Sum" }],
        ["Bailey", "enclaves", "Deployment", var.deployment, "phase", "DEGRADED", { stat = "Maximum" }],
      ]
    },
    {
      title = "Orphans ended, steps tried again"
      help  = "An orphan is an instance that no enclave owns."
      view  = "timeSeries", stacked = false
      graph = [
        ["Bailey", "orphans_ended", "Deployment", var.deployment, { stat = "Sum" }],
        ["Bailey", "steps_retried", "Deployment", var.deployment, { stat = "Sum" }],
      ]
    },
    {
      title = "Calls of AWS: what costs money, or a share of the account's limits"
      help  = "By service and operation."
      view  = "timeSeries", stacked = true
      graph = local.every.calls
    },
    {
      title = "Sweeps"
      help  = "Searches for what the streams did not say; `done` should never rest."
      view  = "timeSeries", stacked = false
      graph = local.every.sweeps
    },
    {
      title = "Messages to people"
      help  = "Of enclaves that failed or are degraded."
      view  = "timeSeries", stacked = false
      graph = local.every.notices
    },
    {
      title = "The coordinator's function"
      help  = "Invocations, errors, throttles, age of the streams."
      view  = "timeSeries", stacked = false
      graph = [
        ["AWS/Lambda", "Invocations", "FunctionName", var.function_name, { stat = "Sum" }],
        ["AWS/Lambda", "Errors", "FunctionName", var.function_name, { stat = "Sum" }],
        ["AWS/Lambda", "Throttles", "FunctionName", var.function_name, { stat = "Sum" }],
        ["AWS/Lambda", "IteratorAge", "FunctionName", var.function_name, { stat = "Maximum", yAxis = "right" }],
      ]
    },
  ]
}

data "aws_region" "current" {}

resource "aws_cloudwatch_dashboard" "this" {
  dashboard_name = var.deployment

  dashboard_body = jsonencode({
    widgets = [
      for number, widget in local.widgets : {
        type   = "metric"
        x      = number % 2 * 12
        y      = floor(number / 2) * 6
        width  = 12
        height = 6
        properties = {
          title   = "${widget.title} — ${widget.help}"
          view    = widget.view
          stacked = widget.stacked
          region  = data.aws_region.current.region
          period  = 300
          metrics = widget.graph
        }
      }
    ]
  })
}
