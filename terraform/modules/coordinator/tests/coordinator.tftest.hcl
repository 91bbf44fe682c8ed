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
  subnet_id                 = "subnet-1"
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
