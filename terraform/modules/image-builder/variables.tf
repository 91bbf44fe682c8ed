variable "deployment" {
  description = "Name of the installation."
  type        = string
}

variable "component" {
  description = "The component document, YAML: the text of `ami/component.yaml`."
  type        = string

  validation {
    condition     = can(yamldecode(var.component).phases)
    error_message = "component has to be an Image Builder component document."
  }
}

variable "component_parameters" {
  description = "Values of the component's parameters: where the release is, and its checksum."
  type        = map(string)
  default     = {}
}

variable "release" {
  description = "Version of what is baked in, `major.minor.patch`; another one makes another recipe."
  type        = string

  validation {
    condition     = can(regex("^[0-9]+\\.[0-9]+\\.[0-9]+$", var.release))
    error_message = "release has to be major.minor.patch."
  }
}

variable "base_image" {
  description = "What the image is built upon: Amazon Linux 2023 for x86_64 by default, the newest at the time of the build. An ARN of Image Builder or the id of an AMI."
  type        = string
  default     = null
}

variable "artifacts_bucket_arn" {
  description = "The bucket of released archives."
  type        = string
}

variable "subnet_id" {
  description = "Where images are built; it has to reach S3, SSM and Image Builder."
  type        = string
}

variable "security_group_ids" {
  description = "Security groups of the instance on which an image is built."
  type        = list(string)
}

variable "instance_types" {
  description = "Types of the instance on which an image is built."
  type        = list(string)
  default     = ["m6i.large"]
}
