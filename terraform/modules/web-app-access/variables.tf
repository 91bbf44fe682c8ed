variable "deployment" {
  description = "Name of the installation."
  type        = string
}

variable "enclaves_table_arn" {
  description = "The web app's table."
  type        = string
}

variable "reports_bucket_arn" {
  description = "The bucket of attestation reports, which the web app may read."
  type        = string
}

variable "attributes" {
  description = "The attributes that are the web app's own, besides `id` and `status`."
  type        = set(string)
  default = [
    "configuration", "providerConfig", "created_at", "createdAt", "updated_at", "updatedAt", "name",
    "description", "region", "walletAddress", "providerId", "githubConnection",
  ]

  validation {
    condition     = length(setintersection(var.attributes, ["attestation", "deployment", "error", "error_message", "error_type", "generation", "phase"])) == 0
    error_message = "attributes must not name those that Bailey writes."
  }
}
