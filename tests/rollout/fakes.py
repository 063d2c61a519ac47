"""A cheap network for the rollout's tests: a scene of objects that two versions see nearly alike; and its stack."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import grpc

from client.predict import GET_MODEL_STATUS, PREDICT, Prediction
from client.security import Security
from client.wire import tfserving_pb2 as tfs
from loadtest.wrong_model import WrongModel, encode
from mesh.kustomize import load
from mesh.render.topology import Address
from mesh.run import Mesh, MeshConfig
from mesh.run.rollout import RolloutFolder, subsets_of
from mesh.stack import istio_folder, stack_topology
from sightline.ports import free_port
from sightline.rollout.camera import CountedCamera
from tests.client.fakes import NumberSource, RelayThread
from tests.mesh.live.support import component, operation

Answer = Callable[[bytes], bytes]
LABELS = ("person", "car", "bus", "bicycle")
OBJECTS = 16
FPS = 25.0


@dataclass
class Scene:
    """The answers of one version: OBJECTS objects on a grid, with `noise` in boxes and scores as a network has.

    `worse`: share of the objects that are missed, each picture anew.
    """

    version: int
    noise: float = 0.002
    worse: float = 0.0

    def __call__(self, _request: bytes) -> bytes:
        rng = random.Random()
        boxes: list[float] = []
        scores: list[float] = []
        classes: list[int] = []
        for i in range(OBJECTS):
            if rng.random() < self.worse:
                continue
            y, x = 0.05 + 0.23 * (i // 4), 0.05 + 0.23 * (i % 4)
            box = [y, x, y + 0.15, x + 0.1]
            boxes += [value + rng.gauss(0, self.noise / 2) for value in box]
            scores.append(0.35 + 0.04 * i + rng.gauss(0, self.noise))
            classes.append(i % len(LABELS))
        labels = [LABELS[one] for one in classes]
        return encode(Prediction("yolov8", self.version, boxes, scores, classes, labels))


class TwoVersions:
    """A model server that does what the mesh does: the header `version: v2` reaches the candidate, others the stable
    version. Neither needs an Envoy."""

    def __init__(self, stable: Answer, candidate: Answer) -> None:
        self.stable, self.candidate = stable, candidate
        self.delay_s = 0.0  # of the stable version
        self.shadow_delay_s = 0.0
        self.shadow_fails: grpc.StatusCode | None = None
        self.shadows = self.busy = self.most_shadows = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._server = grpc.server(ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)])
        status = tfs.GetModelStatusResponse()
        status.model_version_status.add(version=1, state=tfs.ModelVersionStatus.AVAILABLE)
        methods = {PREDICT: self._predict, GET_MODEL_STATUS: lambda *_: status.SerializeToString()}
        for path, method in methods.items():
            _, service, name = path.split("/")
            handlers = {name: grpc.unary_unary_rpc_method_handler(method)}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(0).wait()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _predict(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        if dict(context.invocation_metadata()).get("version") != "v2":
            time.sleep(self.delay_s)
            return self.stable(request)
        with self._lock:
            self.shadows += 1
            self.busy += 1
            self.most_shadows = max(self.most_shadows, self.busy)
        try:
            time.sleep(self.shadow_delay_s)
            if self.shadow_fails is not None:
                context.abort(self.shadow_fails, "as told")
            return self.candidate(request)
        finally:
            with self._lock:
                self.busy -= 1


@dataclass
class Stack:
    """A running mesh with two versions, its relay, and the folder that a rollout edits."""

    folder: Path
    mesh: Mesh
    stable: WrongModel
    candidate: WrongModel
    relay: RelayThread

    @property
    def security(self) -> Security:
        """How cameras get in."""
        return Security(ca=self.mesh.ca_file, token_of=self.mesh.issuer.token)

    @property
    def http(self) -> str:
        return f"http://127.0.0.1:{self.relay.relay.http_port}"

    @contextmanager
    def filming(
        self, cameras: int, fps: float = FPS, max_age_s: float = 0.2
    ) -> Iterator[list[CountedCamera]]:
        """Cameras that send frames through the gateway."""
        gateway = self.mesh.topology.gateway
        assert gateway is not None
        with ExitStack() as stack:
            yield [
                stack.enter_context(
                    CountedCamera(
                        NumberSource(None, live=True, interval_s=1 / fps, camera_id=f"cam-{number}"),
                        str(gateway.listen[443]),
                        self.security,
                        max_age_s,
                    )
                )
                for number in range(cameras)
            ]

    def wait_for_answers(self) -> None:
        """Until the candidate's answers have an age."""
        RolloutFolder(self.folder).set_weight("v2", 50)
        end_s = time.monotonic() + 60
        while not self.relay.count("sightline_relay_answer_age_seconds_count", model_version="2"):
            assert time.monotonic() < end_s
            time.sleep(0.05)


def _short_ejections(folder: Path) -> Path:
    """A component: what failed in one test is back in the next."""
    return component(
        folder,
        "DestinationRule",
        "tf-serving",
        operation("replace", "/spec/trafficPolicy/outlierDetection/interval", "200ms"),
        operation("replace", "/spec/trafficPolicy/outlierDetection/baseEjectionTime", "500ms"),
    )


@contextmanager
def running(
    tmp_path: Path,
    shadow_percent: float = 100.0,
    shadow_pairs: int = 0,
    answers: tuple[Answer, Answer] = (Scene(1), Scene(2)),
) -> Iterator[Stack]:
    """The stack with istio/base; both versions answer the same scene, unless told otherwise."""
    with ExitStack() as stack:
        models = [stack.enter_context(WrongModel(answers[i], i + 1)) for i in (0, 1)]
        servers = {f"v{model.version}": [Address("127.0.0.1", model.port)] for model in models}
        listen, outbound = Address("127.0.0.1", free_port()), Address("127.0.0.1", free_port())
        folder = RolloutFolder(tmp_path / "rollout")
        folder.prepare()
        istio = istio_folder()
        config = MeshConfig(
            (istio / "base",),
            stack_topology(servers, listen, outbound=outbound),
            (_short_ejections(tmp_path / "ejections"), *folder.components),
            mesh_config=istio / "install" / "istiod-values.yaml",
            state=tmp_path / "state",
            log=lambda line: None,
        )
        mesh = stack.enter_context(Mesh(config))
        relay = RelayThread(
            str(outbound), http_port=0, shadow_percent=shadow_percent, shadow_pairs=shadow_pairs
        )
        relay.port = listen.port
        stack.enter_context(relay)
        assert mesh.envoy is not None
        made = Stack(folder.folder, mesh, models[0], models[1], relay)
        folder.announce(mesh.envoy.admin_socket, made.http, subsets_of(load(config.paths)))
        yield made
