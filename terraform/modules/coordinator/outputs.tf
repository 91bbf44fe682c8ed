output "function_name" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "log_group_name" {
  description = "The function's log group."
  value       = aws_cloudwatch_log_group.this.name
}

output "failures_queue_name" {
  description = "The queue of what could not be served."
  value       = aws_sqs_queue.failures.name
}

output "role_arn" {
  description = "The coordinator's role."
  value       = aws_iam_role.this.arn
}
