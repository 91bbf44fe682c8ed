output "vpc_id" {
  description = "The VPC."
  value       = aws_vpc.this.id
}

output "vpc_cidr" {
  description = "Its IPv4 range, in which interface endpoints are."
  value       = aws_vpc.this.cidr_block
}

output "subnets" {
  description = "The private subnets, in the order of the zones: `availability_zone`, `subnet_id`."
  value = [
    for zone in var.availability_zones : { availability_zone = zone, subnet_id = aws_subnet.private[zone].id }
  ]
}
