variable "name" {
  description = "Name of the cluster, and the first part of all other names."
  type        = string
  default     = "sightline"
  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}$", var.name))
    error_message = "name: expected 2 to 24 small letters, digits and hyphens, a letter first."
  }
}

variable "region" {
  description = "AWS region, near the cameras: each frame's age has the way there and back in it."
  type        = string
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region: expected one like eu-central-1."
  }
}

variable "zones" {
  description = "Availability zones, two at least: EKS demands it, and one may fail."
  type        = list(string)
  validation {
    condition     = length(var.zones) >= 2 && length(var.zones) <= 4 && alltrue([for z in var.zones : startswith(z, var.region)])
    error_message = "zones: expected 2 to 4 of the region, such as [\"eu-central-1a\", \"eu-central-1b\"]."
  }
}

variable "kubernetes_version" {
  description = "1.35 or newer: image volumes, which deliver models, are on by default from there."
  type        = string
  default     = "1.35"
  validation {
    condition     = can(regex("^1\\.[0-9]{2}$", var.kubernetes_version)) && tonumber(split(".", var.kubernetes_version)[1]) >= 35
    error_message = "kubernetes_version: expected 1.35 or newer."
  }
}

variable "cidr" {
  description = "Addresses of the network; each zone gets a sixteenth for pods and a 256th for load balancers."
  type        = string
  default     = "10.40.0.0/16"
  validation {
    condition     = can(cidrhost(var.cidr, 0)) && can(regex("^(10|172|192)\\..*/(16|17|18)$", var.cidr))
    error_message = "cidr: expected a private network of /16 to /18."
  }
}

variable "api_public_cidrs" {
  description = "Who may reach the API server from outside the network. Empty: nobody, the endpoint is private."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for c in var.api_public_cidrs : can(cidrhost(c, 0)) && tonumber(split("/", c)[1]) >= 16])
    error_message = "api_public_cidrs: expected networks of /16 or smaller; the whole internet is none."
  }
}

variable "admin_role_arns" {
  description = "IAM roles that administer the cluster. Who creates it is no administrator by that."
  type        = list(string)
  validation {
    condition     = length(var.admin_role_arns) > 0 && alltrue([for a in var.admin_role_arns : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:role/.+$", a))])
    error_message = "admin_role_arns: expected one or more arn:aws:iam::ACCOUNT:role/NAME."
  }
}

variable "cpu_nodes" {
  description = "Nodes for the relay, the mesh and servers on CPUs."
  type        = object({ instance_types = list(string), min = number, max = number })
  # 8 vCPUs with AVX512-BF16 (Intel Sapphire Rapids), which the bf16 models want: 3 servers with 2 CPUs each, or 1 and
  # the relays, fit beside the sidecars. 3: a node for each zone. 12: 24 servers for 24 cameras, and as much again.
  default = { instance_types = ["m7i.2xlarge"], min = 3, max = 12 }
  validation {
    condition     = var.cpu_nodes.min >= 2 && var.cpu_nodes.max >= var.cpu_nodes.min && length(var.cpu_nodes.instance_types) > 0
    error_message = "cpu_nodes: expected at least 2 nodes, max no less than min, and an instance type."
  }
}

variable "gpu_nodes" {
  description = "Nodes with NVIDIA GPUs for k8s/components/gpu; max = 0: none."
  type        = object({ instance_types = list(string), min = number, max = number })
  default     = { instance_types = ["g6.2xlarge"], min = 0, max = 0 } # one L4 each, and more than the 4 CPUs of a server
  validation {
    condition     = var.gpu_nodes.min >= 0 && var.gpu_nodes.max >= var.gpu_nodes.min && alltrue([for t in var.gpu_nodes.instance_types : can(regex("^(g[4-9]|p[4-9])", t))])
    error_message = "gpu_nodes: expected max no less than min, and instance types with NVIDIA GPUs (g4 and later, p4 and later)."
  }
}

variable "images" {
  description = "Repositories of the registry, as `make publish` names them below sightline/."
  type        = set(string)
  default     = ["relay", "relay-rollout", "server-v1", "server-v2", "server-bare", "model-v1", "model-v2", "export", "loadtest", "debug"]
  validation {
    condition     = length(var.images) > 0 && alltrue([for i in var.images : can(regex("^[a-z0-9][a-z0-9-]+$", i))])
    error_message = "images: expected names of small letters, digits and hyphens."
  }
}

variable "other_images" {
  description = "Repositories for images that components of k8s/ need and the release does not make: docs/deploy.md."
  type        = set(string)
  default     = ["aws-cli", "server-gpu"]
  validation {
    condition     = alltrue([for i in var.other_images : can(regex("^[a-z0-9][a-z0-9-]+$", i))])
    error_message = "other_images: expected names of small letters, digits and hyphens."
  }
}

variable "model_bucket" {
  description = "Name of the model store's bucket; no other in the world may have it."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.model_bucket))
    error_message = "model_bucket: expected 3 to 63 small letters, digits, dots and hyphens."
  }
}

variable "repository" {
  description = "GitHub repository whose release workflow may push images, as its OIDC settings name it in subjects: OWNER@ID/NAME@ID, or OWNER/NAME if it is older than July 2026; empty: none."
  type        = string
  default     = ""
  validation {
    condition     = var.repository == "" || can(regex("^[A-Za-z0-9-]+(@[0-9]+)?/[A-Za-z0-9._-]+(@[0-9]+)?$", var.repository))
    error_message = "repository: expected OWNER@ID/NAME@ID or OWNER/NAME, without wildcards."
  }
}
