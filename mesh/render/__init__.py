"""Istio's resources to Envoy's configuration, with istiod's names."""

from mesh.render.assemble import ROLES, Rendered, assemble
from mesh.render.command import render, run, static_bootstrap

__all__ = ["ROLES", "Rendered", "assemble", "render", "run", "static_bootstrap"]
