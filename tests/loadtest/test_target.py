"""Where load goes, and how it gets in."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from client.relayed import RelayTransport
from client.security import check_pems
from loadtest.plan import Plan, Search, Target
from loadtest.profile import load_profile
from loadtest.stack import StandInConfig, StandIns, gateway_address, meshed
from mesh.certificates import write_private
from mesh.run.envoy import envoy_binary
from mesh.stack import component_folder, istio_folder
from mesh.tokens import TokenIssuer
from tests.client.certificates import self_signed


class Listener:
    """Notes how a connection begins."""

    def __init__(self) -> None:
        self.known, self.is_ready, self.message = threading.Event(), False, ""

    def ready(self) -> None:
        self.is_ready = True
        self.known.set()

    def broken(self, message: str, *, wrong_service: bool = False) -> None:
        self.message = message
        self.known.set()

    def answered(self, seq: int, answer: Any) -> None: ...

    def retry(self) -> None: ...
    def closing(self) -> None: ...


def connects(target: Target) -> bool:
    listener = Listener()
    connection = RelayTransport(target.relay, security=target.security(), camera_id="cam-0").open(listener)
    assert listener.known.wait(10)
    connection.close()
    return listener.is_ready


def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    for search in (None, Search(most=3)):
        plan = Plan(load_profile("chaos"), Target(relay="a:1"), tmp_path, True, search)
        assert Plan.read(plan.save()) == plan


def test_tokens_come_from_files_or_from_the_key(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text("x")
    (tmp_path / "cam-0.jwt").write_text("a.b.c\n")
    security = Target(ca=str(ca), tokens=str(tmp_path)).security()
    assert security.metadata("cam-0") == (("authorization", "Bearer a.b.c"),)
    with pytest.raises(ValueError, match=r"has neither token-key.pem nor cam-1.jwt"):
        security.metadata("cam-1")
    TokenIssuer(tmp_path)
    assert security_of(tmp_path).metadata("cam-1")[0][1].startswith("Bearer ey")
    with pytest.raises(ValueError, match="a token goes over TLS only"):
        Target(tokens=str(tmp_path)).security()
    with pytest.raises(ValueError, match="--cert and --key"):
        Target(ca=str(ca), cert=str(ca)).security()
    with pytest.raises(ValueError, match="goes over TLS only"):
        Target(cert=str(ca), key=str(ca)).security()


def check(target: Target) -> None:
    security = target.security()
    check_pems(security.ca, security.cert, security.key)


def test_files_that_are_no_pem_are_told(tmp_path: Path) -> None:
    certificate, key = str(self_signed(tmp_path)), str(tmp_path / "key.pem")
    (tmp_path / "other").mkdir()
    other, text = str(self_signed(tmp_path / "other")), tmp_path / "text.pem"
    text.write_text("no PEM")
    check(Target())
    check(Target(ca=certificate))
    check(Target(ca=certificate, cert=certificate, key=key))
    for target, says in (
        (Target(ca=str(text)), f"--ca {text}: expected a PEM file with a certificate"),
        (Target(ca=key), f"--ca {key}: expected a PEM file with a certificate"),
        (Target(ca=certificate, cert=str(text), key=key), f"--cert {text}: expected a PEM file"),
        (
            Target(ca=certificate, cert=certificate, key=str(text)),
            f"--key {text}: expected a PEM file with the key",
        ),
        (Target(ca=certificate, cert=other, key=key), f"--key {key}: .*of --cert {other}.*mismatch"),
    ):
        with pytest.raises(ValueError, match=says) as caught:
            check(target)
        assert "\n" not in str(caught.value)


def security_of(folder: Path) -> Any:
    return Target(ca=str(folder / "ca.pem"), tokens=str(folder)).security()


def test_through_the_gateway_with_token_and_certificate(tmp_path: Path) -> None:
    try:
        envoy_binary()
    except Exception as error:
        pytest.skip(str(error))
    with StandIns(("v1", "v2"), StandInConfig(1)) as servers, meshed(servers.addresses, tmp_path) as mesh:
        target = Target(relay=gateway_address(mesh), ca=str(mesh.ca_file), tokens=str(tmp_path))
        assert connects(target)
        assert not connects(Target(relay=target.relay, ca=target.ca))  # no token
        mesh.use(component_folder("tls/mutual", istio_folder()))
        assert not connects(target)  # no certificate
        own = mesh.gateway_authority.issue(names=["box-1.example.com"])
        for name, text in (("cert.pem", own.certificate), ("key.pem", own.key)):
            write_private(tmp_path / name, text)
        files = {"cert": str(tmp_path / "cert.pem"), "key": str(tmp_path / "key.pem")}
        assert connects(Target(relay=target.relay, ca=target.ca, tokens=target.tokens, **files))
