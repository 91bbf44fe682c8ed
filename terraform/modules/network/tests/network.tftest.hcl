variables {
  deployment         = "test"
  availability_zones = ["eu-west-1a", "eu-west-1b"]
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
