# A network without a way to the internet: subnets, and endpoints for the services that are called.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  service = "com.amazonaws.${data.aws_region.current.region}"
  # Four subnets of equal size fit.
  subnets = { for number, zone in var.availability_zones : zone => cidrsubnet(var.cidr, 2, number) }
}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_hostnames = true
  enable_dns_support   = true

  tags = { Name = var.deployment }
}

# Nobody uses it; so that nobody can, it allows nothing.
resource "aws_default_security_group" "this" {
  vpc_id = aws_vpc.this.id
}

resource "aws_subnet" "private" {
  for_each = local.subnets

  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = each.value
  map_public_ip_on_launch = false

  tags = { Name = "${var.deployment}-${each.key}" }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.this.id

  tags = { Name = var.deployment }
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  subnet_id      = each.value.id
  route_table_id = aws_route_table.private.id
}

resource "aws_vpc_endpoint" "gateway" {
  for_each = toset(["dynamodb", "s3"])

  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "${local.service}.${each.key}"
  route_table_ids   = [aws_route_table.private.id]
  policy            = local.gateway_policies[each.key]

  tags = { Name = "${var.deployment}-${each.key}" }
}

resource "aws_security_group" "endpoints" {
  count = length(var.interface_services) > 0 ? 1 : 0

  name        = "${var.deployment}-endpoints"
  description = "Interface endpoints of AWS services, for this network alone"
  vpc_id      = aws_vpc.this.id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  count = length(aws_security_group.endpoints)

  security_group_id = aws_security_group.endpoints[count.index].id
  description       = "TLS from this network"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = var.cidr
}

resource "aws_vpc_endpoint" "interface" {
  for_each = var.interface_services

  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Interface"
  service_name      = "${local.service}.${each.key}"
  # In one zone, for they cost by the zone and are reached from all.
  subnet_ids         = [aws_subnet.private[var.availability_zones[0]].id]
  security_group_ids = aws_security_group.endpoints[*].id
  # Of the others a role's own rights are the limit.
  policy              = each.key == "logs" ? data.aws_iam_policy_document.logs.json : null
  private_dns_enabled = true

  tags = { Name = "${var.deployment}-${each.key}" }
}
