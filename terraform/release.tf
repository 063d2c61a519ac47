# Who publishes: the release workflow of one repository, in its environment `release`, at a version's tag, without a stored
# key. A job with an environment has that in its subject in place of the ref, so the ref is asked for by the workflow's.
locals {
  repository = replace(var.repository, "/@[0-9]+/", "") # without the ids that a subject may have
}

resource "aws_iam_openid_connect_provider" "github" {
  count          = var.repository == "" ? 0 : 1
  url            = "https://token.actions.githubusercontent.com"
  client_id_list = ["sts.amazonaws.com"]
}

resource "aws_iam_role" "release" {
  count = var.repository == "" ? 0 : 1
  name  = "${var.name}-release"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.github[0].arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = {
        StringEquals = {
          "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
          "token.actions.githubusercontent.com:sub" = "repo:${var.repository}:environment:release"
        }
        StringLike = {
          "token.actions.githubusercontent.com:job_workflow_ref" = "${local.repository}/.github/workflows/release.yml@refs/tags/v*"
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "release" {
  count = var.repository == "" ? 0 : 1
  role  = aws_iam_role.release[0].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] }, # has no resource
      {
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload",
          "ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
        ]
        Resource = [for image in var.images : aws_ecr_repository.this[image].arn] # what others made, people push
      },
    ]
  })
}
