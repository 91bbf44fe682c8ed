variables {
  deployment      = "test"
  ami_id          = "ami-0123456789abcdef0"
  vpc_id          = "vpc-1"
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
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.enclaves) == 0 && length(aws_vpc_security_group_egress_rule.enclaves) == 0
    error_message = "Nothing should come in, and nothing go out for enclaves."
  }
  assert {
    condition     = !strcontains(aws_iam_role_policy.agent.policy, "logs:") && !strcontains(local.user_data, "log_group_prefix")
    error_message = "Nothing should be written to CloudWatch Logs."
  }
}

run "writes_two_streams_when_it_is_told_to" {
  variables {
    log_group_prefix = "/aws/ec2/enclave/"
  }

  assert {
    condition     = strcontains(local.user_data, "log_group_prefix = \"/aws/ec2/enclave/\"\n")
    error_message = "Agents should be told where."
  }
  assert {
    condition = [
      for it in jsondecode(aws_iam_role_policy.agent.policy).Statement : it.Resource
      if it.Sid == "WriteWhatWorkloadsPrint"
      ] == [[
        for stream in ["system", "application"] :
        "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/ec2/enclave/*:log-stream:${stream}"
    ]]
    error_message = "Two streams of any enclave should be written, and none else."
  }
}

run "has_the_rules_that_are_listed" {
  variables {
    ingress = [
      { from_port = 8443, security_group_id = "sg-0123456789abcdef0" },
      { from_port = 9000, to_port = 9010, cidr_ipv4 = "10.1.0.0/16" },
    ]
    egress = [{ from_port = 443, cidr_ipv4 = "0.0.0.0/0" }]
  }

  assert {
    condition = keys(aws_vpc_security_group_ingress_rule.enclaves) == [
      "8443-8443 from sg-0123456789abcdef0", "9000-9010 from 10.1.0.0/16",
    ]
    error_message = "Each of the list should be a rule."
  }
  assert {
    condition     = keys(aws_vpc_security_group_egress_rule.enclaves) == ["443-443 to 0.0.0.0/0"]
    error_message = "Each of the list should be a rule."
  }
}

run "refuses_the_whole_world" {
  command = plan

  variables {
    ingress = [{ from_port = 8443, cidr_ipv4 = "0.0.0.0/0" }]
  }

  expect_failures = [var.ingress]
}

run "refuses_half_the_world" {
  command = plan

  variables {
    ingress = [{ from_port = 8443, cidr_ipv4 = "128.0.0.0/1" }]
  }

  expect_failures = [var.ingress]
}

run "takes_the_whole_world_when_it_is_said_so" {
  variables {
    ingress                     = [{ from_port = 8443, cidr_ipv4 = "0.0.0.0/0" }]
    allow_ingress_from_anywhere = true
  }

  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.enclaves) == 1
    error_message = "It was said so."
  }
}

run "refuses_a_port_of_the_system" {
  command = plan

  variables {
    ingress = [{ from_port = 22, cidr_ipv4 = "10.0.0.0/16" }]
  }

  expect_failures = [var.ingress]
}

run "refuses_ports_the_wrong_way_round" {
  command = plan

  variables {
    ingress = [{ from_port = 9000, to_port = 8000, cidr_ipv4 = "10.0.0.0/16" }]
  }

  expect_failures = [var.ingress]
}

run "refuses_a_rule_from_nobody" {
  command = plan

  variables {
    ingress = [{ from_port = 8443 }]
  }

  expect_failures = [var.ingress]
}

run "refuses_a_rule_from_two" {
  command = plan

  variables {
    ingress = [{ from_port = 8443, cidr_ipv4 = "10.0.0.0/16", security_group_id = "sg-0123456789abcdef0" }]
  }

  expect_failures = [var.ingress]
}

run "refuses_a_range_that_is_none" {
  command = plan

  variables {
    ingress = [{ from_port = 8443, cidr_ipv4 = "10.0.0.0" }]
  }

  expect_failures = [var.ingress]
}

run "refuses_to_reach_nothing" {
  command = plan

  variables {
    egress = [{ from_port = 443 }]
  }

  expect_failures = [var.egress]
}

run "refuses_a_prefix_of_logs_that_is_none" {
  command = plan

  variables {
    log_group_prefix = "enclaves*"
  }

  expect_failures = [var.log_group_prefix]
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
