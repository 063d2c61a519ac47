"""Istio's resources to Envoy's configuration, with istiod's names."""

from mesh.render.assemble import ROLES, Rendered, assemble

__all__ = ["ROLES", "Rendered", "assemble"]
