# Two keys, for different readers: the cluster's (secrets, disks, logs) and the store's (images, models).
locals {
  account_root = "arn:${local.partition}:iam::${local.account}:root"
  # The account decides by IAM who may use a key; without this statement nobody could ever change it again.
  key_owner = {
    Sid       = "Account"
    Effect    = "Allow"
    Principal = { AWS = local.account_root }
    Action    = "kms:*"
    Resource  = "*" # this key
  }
}

resource "aws_kms_key" "cluster" {
  description         = "${var.name}: secrets in etcd, nodes' disks, control plane logs"
  enable_key_rotation = true
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      local.key_owner,
      {
        Sid       = "Logs"
        Effect    = "Allow"
        Principal = { Service = "logs.${var.region}.amazonaws.com" }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
        Resource  = "*"
        Condition = { ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:${var.region}:${local.account}:log-group:/aws/eks/${var.name}/*" } }
      },
      {
        # Node groups' disks are made by the auto scaling service.
        Sid       = "Disks"
        Effect    = "Allow"
        Principal = { AWS = local.account_root }
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey", "kms:CreateGrant"]
        Resource  = "*"
        Condition = { ArnLike = { "aws:PrincipalArn" = "arn:${local.partition}:iam::${local.account}:role/aws-service-role/autoscaling.amazonaws.com/*" } }
      },
    ]
  })
}

resource "aws_kms_key" "store" {
  description         = "${var.name}: images and models"
  enable_key_rotation = true
  policy              = jsonencode({ Version = "2012-10-17", Statement = [local.key_owner] })
}

resource "aws_kms_alias" "this" {
  for_each      = { cluster = aws_kms_key.cluster.key_id, store = aws_kms_key.store.key_id }
  name          = "alias/${var.name}-${each.key}"
  target_key_id = each.value
}
