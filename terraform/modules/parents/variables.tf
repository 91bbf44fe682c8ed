variable "deployment" {
  description = "Name of the installation."
  type        = string
}

variable "ami_id" {
  description = "The image of the parents, with agent, nitro-cli and allocator baked in."
  type        = string

  validation {
    condition     = can(regex("^ami-[0-9a-f]{8,17}$", var.ami_id))
    error_message = "ami_id has to be the id of an AMI, ami-…"
  }
}

variable "vpc_id" {
  description = "The VPC of the parents."
  type        = string
}

variable "interface_endpoints_cidr" {
  description = "IPv4 range in which interface endpoints are, when parents may use any; null for none."
  type        = string
  default     = null
}

variable "log_group_prefix" {
  description = "What the log groups of enclaves are called before the enclave's id, as `/aws/ec2/enclave/`: agents write there what workloads print. null keeps it in the parents' journals."
  type        = string
  default     = null

  validation {
    condition     = var.log_group_prefix == null || can(regex("^/[A-Za-z0-9_./#-]{1,300}/$", var.log_group_prefix))
    error_message = "log_group_prefix has to begin and to end with a slash, and to hold letters, digits and _ . / # - between."
  }
}

variable "ingress" {
  description = "Who may connect to which ports of parents, for enclaves whose records have an `ingress`: TCP from `from_port` to `to_port` (the same by default), from `cidr_ipv4` or from `security_group_id`. Every parent has these rules."
  type = list(object({
    from_port         = number
    to_port           = optional(number)
    cidr_ipv4         = optional(string)
    security_group_id = optional(string)
    description       = optional(string, "To enclaves")
  }))
  default = []

  validation {
    condition = alltrue([
      for it in var.ingress : it.from_port >= 1024 && coalesce(it.to_port, it.from_port) <= 65535 &&
      it.from_port <= coalesce(it.to_port, it.from_port)
    ])
    error_message = "Ports of ingress have to be from 1024 to 65535, the lower one first: agents listen on no others."
  }
  validation {
    condition     = alltrue([for it in var.ingress : (it.cidr_ipv4 == null) != (it.security_group_id == null)])
    error_message = "Each of ingress has to name either cidr_ipv4 or security_group_id."
  }
  validation {
    condition = alltrue([
      for it in var.ingress : it.cidr_ipv4 == null || can(cidrnetmask(it.cidr_ipv4))
    ])
    error_message = "cidr_ipv4 of ingress has to be an IPv4 range, such as 10.0.0.0/16."
  }
  validation {
    condition = var.allow_ingress_from_anywhere || alltrue([
      for it in var.ingress : try(tonumber(split("/", it.cidr_ipv4)[1]) >= 8, true)
    ])
    error_message = "A range of ingress wider than /8, such as 0.0.0.0/0, needs allow_ingress_from_anywhere."
  }
}

variable "allow_ingress_from_anywhere" {
  description = "Whether `ingress` may name ranges wider than /8, as 0.0.0.0/0 is."
  type        = bool
  default     = false
}

variable "egress" {
  description = "What parents may reach for enclaves whose records have an `egress`, besides DynamoDB and S3: TCP from `from_port` to `to_port` (the same by default), to `cidr_ipv4`, `cidr_ipv6`, `prefix_list_id` or `security_group_id`."
  type = list(object({
    from_port         = number
    to_port           = optional(number)
    cidr_ipv4         = optional(string)
    cidr_ipv6         = optional(string)
    prefix_list_id    = optional(string)
    security_group_id = optional(string)
    description       = optional(string, "For enclaves")
  }))
  default = []

  validation {
    condition = alltrue([
      for it in var.egress : it.from_port >= 1 && coalesce(it.to_port, it.from_port) <= 65535 &&
      it.from_port <= coalesce(it.to_port, it.from_port)
    ])
    error_message = "Ports of egress have to be from 1 to 65535, the lower one first."
  }
  validation {
    condition = alltrue([
      for it in var.egress :
      length([for to in [it.cidr_ipv4, it.cidr_ipv6, it.prefix_list_id, it.security_group_id] : to if to != null]) == 1
    ])
    error_message = "Each of egress has to name one of cidr_ipv4, cidr_ipv6, prefix_list_id and security_group_id."
  }
  validation {
    condition = alltrue([
      for it in var.egress : (it.cidr_ipv4 == null || can(cidrnetmask(it.cidr_ipv4))) &&
      (it.cidr_ipv6 == null || can(cidrhost(it.cidr_ipv6, 0)))
    ])
    error_message = "cidr_ipv4 and cidr_ipv6 of egress have to be ranges, such as 203.0.113.0/24."
  }
}

variable "hosts_table" {
  description = "The table between coordinator and agents: `name`, `arn`."
  type        = object({ name = string, arn = string })
}

variable "eif_bucket_arns" {
  description = "ARNs of the buckets from which agents may read images."
  type        = list(string)

  validation {
    condition     = length(var.eif_bucket_arns) > 0 && alltrue([for arn in var.eif_bucket_arns : can(regex("^arn:[^:*]+:s3:::[^*/]+$", arn))])
    error_message = "eif_bucket_arns has to name buckets by their ARNs, without wildcards."
  }
}

variable "root_volume_gib" {
  description = "Size of the root volume in GiB; it holds the cache of images."
  type        = number
  default     = 30

  validation {
    condition     = var.root_volume_gib >= 10
    error_message = "root_volume_gib has to be at least 10."
  }
}

variable "allow_session_manager" {
  description = "Whether people may open a shell on parents through SSM Session Manager. Whoever can, can lie for a parent, though for no other."
  type        = bool
  default     = false
}
