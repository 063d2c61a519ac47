# Roles of pods (IRSA): one service account each, and nobody else's token.
locals {
  issuer = replace(aws_iam_openid_connect_provider.cluster.url, "https://", "")
  pods = {
    network      = "system:serviceaccount:kube-system:aws-node"
    model-reader = "system:serviceaccount:object-detection:tf-serving"
    signatures   = "system:serviceaccount:cosign-system:policy-controller"
  }
}

resource "aws_iam_role" "pod" {
  for_each = local.pods
  name     = "${var.name}-${each.key}"
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = aws_iam_openid_connect_provider.cluster.arn }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = { StringEquals = { "${local.issuer}:sub" = each.value, "${local.issuer}:aud" = "sts.amazonaws.com" } }
    }]
  })
}

resource "aws_iam_role_policy_attachment" "network" {
  role       = aws_iam_role.pod["network"].name
  policy_arn = "${local.iam_policy}/AmazonEKS_CNI_Policy"
}

# Sigstore's policy-controller reads images' signatures, which lie beside them; pods cannot use the node's role for it.
resource "aws_iam_role_policy" "signatures" {
  role = aws_iam_role.pod["signatures"].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["ecr:GetAuthorizationToken"], Resource = ["*"] }, # has no resource
      {
        Effect   = "Allow"
        Action   = ["ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = [for repository in aws_ecr_repository.this : repository.arn]
      },
    ]
  })
}

# k8s/components/model/init-container: fetches a model, and can neither change nor add one.
resource "aws_iam_role_policy" "model_reader" {
  role = aws_iam_role.pod["model-reader"].name
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = ["s3:ListBucket"], Resource = [aws_s3_bucket.models.arn] },
      { Effect = "Allow", Action = ["s3:GetObject"], Resource = ["${aws_s3_bucket.models.arn}/*"] },
      {
        Effect    = "Allow"
        Action    = ["kms:Decrypt"]
        Resource  = [aws_kms_key.store.arn]
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } } # models, not images
      },
    ]
  })
}
