variables {
  deployment                = "test"
  package                   = { bucket = "artifacts", key = "coordinator.zip" }
  enclaves_table            = { name = "e", arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/e", stream_arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/e/stream/1", has_status_index = true }
  ledger_table              = { name = "l", arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/l" }
  hosts_table               = { name = "h", arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/h", stream_arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/h/stream/1" }
  event_filters             = { enclaves = "[]", hosts = "[]" }
  reports_bucket            = { name = "r", arn = "arn:aws:s3:::r" }
  eif_bucket_arns           = ["arn:aws:s3:::i"]
  launch_template           = { id = "lt-1", arn = "arn:aws:ec2:eu-west-1:123456789012:launch-template/lt-1", name = "test-parent", version = 7 }
  ami_id                    = "ami-0123456789abcdef0"
  subnets                   = [{ availability_zone = "eu-west-1b", subnet_id = "subnet-2" }, { availability_zone = "eu-west-1a", subnet_id = "subnet-1" }]
  parent_role_arn           = "arn:aws:iam::123456789012:role/test-parent"
  parent_security_group_arn = "arn:aws:ec2:eu-west-1:123456789012:security-group/sg-1"
}

run "starts_anew_when_the_template_changes" {
  assert {
    condition     = aws_lambda_function.this.environment[0].variables.BAILEY_LAUNCH_TEMPLATE_VERSION == "7"
    error_message = "The template's version should be in the environment."
  }
}

run "writes_spares_and_keys_as_the_coordinator_reads_them" {
  variables {
    manifest_public_keys = ["-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----\n"]
    spares               = [{ instance_type = "m6i.xlarge", count = 2 }, { instance_type = "m5.xlarge", count = 1, availability_zone = "eu-west-1a" }]
    settings             = { strict_instance_types = "true", sweep_interval_s = "60" }
  }

  assert {
    condition     = strcontains(local.configuration, "spares = [{ instance_type = \"m6i.xlarge\", count = 2 }, { instance_type = \"m5.xlarge\", count = 1, availability_zone = \"eu-west-1a\" }]\n")
    error_message = "Spares should be inline tables."
  }
  assert {
    condition     = strcontains(local.configuration, "manifest_keys = [\"/tmp/bailey/BAILEY_MANIFEST_KEY_0.pem\"]\n")
    error_message = "Keys should be read from where bootstrap writes them."
  }
  assert {
    condition     = strcontains(local.configuration, "strict_instance_types = true\n") && strcontains(local.configuration, "sweep_interval_s = 60\n")
    error_message = "Settings should be numbers and truths, not texts."
  }
}

run "launches_into_each_of_its_subnets_best_zone_first" {
  assert {
    condition = strcontains(
      local.configuration,
      "subnets = [{ availability_zone = \"eu-west-1b\", subnet_id = \"subnet-2\" }, { availability_zone = \"eu-west-1a\", subnet_id = \"subnet-1\" }]\n",
    )
    error_message = "Subnets should be inline tables, in their order."
  }
}

run "writes_no_logs_of_enclaves_by_itself" {
  assert {
    condition     = !strcontains(local.configuration, "log_") && !strcontains(aws_iam_role_policy.this.policy, "logs:CreateLogGroup")
    error_message = "No log group should be made."
  }
}

run "makes_log_groups_and_writes_its_stream_when_it_is_told_to" {
  variables {
    log_group_prefix   = "/aws/ec2/enclave/"
    log_retention_days = 14
  }

  assert {
    condition     = strcontains(local.configuration, "log_group_prefix = \"/aws/ec2/enclave/\"\nlog_retention_days = 14\n")
    error_message = "The coordinator should be told where, and for how long."
  }
  assert {
    condition = [
      for it in jsondecode(aws_iam_role_policy.this.policy).Statement : it.Resource
      if it.Sid == "WriteWhatWasMeasured"
    ] == ["arn:aws:logs:eu-west-1:123456789012:log-group:/aws/ec2/enclave/*:log-stream:attestation"]
    error_message = "It should write its own stream alone."
  }
}

run "deploys_what_was_published" {
  variables {
    package = { bucket = "artifacts", key = "coordinator.zip", version = "v1", sha256 = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=" }
  }

  assert {
    condition     = aws_lambda_function.this.source_code_hash == var.package.sha256 && aws_lambda_function.this.s3_object_version == "v1"
    error_message = "The archive should be the published one."
  }
}

run "refuses_a_checksum_that_is_none" {
  command = plan

  variables {
    package = { bucket = "artifacts", key = "coordinator.zip", sha256 = "9f86d081" }
  }

  expect_failures = [var.package]
}

run "refuses_two_subnets_of_one_zone" {
  command = plan

  variables {
    subnets = [{ availability_zone = "eu-west-1a", subnet_id = "subnet-1" }, { availability_zone = "eu-west-1a", subnet_id = "subnet-2" }]
  }

  expect_failures = [var.subnets]
}

run "refuses_spares_where_there_is_no_subnet" {
  command = plan

  variables {
    spares = [{ instance_type = "m5.xlarge", count = 1, availability_zone = "eu-west-1c" }]
  }

  expect_failures = [var.spares]
}

run "refuses_settings_that_are_texts" {
  command = plan

  variables {
    settings = { sweep_interval_s = "often" }
  }

  expect_failures = [var.settings]
}

run "refuses_a_private_key" {
  command = plan

  variables {
    manifest_public_keys = ["-----BEGIN PRIVATE KEY-----"]
  }

  expect_failures = [var.manifest_public_keys]
}
