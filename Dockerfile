# The images; `make images` builds them, docs/deploy.md says what each is for. Stages to build: relay, server,
# server-bare, model, export, loadtest, debug.
#
# A digest stands where public build files agree on it; `make pins` asks the registries and writes the newest. The
# official model server's is not known yet: its tag is all that there is until `make pins` ran. Labels that every image
# has (source, revision, version) come from images/build.sh.
ARG PYTHON_BASE=python:3.13-slim-trixie@sha256:ffb752e139c0a19692a43af8d8523b274222dd68eebad5d583b45c2201c6e30a
ARG PYTHON_RUNTIME=gcr.io/distroless/python3-debian13:nonroot@sha256:f3d5ddc6c64a019fe520e7f005f2880be21e6afc461b10a3c15ef2e4edc71e33
ARG CC_RUNTIME=gcr.io/distroless/cc-debian13:nonroot@sha256:e792ab3d241a468a4fd7519ddbbebe66b49b5f365771716ea688ad40b6c6f1c2
ARG SERVING_AMD64=tensorflow/serving:2.20.0
# There is no official model server for arm64: who has built one names it here.
ARG SERVING_ARM64=scratch
# Set by the builder; named here for buildah.
ARG TARGETARCH

# --- the wheel: the same for every image, and for a laptop -----------------------------------------------------
FROM --platform=$BUILDPLATFORM ${PYTHON_BASE} AS wheel
WORKDIR /src
COPY . .
# Files in the wheel bear this time, so that two builds of one commit give one wheel.
ENV SOURCE_DATE_EPOCH=1577836800
ENV PIP_ROOT_USER_ACTION=ignore
RUN --mount=type=cache,target=/root/.cache/pip pip wheel --no-deps --wheel-dir /wheels .

# --- packages, as a folder for PYTHONPATH: no pip and no environment to copy --------------------------------------
FROM ${PYTHON_BASE} AS packages
COPY --from=wheel /wheels /wheels
COPY constraints.txt /wheels/
# Bytecode is compiled here, for the file system is read-only later; unchecked, for image tools change files' times.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-compile --target /app --constraint /wheels/constraints.txt /wheels/*.whl \
    && rm -r /app/bin \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /app

# --- relay --------------------------------------------------------------------------------------------------------
FROM packages AS relay-packages
# The relay passes pictures on and never decodes one: OpenCV is 165 MB that only cameras need.
RUN rm -r /app/cv2 /app/opencv_python_headless*
# scipy for the image relay-rollout, whose relay compares two versions (--shadow-percent); 140 MB with its bytecode.
ARG RELAY_EXTRA=
RUN --mount=type=cache,target=/root/.cache/pip \
    if [ -n "${RELAY_EXTRA}" ]; then \
      pip install --no-compile --no-deps --target /app --constraint /wheels/constraints.txt "${RELAY_EXTRA}" \
      && python -m compileall -q -j 0 --invalidation-mode unchecked-hash "/app/${RELAY_EXTRA}"; \
    fi

# Ends the build if the runtime's interpreter or libraries do not fit the packages.
FROM ${PYTHON_RUNTIME} AS relay-checked
ARG RELAY_EXTRA=
COPY --from=relay-packages /app /app
RUN ["/usr/bin/python3", "-c", "import os, sys; sys.path.insert(0, '/app'); import sightline.cli, client.relay.main, client.relay.http; os.environ.get('RELAY_EXTRA') and __import__('client.relay.shadow')"]

FROM ${PYTHON_RUNTIME} AS relay
COPY --from=relay-checked /app /app
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8600 8601
ENTRYPOINT ["/usr/bin/python3", "-m", "sightline", "relay"]
# A pod's network is its own; on a laptop the relay listens on loopback.
CMD ["--listen=0.0.0.0:8600"]
LABEL org.opencontainers.image.title="sightline-relay" \
      org.opencontainers.image.description="Takes cameras' streams, asks the model server frame by frame" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later"

# --- loadtest: everything that a camera box has, Locust, and what signs cameras' tokens (no Envoy) -------------------
FROM packages AS loadtest-packages
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-compile --upgrade --target /app --constraint /wheels/constraints.txt \
        "$(echo /wheels/*.whl)[load]" cryptography pyjwt \
    && rm -r /app/bin \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /app

FROM ${PYTHON_RUNTIME} AS loadtest-checked
COPY --from=loadtest-packages /app /app
RUN ["/usr/bin/python3", "-c", "import sys; sys.path.insert(0, '/app'); import sightline.cli, client.detect, sightline.load"]

FROM ${PYTHON_RUNTIME} AS loadtest
COPY --from=loadtest-checked /app /app
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["/usr/bin/python3", "-m", "sightline"]
CMD ["--help"]
LABEL org.opencontainers.image.title="sightline-loadtest" \
      org.opencontainers.image.description="Cameras and load: streams frames to the relay, reports ages and fates" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later"

# --- export: weights to a SavedModel, as a job or for the stages below -------------------------------------------
FROM ${PYTHON_BASE} AS export-packages
COPY --from=wheel /wheels /wheels
COPY constraints.txt /wheels/
# Where torch is to be had without CUDA; pip reads both from the environment.
ARG PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG PIP_FIND_LINKS=
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-compile --target /app --constraint /wheels/constraints.txt \
      "$(echo /wheels/sightline-*.whl)[export]" \
    && rm -r /app/bin

FROM ${PYTHON_RUNTIME} AS export
COPY --from=export-packages /app /app
ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["/usr/bin/python3", "-m", "sightline", "export"]
CMD ["--help"]
LABEL org.opencontainers.image.title="sightline-export" \
      org.opencontainers.image.description="YOLOv8 weights to a SavedModel version" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later"

FROM export-packages AS exported
ARG WEIGHTS=demo
ARG PRECISION=fp32
ARG MODEL_VERSION=1
ENV PYTHONPATH=/app
RUN python -m sightline export --weights "$WEIGHTS" --out /models/yolov8 \
    --precision "$PRECISION" --model-version "$MODEL_VERSION"

# --- model: nothing but the model, for image volumes (mounted at /models) --------------------------------------
FROM scratch AS model
COPY --from=exported /models /
LABEL org.opencontainers.image.title="sightline-model" \
      org.opencontainers.image.description="A SavedModel version below yolov8/, to be mounted at /models" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later"

# --- debug: what k8s/debug attaches to a running pod; a shell and tools, which no other image has -----------------
FROM ${PYTHON_BASE} AS debug
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends elfutils linux-perf procps \
    && rm -rf /var/lib/apt/lists/* \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} +
COPY constraints.txt /tmp/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-compile --target /opt/py-spy --constraint /tmp/constraints.txt py-spy \
    && rm /tmp/constraints.txt
ENV PATH=/opt/py-spy/bin:/usr/local/bin:/usr/bin:/bin
COPY k8s/debug/sample.sh /usr/local/bin/sample
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/sample"]
CMD ["relay", "20"]
LABEL org.opencontainers.image.title="sightline-debug" \
      org.opencontainers.image.description="Stacks of a running relay or model server, for a flame graph" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later AND GPL-2.0-only AND GPL-3.0-or-later AND MIT"

# --- server: the official binary on a runtime without a shell ----------------------------------------------------
FROM ${SERVING_AMD64} AS serving-amd64
FROM ${SERVING_ARM64} AS serving-arm64

# What ldd does, in the runtime itself: the build ends here if a library or a symbol version is missing.
FROM ${CC_RUNTIME} AS linked-amd64
COPY --from=serving-amd64 /usr/bin/tensorflow_model_server /usr/bin/
RUN ["/lib64/ld-linux-x86-64.so.2", "--list", "/usr/bin/tensorflow_model_server"]

FROM ${CC_RUNTIME} AS linked-arm64
COPY --from=serving-arm64 /usr/bin/tensorflow_model_server /usr/bin/
RUN ["/lib/ld-linux-aarch64.so.1", "--list", "/usr/bin/tensorflow_model_server"]

# hadolint ignore=DL3006
FROM linked-${TARGETARCH} AS linked
RUN ["/usr/bin/tensorflow_model_server", "--version"]

FROM ${CC_RUNTIME} AS server-bare
COPY --from=linked /usr/bin/tensorflow_model_server /usr/bin/
COPY images/server/ /etc/tf-serving/
USER 65532:65532
EXPOSE 8500 8501
ENTRYPOINT ["/usr/bin/tensorflow_model_server", \
    "--port=8500", \
    "--rest_api_port=8501", \
    "--model_config_file=/etc/tf-serving/models.config", \
    "--monitoring_config_file=/etc/tf-serving/monitoring.config", \
    "--enable_grpc_healthcheck_service=true"]
# Without load threads of their own, a failing version's retries hold up every other load; 3 tries, 10 s apart.
CMD ["--num_load_threads=1", "--max_num_load_retries=3", "--load_retry_interval_micros=10000000"]
LABEL org.opencontainers.image.title="sightline-server" \
      org.opencontainers.image.description="tensorflow_model_server for Sightline's models" \
      org.opencontainers.image.licenses="AGPL-3.0-or-later AND Apache-2.0"

FROM server-bare AS server
COPY --from=exported /models /models
