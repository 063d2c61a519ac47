"""A stream that is not taken: who refuses it and why is told, and what may pass is waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc
import pytest

from client import (
    DetectionStream,
    DirectTransport,
    Refused,
    RelayTransport,
    StreamConfig,
    TransportError,
    Unreachable,
    WrongService,
)
from client.channel import explained, split_address
from client.security import Security
from client.tally import plain_error
from tests.client.certificates import self_signed
from tests.client.fakes import FakeModelServer, FakeRelay, NumberSource, RelayThread, done
from tests.client.running import streaming, wait_for

CONFIG = StreamConfig(max_age_s=0, connect_timeout_s=0.3, backoff_min_s=0.02, backoff_max_s=0.1)
FULL = "refused: RESOURCE_EXHAUSTED: the relay holds 1 streams already (--max-streams)"


def live() -> NumberSource:
    """A camera."""
    return NumberSource(None, live=True, interval_s=0.01)


def test_a_full_relay_says_so() -> None:
    with FakeModelServer() as server, RelayThread(server.target, max_streams=1) as relay:
        with streaming(live(), relay.target, CONFIG) as first:
            wait_for(lambda: first.account.delivered > 0)
            stream = DetectionStream(NumberSource(3), relay.target, CONFIG)
            with pytest.raises(Refused, match=rf"^{relay.target}: refused: RESOURCE_EXHAUSTED: "):
                list(stream)
            assert stream.problem == FULL
            assert stream.account.balanced
        assert first.problem == ""


def test_a_camera_that_is_refused_after_it_was_known_says_why_and_waits() -> None:
    with FakeRelay(done) as relay, streaming(live(), relay.target, CONFIG) as stream:
        wait_for(lambda: stream.account.dropped["done"] > 0)
        relay.refuse = grpc.StatusCode.RESOURCE_EXHAUSTED, "the relay holds 1 streams already"
        relay.answer = lambda _frame: [b"\xff"]  # no Result: the stream ends
        wait_for(lambda: stream.problem == "refused: RESOURCE_EXHAUSTED: the relay holds 1 streams already")
        time.sleep(2 * (CONFIG.connect_timeout_s or 0))
        assert stream.state in {"backing off", "connecting"}
        relay.refuse, relay.answer = None, done
        wait_for(lambda: stream.connected)
        assert stream.problem == ""


def test_who_is_not_known_is_told_what_they_say() -> None:
    with FakeRelay(done, refuse=(grpc.StatusCode.UNAUTHENTICATED, "Jwt is expired")) as relay:
        stream = DetectionStream(NumberSource(3), relay.target, CONFIG)
        with pytest.raises(Refused, match="UNAUTHENTICATED: Jwt is expired"):
            list(stream)
        with streaming(live(), relay.target, CONFIG) as camera:
            wait_for(lambda: camera.problem == "refused: UNAUTHENTICATED: Jwt is expired")


def test_a_certificate_of_another_authority_is_no_relay_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    security = Security(ca=self_signed(tmp_path / "other"))
    with FakeRelay(done, tls=self_signed(tmp_path)) as relay:
        stream = DetectionStream(NumberSource(3), RelayTransport(relay.target, security=security), CONFIG)
        with pytest.raises(Refused, match=r"handshake failed .*CERTIFICATE_VERIFY_FAILED"):
            list(stream)


@pytest.mark.parametrize("what", ["gone", "empty", "two\nlines"])
def test_a_token_that_cannot_be_read_for_a_moment_is_an_attempt_that_failed(
    tmp_path: Path, what: str
) -> None:
    token, ca = tmp_path / "token", self_signed(tmp_path)
    token.write_text("first\n")
    with FakeRelay(done, tls=ca) as relay:
        transport = RelayTransport(relay.target, security=Security.of_files(ca, token))
        with streaming(live(), transport, CONFIG) as stream:
            wait_for(lambda: stream.account.dropped["done"] > 0)
            if what == "gone":
                token.rename(tmp_path / "aside")
            else:
                token.write_text("" if what == "empty" else what)
            relay.answer = lambda _frame: [b"\xff"]  # no Result: the stream ends
            wait_for(lambda: stream.problem.startswith("cannot connect: "))
            if what == "gone":
                assert stream.problem == f"cannot connect: [Errno 2] No such file or directory: '{token}'"
            else:
                assert "expected one line of ASCII" in stream.problem
            relay.answer = done
            token.write_text("second\n")
            before = stream.account.dropped["done"]
            wait_for(lambda: stream.account.dropped["done"] > before)
            assert stream.problem == ""
        assert stream.account.balanced
    assert {relay.tokens[0], relay.tokens[-1]} == {"Bearer first", "Bearer second"}


def test_a_certificate_that_is_not_there_at_the_start_is_told_in_the_end(tmp_path: Path) -> None:
    transport = RelayTransport("localhost:1", security=Security(ca=tmp_path / "ca.pem"))
    stream = DetectionStream(NumberSource(3), transport, CONFIG)
    with pytest.raises(
        TransportError,
        match=r"localhost:1: cannot connect: --ca .*ca\.pem: expected a PEM file .*no such file",
    ) as told:
        list(stream)
    assert not isinstance(told.value, Unreachable | Refused | WrongService)
    assert stream.account.balanced


@pytest.mark.parametrize(
    ("message", "answered", "reason"),
    [
        ("UNAVAILABLE: failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
         "Failed to connect to remote host: connect: Connection refused (111)", False, "Connection refused"),
        ("UNAVAILABLE: failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
         "Failed to connect to remote host: Connection refused", False, "Connection refused"),
        ("UNAVAILABLE: failed to connect to all addresses; last error: UNKNOWN: ipv6:[::1]:1: Tls handshake failed (X)",
         True, "Tls handshake failed (X)"),
        ("UNAVAILABLE: failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed parsing "
         "HTTP/2 (Expected SETTINGS frame as the first frame, got frame type 80) (Trying to connect an http1.x server)",
         False, "no gRPC is spoken there; is that a port for HTTP?"),
        ("UNAVAILABLE: no healthy upstream", False, "UNAVAILABLE: no healthy upstream"),
        ("PERMISSION_DENIED: RBAC: access denied", True, "PERMISSION_DENIED: RBAC: access denied"),
        ("no answer for 3 s", False, "no answer for 3 s"),
        ("ValueError: the relay answered frame 3", False, "ValueError: the relay answered frame 3"),
    ],
)  # fmt: skip
def test_who_answered_is_told_from_who_did_not(message: str, answered: bool, reason: str) -> None:
    assert explained(message) == (answered, reason)


def test_a_password_in_an_address_is_not_shown() -> None:
    for address in ("user:hunter2@host", "user:hunter2@host:8600", "user:hunter2@host:x"):
        with pytest.raises(ValueError, match=r"--relay: expected host:port, got '\*\*\*@host") as told:
            split_address(address, "relay")
        assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    "transport", [RelayTransport, DirectTransport, partial(DetectionStream, NumberSource(0))]
)
@pytest.mark.parametrize(
    ("target", "shown"),
    [("8600", "8600"), ("127.0.0.1", "127.0.0.1"), ("localhost:99999", "localhost:99999"), ("", "''"),
     ("user:hunter2@host:1", r"\*\*\*@host:1")],
)  # fmt: skip
def test_what_is_no_address_is_told_at_once(
    transport: Callable[[str], object], target: str, shown: str
) -> None:
    with pytest.raises(TransportError, match=f"^{shown}: expected host:port, such as 127.0.0.1:8600$"):
        transport(target)


@pytest.mark.parametrize("target", ["[::1]:8600", "dns:///relay:8600", "unix:/run/relay.sock"])
def test_what_grpc_takes_for_an_address_is_one(target: str) -> None:
    assert DirectTransport(target).target == target


@pytest.mark.parametrize(
    "content", ["", "a text\n", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_an_authority_that_is_no_certificate_is_told_before_anybody_is_asked(
    tmp_path: Path, content: str
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_text(content)
    message = f"--ca {ca}: expected a PEM file with a certificate"
    with pytest.raises(ValueError, match=f"^{message}"):
        Security.of_files(ca, None)
    transport = RelayTransport("localhost:1", security=Security(ca=ca))
    with pytest.raises(TransportError, match=f"^localhost:1: cannot connect: {message}"):
        list(DetectionStream(NumberSource(3), transport, CONFIG))


def test_a_clients_certificate_needs_its_key(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    cert, key = self_signed(tmp_path), tmp_path / "key.pem"
    others_key = self_signed(tmp_path / "other").with_name("key.pem")
    Security(cert, cert=cert, key=key).channel("localhost:1", []).close()
    for wrong_cert, wrong_key, says in (
        (cert, others_key, f"--key {others_key}: expected a PEM file with the key of --cert {cert}"),
        (key, key, f"--cert {key}: expected a PEM file with a certificate"),
        (cert, cert, f"--key {cert}: expected a PEM file with the key of --cert {cert}"),
    ):
        with pytest.raises(ValueError, match=f"^{says}"):
            Security(cert, cert=wrong_cert, key=wrong_key).channel("localhost:1", [])


@pytest.mark.parametrize("code", ["", "UNAVAILABLE: "])
def test_a_server_that_is_not_there_is_told_with_its_address(code: str) -> None:
    words = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:8500: "
    systems = "Failed to connect to remote host: connect: Connection refused (111)"
    assert plain_error(code + words + systems) == f"{code}no connection to 127.0.0.1:8500: Connection refused"
    assert plain_error(f"{code}no healthy upstream") == f"{code}no healthy upstream"
