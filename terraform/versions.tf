# An EKS cluster for Sightline, the registry and the model store that it pulls from, and who may do what.
terraform {
  required_version = ">= 1.11.0, < 2.0.0" # mocked providers with override_during, S3 state with its own lock
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0" # the one that the tests ran with
    }
  }
  # Yours: terraform init -backend-config=bucket=... -backend-config=key=sightline.tfstate -backend-config=region=...
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region
  default_tags {
    tags = { project = var.name, managed-by = "terraform" }
  }
}

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}

locals {
  account    = data.aws_caller_identity.this.account_id
  partition  = data.aws_partition.this.partition
  iam_policy = "arn:${local.partition}:iam::aws:policy"
}
