variables {
  deployment         = "test"
  availability_zones = ["eu-west-1a", "eu-west-1b"]
  hosts_table_arn    = "arn:aws:dynamodb:eu-west-1:123456789012:table/test-hosts"
  eif_bucket_arns    = ["arn:aws:s3:::images"]
}

run "has_gateways_and_no_interfaces_by_itself" {
  assert {
    condition     = length(aws_vpc_endpoint.gateway) == 2 && length(aws_vpc_endpoint.interface) == 0
    error_message = "DynamoDB and S3 should have gateways, and nothing an interface."
  }
  assert {
    condition     = sort([for subnet in aws_subnet.private : subnet.cidr_block]) == tolist(["10.64.0.0/18", "10.64.64.0/18"])
    error_message = "Each zone should have a quarter of the range."
  }
}

run "lets_through_what_parents_need_and_nothing_else" {
  assert {
    condition = [
      for it in jsondecode(aws_vpc_endpoint.gateway["s3"].policy).Statement : [it.Sid, it.Resource]
    ] == [["Images", "arn:aws:s3:::images/*"], ["Packages", "arn:aws:s3:::al2023-repos-eu-west-1-de612dc2/*"]]
    error_message = "S3 should be reached for images and packages."
  }
  assert {
    condition     = jsondecode(aws_vpc_endpoint.gateway["dynamodb"].policy).Statement[0].Resource == var.hosts_table_arn
    error_message = "DynamoDB should be reached for the hosts table."
  }
}

run "lets_builds_and_enclaves_through_when_there_are_any" {
  variables {
    builds              = { artifacts_bucket_arn = "arn:aws:s3:::artifacts" }
    enclave_bucket_arns = ["arn:aws:s3:::theirs"]
    log_group_prefix    = "/aws/ec2/enclave/"
    interface_services  = ["logs"]
  }

  assert {
    condition     = [for it in jsondecode(aws_vpc_endpoint.gateway["s3"].policy).Statement : it.Sid] == ["Images", "Packages", "Builds", "Enclaves"]
    error_message = "Builds and enclaves should be let through."
  }
  assert {
    condition = jsondecode(aws_vpc_endpoint.interface["logs"].policy).Statement[0].Resource == [
      for stream in ["system", "application"] :
      "arn:aws:logs:eu-west-1:123456789012:log-group:/aws/ec2/enclave/*:log-stream:${stream}"
    ]
    error_message = "Agents should write their streams alone."
  }
}

run "reaches_what_is_asked_for" {
  variables {
    interface_services = ["ssm", "logs"]
  }

  assert {
    condition     = [for endpoint in aws_vpc_endpoint.interface : endpoint.service_name] == ["com.amazonaws.eu-west-1.logs", "com.amazonaws.eu-west-1.ssm"]
    error_message = "Each service should have an interface endpoint."
  }
}

run "refuses_a_paid_way_to_s3" {
  command = plan

  variables {
    interface_services = ["s3"]
  }

  expect_failures = [var.interface_services]
}

run "refuses_a_range_that_is_none" {
  command = plan

  variables {
    cidr = "10.0.0.0"
  }

  expect_failures = [var.cidr]
}
