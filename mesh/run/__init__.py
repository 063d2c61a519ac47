"""Run Istio's resources on this machine: the real Envoy, mutual TLS, and files that are followed while it runs."""

from mesh.run.command import describe, run, status_line
from mesh.run.local import Mesh, MeshConfig
from mesh.run.stats import MeshStats

__all__ = ["Mesh", "MeshConfig", "MeshStats", "describe", "run", "status_line"]
