variable "deployment" {
  description = "Name of the installation, and prefix of the tables' names."
  type        = string
}

variable "existing_enclaves_table_name" {
  description = "Name of the web app's table when it exists already; null makes one."
  type        = string
  default     = null
}

variable "existing_table_has_status_index" {
  description = "Whether the existing table has the index `status-index` on `status`; without it the coordinator has to scan."
  type        = bool
  default     = true
}

variable "deletion_protection" {
  description = "Whether the tables made here refuse to be deleted."
  type        = bool
  default     = true
}
