"""What would end a load when everything has been started for it, or fill the terminal meanwhile: told before."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from client.channel import split_address
from client.security import check_pems
from loadtest.images import load_images
from loadtest.launch import LaunchConfig
from loadtest.plan import Target
from loadtest.profile import Profile
from mesh.resources import MeshError
from mesh.stack import component_folder, istio_folder
from sightline.ports import check_free

ANSWER_S = 5.0  # for somebody to take a connection


def check_config(profile: Profile, target: Target, launch: LaunchConfig) -> None:
    """Raise what is wrong, in one line: ValueError, RuntimeError, OSError, MeshError, ClientError."""
    distributed = {"--master", "--worker"} & set(launch.locust)
    if profile.stack is None:
        security = target.security()
        check_pems(security.ca, security.cert, security.key)
        if "--master" not in distributed:  # it sends nothing
            check_reachable(profile, target)
    elif distributed:
        raise ValueError(
            f"{min(distributed)}: {profile.name} starts a stack of its own, where no other process knows it: "
            "leave the stack out, or use --processes"
        )
    check_components(profile)
    if launch.web_port:
        check_free(launch.web_port, "--web-port")
    load_images(profile.images)


def check_reachable(profile: Profile, target: Target) -> None:
    """Raise RuntimeError for a target that takes no connections."""
    url = urlsplit(target.rest)
    rest = (url.hostname or "", url.port or (443 if url.scheme == "https" else 80))
    targets = {
        "camera": ("relay", target.relay, split_address(target.relay, "relay")),
        "predict": ("server", target.server, split_address(target.server, "server")),
        "rest": ("rest", target.rest, rest),
    }
    for user in profile.users:
        option, name, address = targets[user]
        try:
            socket.create_connection(address, ANSWER_S).close()
        except OSError as error:
            raise RuntimeError(
                f"--{option} {name}: nobody answers there ({error.strerror or error}); is `sightline up` running?"
            ) from None


def check_components(profile: Profile) -> None:
    """Raise MeshError for an event whose component is not there."""
    for event in profile.events:
        try:
            component_folder(event.component, istio_folder())
        except MeshError as error:
            raise MeshError(f"profile {profile.name}: event {event.name!r}: {error}") from None
