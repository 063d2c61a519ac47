# Each variable refuses what it must.
mock_provider "aws" {
  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
}

variables {
  region          = "eu-central-1"
  zones           = ["eu-central-1a", "eu-central-1b"]
  admin_role_arns = ["arn:aws:iam::123456789012:role/admin"]
  model_bucket    = "sightline-models-test"
}

run "all_at_once" {
  command = plan
  variables {
    name               = "Sight_line"
    region             = "Frankfurt"
    kubernetes_version = "1.34"
    cidr               = "8.8.8.0/24"
    api_public_cidrs   = ["0.0.0.0/0"]
    admin_role_arns    = []
    cpu_nodes          = { instance_types = ["m7i.2xlarge"], min = 3, max = 2 }
    gpu_nodes          = { instance_types = ["m7i.2xlarge"], min = 0, max = 1 }
    images             = ["Relay"]
    other_images       = ["AWS"]
    model_bucket       = "My_Bucket"
    repository         = "example/*"
  }
  expect_failures = [
    var.name, var.region, var.kubernetes_version, var.cidr, var.api_public_cidrs, var.admin_role_arns,
    var.cpu_nodes, var.gpu_nodes, var.images, var.other_images, var.model_bucket, var.repository,
  ]
}

# Judged by the region, so not beside a bad one.
run "one_zone" {
  command = plan
  variables {
    zones = ["eu-central-1a"]
  }
  expect_failures = [var.zones]
}

run "zones_elsewhere" {
  command = plan
  variables {
    zones = ["us-east-1a", "us-east-1b"]
  }
  expect_failures = [var.zones]
}
