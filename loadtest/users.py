"""The users that Locust spawns. Import this in a patched process only (Locust patches when it is imported)."""

from __future__ import annotations

import csv
import itertools
import os
import time
from collections.abc import Callable
from typing import Any, ClassVar

import gevent
from locust import User, task
from locust.exception import StopUser

from client.relayed import RelayTransport
from loadtest.calls import Call, Caller, predict_call, rest_call
from loadtest.plan import FAILED, Plan
from loadtest.profile import CallLoad
from loadtest.record import DELIVERED, LATENESS, STAGE, Recorder, fate
from loadtest.stream import CameraConfig, PacedCamera, Seen

UNIX_OFFSET_S = time.time() - time.monotonic()  # fixed: a clock that is set in mid-run moves no frame


class Session:
    """What all users of this process share: the plan, the pictures, and where fates are counted."""

    def __init__(self, plan: Plan, images: list[bytes], recorder: Recorder) -> None:
        self.plan, self.images, self.recorder = plan, images, recorder
        self.security = plan.target.security()
        self.fire: Callable[..., None] = lambda **_: None  # Locust's request event, once it runs
        self.prefix = "cam"  # of camera ids; a worker of several has its own
        self._numbers: set[int] = set()
        self._samples: Any = None

    def take_number(self) -> int:
        """The lowest number that no user of this process has."""
        number = next(n for n in itertools.count() if n not in self._numbers)
        self._numbers.add(number)
        return number

    def give_back(self, number: int) -> None:
        """A user has ended."""
        self._numbers.discard(number)

    def due(self, kind: str, seen: Seen) -> None:
        """A frame or call is due."""
        due_unix_s = seen.due_s + UNIX_OFFSET_S
        self.recorder.offered(kind, due_unix_s)
        self.recorder.add(LATENESS, due_unix_s, seen.late_s)

    def settled(self, kind: str, seen: Seen) -> None:
        """Its fate is known: to our series, and to Locust's statistics, which the web page shows."""
        due_unix_s = seen.due_s + UNIX_OFFSET_S
        self.recorder.add(fate(kind, seen.outcome, seen.detail), due_unix_s, seen.age_s)
        if seen.outcome == DELIVERED and seen.stages_ms:
            rest_ms = seen.age_s * 1e3 - sum(seen.stages_ms.values())
            for stage, ms in {**seen.stages_ms, "network": rest_ms}.items():
                self.recorder.add(f"{STAGE}/{stage}", due_unix_s, ms / 1e3)
        if seen.message:
            self.recorder.problem(f"{kind}: {seen.message}")
        name = f"{seen.outcome} {seen.detail}".rstrip()
        failed = None if seen.outcome == DELIVERED else name
        self.fire(
            request_type=kind, name=name, response_time=seen.age_s * 1e3, response_length=0, exception=failed,
            context={},
        )  # fmt: skip
        if self.plan.samples:
            self._sample(kind, due_unix_s, seen)

    def _sample(self, kind: str, due_unix_s: float, seen: Seen) -> None:
        if self._samples is None:
            file = (self.plan.folder / f"samples-{os.getpid()}.csv").open("w", newline="", buffering=1)
            self._samples = csv.writer(file)
            self._samples.writerow(["user", "due_unix_s", "outcome", "detail", "age_ms", "late_ms"])
        times = (f"{1e3 * seen.age_s:.3f}", f"{1e3 * seen.late_s:.3f}")
        self._samples.writerow([kind, f"{due_unix_s:.6f}", seen.outcome, seen.detail, *times])


class SessionUser(User):
    """A user of one kind; `session` is set before Locust starts any."""

    abstract = True
    kind: ClassVar[str]
    session: ClassVar[Session]

    def on_start(self) -> None:
        self.number = self.session.take_number()

    def on_stop(self) -> None:
        self.session.give_back(self.number)

    def due(self, seen: Seen) -> None:
        self.session.due(self.kind, seen)

    def settled(self, seen: Seen) -> None:
        self.session.settled(self.kind, seen)


class CameraUser(SessionUser):
    """One stream to the relay: frames at a fixed rate, whatever comes back."""

    abstract = True
    kind = "camera"
    ALIVE_S = 0.1  # how often Locust gets to say that the user shall stop

    def on_start(self) -> None:
        super().on_start()
        plan, load = self.session.plan, self.session.plan.profile.camera
        assert load is not None
        camera_id = f"{self.session.prefix}-{self.number}"
        transport = RelayTransport(plan.target.relay, security=self.session.security, camera_id=camera_id)
        config = CameraConfig(camera_id, load.fps, self.session.images, load.max_age_ms / 1e3)
        self.camera = PacedCamera(config, transport, self.settled, self.due)
        self.camera.start()

    @task
    def stream(self) -> None:
        """The camera sends by itself."""
        gevent.sleep(self.ALIVE_S)
        try:
            self.camera.check()
        except Exception as error:  # whatever it was, the run goes on with a camera less: it has to end
            self.environment.runner.send_message(FAILED, f"{self.kind}: {error or type(error).__name__}")
            raise StopUser from error

    def on_stop(self) -> None:
        self.camera.finish()
        super().on_stop()


class CallUser(SessionUser):
    """Asks a model server; subclasses say how."""

    abstract = True
    connect: ClassVar[Callable[..., Call]]

    def on_start(self) -> None:
        super().on_start()
        plan = self.session.plan
        load = plan.profile.users[self.kind]
        assert isinstance(load, CallLoad)
        call = type(self).connect(plan.target, load.timeout_s)
        name = f"{self.kind} {self.session.prefix} {self.number}"
        self.caller = Caller(name, call, load, self.session.images, self.due, self.settled)

    @task
    def ask(self) -> None:
        """One call."""
        self.caller.step()

    def on_stop(self) -> None:
        self.caller.finish()
        super().on_stop()


class PredictUser(CallUser):
    """Predict over gRPC."""

    abstract = True
    kind = "predict"
    connect = staticmethod(predict_call)


class RestUser(CallUser):
    """Predict over REST."""

    abstract = True
    kind = "rest"
    connect = staticmethod(rest_call)


def enlist(session: Session) -> None:
    """Have Locust spawn the kinds of users that the plan has, by weight: an abstract class is none to it.

    Not a loop in the locustfile: the last class would have a second name there, and Locust refuses to run it twice.
    """
    for user in (CameraUser, PredictUser, RestUser):
        load = session.plan.profile.users.get(user.kind)
        user.abstract, user.session = load is None, session
        user.weight = load.weight if load else 0
