# Three tables, each with one kind of writer: the web app's, the coordinator's ledger, and the one
# between coordinator and agents. None has a time to live: an enclave's history is never dropped by
# itself, and a host's items go with the host.

locals {
  makes_enclaves_table = var.existing_enclaves_table_name == null
}

# Streams of a table that is not ours are enabled by scripts/connect-table, for Terraform does not
# change what it does not own.
data "aws_dynamodb_table" "existing" {
  count = local.makes_enclaves_table ? 0 : 1
  name  = var.existing_enclaves_table_name

  lifecycle {
    postcondition {
      condition     = self.hash_key == "id"
      error_message = "The key of the enclaves table has to be `id`."
    }
    postcondition {
      condition     = self.stream_enabled && self.stream_view_type == "NEW_AND_OLD_IMAGES"
      error_message = "The enclaves table needs a stream with NEW_AND_OLD_IMAGES: run scripts/connect-table."
    }
  }
}

resource "aws_dynamodb_table" "enclaves" {
  count = local.makes_enclaves_table ? 1 : 0

  name                        = "${var.deployment}-enclaves"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "id"
  stream_enabled              = true
  stream_view_type            = "NEW_AND_OLD_IMAGES"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "id"
    type = "S"
  }
  attribute {
    name = "status"
    type = "S"
  }

  global_secondary_index {
    name            = "status-index"
    hash_key        = "status"
    projection_type = "ALL"
  }

  point_in_time_recovery {
    enabled = true
  }
}

resource "aws_dynamodb_table" "ledger" {
  name                        = "${var.deployment}-ledger"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = "sk"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "pk"
    type = "S"
  }
  attribute {
    name = "sk"
    type = "S"
  }
  attribute {
    name = "active"
    type = "S"
  }

  global_secondary_index {
    name            = "active-index"
    hash_key        = "active"
    range_key       = "pk"
    projection_type = "KEYS_ONLY"
  }

  point_in_time_recovery {
    enabled = true
  }
}

resource "aws_dynamodb_table" "hosts" {
  name                        = "${var.deployment}-hosts"
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  stream_enabled              = true
  stream_view_type            = "NEW_IMAGE"
  deletion_protection_enabled = var.deletion_protection

  attribute {
    name = "pk"
    type = "S"
  }

  point_in_time_recovery {
    enabled = true
  }
}
