# A policy for the web app to attach: write requests into its own attributes, read everything.
#
# IAM can restrict which attributes an update names, not the values: a web app that may write `status` may write
# DEPLOYED, which the coordinator overwrites. A web app that is also given PutItem erases the attributes
# that it does not send; the coordinator writes its own ones again.

data "aws_iam_policy_document" "this" {
  statement {
    sid       = "Request"
    actions   = ["dynamodb:UpdateItem"]
    resources = [var.enclaves_table_arn]

    condition {
      test     = "ForAllValues:StringEquals"
      variable = "dynamodb:Attributes"
      values   = sort(setunion(["id", "status"], var.attributes))
    }
    # An update that names no attributes at all would pass the condition above.
    condition {
      test     = "Null"
      variable = "dynamodb:Attributes"
      values   = ["false"]
    }
    # Else an update could hand out attributes that it does not name.
    condition {
      test     = "StringEqualsIfExists"
      variable = "dynamodb:ReturnValues"
      values   = ["NONE", "UPDATED_OLD", "UPDATED_NEW"]
    }
  }

  statement {
    sid       = "Read"
    actions   = ["dynamodb:GetItem", "dynamodb:Query"]
    resources = [var.enclaves_table_arn, "${var.enclaves_table_arn}/index/status-index"]
  }

  statement {
    sid       = "ReadReports"
    actions   = ["s3:GetObject"]
    resources = ["${var.reports_bucket_arn}/reports/*"]
  }
}

resource "aws_iam_policy" "this" {
  name        = "${var.deployment}-web-app"
  description = "Requests enclaves and reads what became of them"
  policy      = data.aws_iam_policy_document.this.json
}
