variables {
  deployment      = "test"
  ami_id          = "ami-0123456789abcdef0"
  vpc_id          = "vpc-1"
  subnet_id       = "subnet-1"
  hosts_table     = { name = "test-hosts", arn = "arn:aws:dynamodb:eu-west-1:123456789012:table/test-hosts" }
  eif_bucket_arns = ["arn:aws:s3:::images"]
}

run "is_closed_to_people" {
  assert {
    condition     = length(aws_iam_role_policy_attachment.session_manager) == 0
    error_message = "Nobody should have a shell."
  }
  assert {
    condition     = length(aws_vpc_security_group_egress_rule.interface) == 0
    error_message = "Nothing but DynamoDB and S3 should be reached."
  }
}

run "refuses_an_image_that_is_none" {
  command = plan

  variables {
    ami_id = "latest"
  }

  expect_failures = [var.ami_id]
}

run "refuses_every_bucket_at_once" {
  command = plan

  variables {
    eif_bucket_arns = ["arn:aws:s3:::*"]
  }

  expect_failures = [var.eif_bucket_arns]
}
