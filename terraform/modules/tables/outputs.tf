output "enclaves" {
  description = "The web app's table: `name`, `arn`, `stream_arn`, `has_status_index`."
  value = local.makes_enclaves_table ? {
    name             = one(aws_dynamodb_table.enclaves).name
    arn              = one(aws_dynamodb_table.enclaves).arn
    stream_arn       = one(aws_dynamodb_table.enclaves).stream_arn
    has_status_index = true
    } : {
    name             = one(data.aws_dynamodb_table.existing).name
    arn              = one(data.aws_dynamodb_table.existing).arn
    stream_arn       = one(data.aws_dynamodb_table.existing).stream_arn
    has_status_index = var.existing_table_has_status_index
  }
}

output "ledger" {
  description = "The coordinator's table: `name`, `arn`."
  value = {
    name = aws_dynamodb_table.ledger.name
    arn  = aws_dynamodb_table.ledger.arn
  }
}

output "hosts" {
  description = "The table between coordinator and agents: `name`, `arn`, `stream_arn`."
  value = {
    name       = aws_dynamodb_table.hosts.name
    arn        = aws_dynamodb_table.hosts.arn
    stream_arn = aws_dynamodb_table.hosts.stream_arn
  }
}
