"""The API server's part in admission, offline: ValidatingAdmissionPolicies in CEL, Gatekeeper's templates in Rego."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import celpy
import regopy
from celpy.adapter import json_to_cel

from mesh.check.nodes import maps, texts
from mesh.resources import Resource
from tests.k8s.rendered import Objects, of, template

PLURALS = {
    "Pod": "pods",
    "NetworkPolicy": "networkpolicies",
    "ServiceEntry": "serviceentries",
    "VirtualService": "virtualservices",
}


def admitted(objects: Objects) -> Iterator[dict[str, Any]]:
    """What the API server sees: the objects, and a pod of each workload."""
    for resource in objects:
        yield resource.body
        if resource.kind == "Deployment":
            pod = template(resource)
            metadata = pod["metadata"] | {"name": resource.name, "namespace": resource.namespace}
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod["spec"]}


def by_cel(policies: Objects, body: dict[str, Any]) -> Iterator[str]:
    """ "policy: message" of each ValidatingAdmissionPolicy that refuses an object, whose bindings deny."""
    bound = {
        r.spec["policyName"]
        for r in of(policies, "ValidatingAdmissionPolicyBinding")
        if "Deny" in r.spec["validationActions"]
    }
    for policy in of(policies, "ValidatingAdmissionPolicy"):
        if policy.name in bound and _matches(policy, body):
            yield from (f"{policy.name}: {message}" for message in _refusals(policy, body))


def _matches(policy: Resource, body: dict[str, Any]) -> bool:
    group = body["apiVersion"].rpartition("/")[0]
    return any(
        group in [g for g, _ in texts(rule, "apiGroups")]
        and PLURALS.get(body["kind"]) in [r for r, _ in texts(rule, "resources")]
        for rule in maps(policy.spec, "matchConstraints", "resourceRules")
    )


def _refusals(policy: Resource, body: dict[str, Any]) -> Iterator[str]:
    variables = celpy.celtypes.MapType()
    names: dict[str, Any] = {"object": json_to_cel(body), "variables": variables}
    for variable in maps(policy.spec, "variables"):
        variables[celpy.celtypes.StringType(variable["name"])] = _program(variable["expression"]).evaluate(
            names
        )
    for validation in maps(policy.spec, "validations"):
        if not _program(validation["expression"]).evaluate(names):
            if "messageExpression" in validation:
                yield str(_program(validation["messageExpression"]).evaluate(names))
            else:
                yield str(validation["message"])


@cache
def _program(expression: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(expression))


def by_rego(constraints: Objects, body: dict[str, Any]) -> Iterator[str]:
    """ "constraint: message" of each Gatekeeper constraint that refuses an object."""
    for template_ in of(constraints, "ConstraintTemplate"):
        kind = template_.spec["crd"]["spec"]["names"]["kind"]
        for constraint in of(constraints, kind):
            chosen = [
                k for match in maps(constraint.spec, "match", "kinds") for k, _ in texts(match, "kinds")
            ]
            if body["kind"] in chosen:
                source = template_.spec["targets"][0]["code"][0]["source"]["rego"]
                parameters = json.loads(json.dumps(constraint.spec.get("parameters", {})))
                for message in sorted(_violations(template_.name, source, body, parameters)):
                    yield f"{constraint.name}: {message}"


def _violations(package: str, source: str, body: dict[str, Any], parameters: dict[str, Any]) -> set[str]:
    interpreter = regopy.Interpreter()
    interpreter.add_module(package, source)
    interpreter.set_input({"review": {"object": json.loads(json.dumps(body))}, "parameters": parameters})
    found = json.loads(str(interpreter.query(f"data.{package}.violation")))
    return {entry["msg"] for entry in found["expressions"][0]}
