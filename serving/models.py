"""The models that are served: versions found by polling, loaded, warmed, served and unloaded.

Availability-preserving, as TF Serving: a new version is loaded before the old one goes; if it fails, the old
one goes on serving. An empty base folder unloads everything, a missing one is an error that unloads nothing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from serving.batching_config import BatchingOptions
from serving.config import ModelConfig
from serving.errors import Code, ServingError, invalid
from serving.flags import CPUS
from serving.loader import Loader
from serving.metrics import Metrics
from serving.servable import LoadOptions, Runnable, Served, State, Version, unavailable
from serving.versions import aspired_versions

log = logging.getLogger(__name__)

INITIAL_LOAD_THREADS = 4 * CPUS  # until the first models serve; from then on --num_load_threads


class ModelManager:
    """Owns every model version. `configure` may be called again, to reload."""

    def __init__(self, options: LoadOptions, batching: BatchingOptions | None, metrics: Metrics) -> None:
        self._loader = Loader(options, metrics, batching)
        self._options = options
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._stop = threading.Event()
        self._configuring = threading.Lock()
        self._retired: list[Runnable] = []  # unloaded; freed outside the lock, as that takes time
        self._models: dict[str, Served] = {}
        self._listed = False  # a list of models has come, if an empty one
        self._serving = False  # from the end of the first configuration on: calls come
        self._poll_error = ""
        self._started = False  # the first list of models serves: what comes is a reload
        self._loaders = ThreadPoolExecutor(max(INITIAL_LOAD_THREADS, options.threads), "load")
        self._poller = threading.Thread(target=self._poll, name="poll", daemon=True)

    # --- configuration -----------------------------------------------------------------------------------

    def configure(self, configs: Sequence[ModelConfig] | None) -> None:
        """Serve exactly these models, and return when each new one has a version that serves; None changes nothing.

        Labels are checked first, against what serves by then: at start nothing does. Raises ServingError when a new
        model fails to load (after its retries) or a label is refused; models that were served before are not waited
        for.
        """
        with self._configuring:
            if configs is not None:
                self._configure(configs)
            self._serving = True

    def _configure(self, configs: Sequence[ModelConfig]) -> None:
        with self._lock:
            served = self.configured() if self._started else None
            new = [config.name for config in configs if config.name not in (served or ())]
            self._listed = True
            self._check_labels(configs)
            for name in self._models.keys() - {config.name for config in configs}:
                self._models[name].config, self._models[name].labels = None, {}
                self._aspire(name, {})  # now, whatever the next look at the file system finds
            for config in configs:
                model = self._models.setdefault(config.name, Served(None))
                model.config, model.labels = config, dict(config.labels)
                if served is not None and config.name in new:
                    model.begin()
        self._free()
        if self._options.poll_s >= 0:
            self._look()
        if self._options.poll_s > 0 and not self._poller.is_alive() and not self._stop.is_set():
            self._poller.start()
        self._await(new, "servable" if served is None else "model")
        if not self._started:
            self._started = True
            with self._lock:
                self._loaders.shutdown(wait=False)  # it ends what it has
                self._loaders = ThreadPoolExecutor(max(1, self._options.threads), "load")

    def configured(self) -> set[str] | None:
        """The names of the models that are to be served now; None before the first list of models."""
        with self._lock:
            if not self._listed:
                return None
            return {name for name, served in self._models.items() if served.config is not None}

    def _check_labels(self, configs: Sequence[ModelConfig]) -> None:
        for config in configs:
            served = self._models.get(config.name, Served(None))
            for label, number in config.labels.items():
                version = served.versions.get(number)
                if version is not None and version.state == State.AVAILABLE:
                    continue
                if self._options.labels_for_unavailable and served.labels.get(label, number) == number:
                    continue
                raise ServingError(
                    Code.FAILED_PRECONDITION,
                    f"Request to assign label to version {number} of model {config.name}, which is not "
                    "currently available for inference",
                )

    def _await(self, names: Sequence[str], kind: str) -> None:
        """Wait until each named model serves or has failed; returns early when the manager is stopped."""
        with self._changed:
            while not self._stop.is_set() and not all(self._models[name].reached() for name in names):
                self._changed.wait()
            error = unavailable({name: self._models[name] for name in sorted(names)}, kind)
        if error is not None:
            raise error

    # --- finding versions ----------------------------------------------------------------------------------

    def _poll(self) -> None:
        while not self._stop.wait(self._options.poll_s):
            try:
                self._look()
            except Exception:  # a poller that dies would freeze every model's versions unnoticed
                log.exception("Looking for new versions failed")

    def _look(self) -> None:
        """One look at the file system: all models or, when one base path is missing, none."""
        with self._lock:
            configs = {name: served.config for name, served in self._models.items() if served.config}
        try:
            found = {name: aspired_versions(config) for name, config in configs.items()}
        except ServingError as error:
            if error.message != self._poll_error:  # said once, not every second
                log.error(
                    "FileSystemStoragePathSource encountered a filesystem access error: %s", error.message
                )
            self._poll_error = error.message
            return
        self._poll_error = ""
        with self._lock:
            for name, versions in found.items():
                if self._models[name].config is configs[name]:
                    self._aspire(name, versions)
        self._free()

    def _aspire(self, name: str, wanted: dict[int, str]) -> None:
        """Start loads and unloads so that the versions served become those wanted. Under the lock."""
        versions = self._models[name].versions
        for number in sorted(wanted, reverse=True):
            old = versions.get(number)
            if old is not None and (old.state != State.END or (old.error is not None and old.aspired)):
                old.aspired = True
                continue
            versions[number] = version = Version(wanted[number])
            self._loaders.submit(self._load, name, number, version)
        for number, version in versions.items():
            version.aspired = number in wanted
        self._unload_spare(name)

    def _unload_spare(self, name: str) -> None:
        """Unload versions that are no longer wanted, once one that is wanted serves. Under the lock."""
        versions = self._models[name].versions
        wanted = [version for version in versions.values() if version.aspired]
        if wanted and not any(version.state == State.AVAILABLE for version in wanted):
            return
        for number, version in versions.items():
            if not version.aspired and version.state == State.AVAILABLE:
                if version.model is not None:
                    self._retired.append(version.model)  # calls in flight keep it until they end
                version.state, version.model = State.END, None
                log.info("Unloaded servable version {name: %s version: %d}", name, number)
        self._changed.notify_all()

    # --- loading -------------------------------------------------------------------------------------------

    def _load(self, name: str, number: int, version: Version) -> None:
        """Load one version, with retries. Runs on a loader thread."""
        model, error = None, None
        for attempt in range(max(self._options.max_retries, 0) + 1):  # tried once, whatever is asked for
            if attempt and self._stop.wait(self._options.retry_interval_s):
                break
            with self._lock:
                if not version.aspired:
                    break  # withdrawn before, or between, the tries
                version.state = State.LOADING
            try:
                model, error = self._loader.load(version.path, beside_serving=self._serving), None
                break
            except ServingError as failure:
                error = failure
            except Exception as failure:  # anything else must end as this version's error, not the thread's
                log.exception("Loading failed")
                error = ServingError(Code.INTERNAL, f"Loading failed: {failure}")
            log.error("Loading servable: {name: %s version: %d} failed: %s", name, number, error)
        with self._changed:
            version.model, version.error = model, error
            version.state = State.END if model is None else State.AVAILABLE
            if model is not None:
                log.info("Successfully loaded servable version {name: %s version: %d}", name, number)
            self._unload_spare(name)
            self._changed.notify_all()
        del model
        self._free()

    def _free(self) -> None:
        """Drop unloaded models: the last reference closes their sessions."""
        with self._lock:
            retired, self._retired = self._retired, []
        del retired

    # --- serving -------------------------------------------------------------------------------------------

    def knows(self, name: str) -> bool:
        """Whether a model of this name is, or was, configured."""
        return name in self._models

    def find(self, spec: Any) -> tuple[int, Runnable]:
        """The version number and model that a ModelSpec asks for; raises ServingError."""
        name = spec.name
        if not name:
            raise invalid("ModelSpec has no name specified.")
        choice = spec.WhichOneof("version_choice")
        with self._lock:
            served = self._models.get(name) or Served(None)
            if choice == "version_label":
                if spec.version_label not in served.labels:
                    raise invalid(f"Unrecognized servable version label: {spec.version_label}")
                number: int | None = served.labels[spec.version_label]
            else:
                number = spec.version.value if choice == "version" else served.latest()
            version = served.versions.get(number) if number is not None else None
            if number is None or version is None or version.model is None:
                asked = f"Specific({name}, {number})" if choice else f"Latest({name})"
                raise ServingError(Code.NOT_FOUND, f"Servable not found for request: {asked}")
            return number, version.model

    def states(self, name: str) -> list[tuple[int, State, ServingError | None]]:
        """Every version ever seen of a model, highest first, with its state and error."""
        with self._lock:
            served = self._models.get(name) or Served(None)
            return [(n, v.state, v.error) for n, v in sorted(served.versions.items(), reverse=True)]

    def stop(self) -> None:
        """Stop polling and loading; what is loaded stays usable for calls in flight."""
        with self._changed:
            self._stop.set()
            self._changed.notify_all()
            self._loaders.shutdown(wait=False, cancel_futures=True)
