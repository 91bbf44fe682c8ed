variables {
  deployment = "test"
}

run "makes_three_tables" {
  assert {
    condition     = output.enclaves.name == "test-enclaves" && output.enclaves.has_status_index
    error_message = "The web app's table should be made, with its index."
  }
  assert {
    condition     = output.ledger.name == "test-ledger" && output.hosts.name == "test-hosts"
    error_message = "Ledger and hosts table should be named after the installation."
  }
}

run "takes_the_table_that_exists" {
  variables {
    existing_enclaves_table_name    = "treza-enclaves-dev"
    existing_table_has_status_index = false
  }

  assert {
    condition     = output.enclaves.name == "treza-enclaves-dev" && !output.enclaves.has_status_index
    error_message = "The existing table should be used as it is."
  }
  assert {
    condition     = length(aws_dynamodb_table.enclaves) == 0
    error_message = "No second table should be made."
  }
}

run "refuses_an_existing_table_without_its_stream" {
  command = plan

  variables {
    existing_enclaves_table_name = "without-stream"
  }

  override_data {
    target = data.aws_dynamodb_table.existing[0]
    values = {
      hash_key         = "id"
      stream_enabled   = false
      stream_view_type = ""
    }
  }

  expect_failures = [data.aws_dynamodb_table.existing]
}

run "refuses_an_existing_table_with_another_view" {
  command = plan

  variables {
    existing_enclaves_table_name = "keys-only"
  }

  override_data {
    target = data.aws_dynamodb_table.existing[0]
    values = {
      hash_key         = "id"
      stream_enabled   = true
      stream_view_type = "KEYS_ONLY"
    }
  }

  expect_failures = [data.aws_dynamodb_table.existing]
}

run "refuses_an_existing_table_with_another_key" {
  command = plan

  variables {
    existing_enclaves_table_name = "other-key"
  }

  override_data {
    target = data.aws_dynamodb_table.existing[0]
    values = {
      hash_key         = "enclaveId"
      stream_enabled   = true
      stream_view_type = "NEW_AND_OLD_IMAGES"
    }
  }

  expect_failures = [data.aws_dynamodb_table.existing]
}
