"""A network camera that speaks RTSP: GStreamer's server, with a password. Runs under Debian's own Python.

python3 rtsp_camera.py FILE.mp4 PORT: plays the H.264 video once to each viewer, prints its port, until killed.
"""

import sys

import gi  # type: ignore[import-not-found]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import (  # type: ignore[import-not-found]  # noqa: E402  after the versions
    GLib,
    Gst,
    GstRtsp,
    GstRtspServer,
)

Gst.init(None)
server = GstRtspServer.RTSPServer(address="127.0.0.1", service=sys.argv[2])
auth = GstRtspServer.RTSPAuth()
token = GstRtspServer.RTSPToken()
token.set_string("media.factory.role", "user")
auth.add_digest("user", "hunter2", token)
auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
server.set_auth(auth)
media = GstRtspServer.RTSPMediaFactory()
media.set_launch(
    f'( filesrc location="{sys.argv[1]}" ! qtdemux ! rtph264pay name=pay0 pt=96 config-interval=1 )'
)
role = Gst.Structure.new_empty("user")
role.set_value("media.factory.access", True)
role.set_value("media.factory.construct", True)
media.add_role_from_structure(role)
server.get_mount_points().add_factory("/stream", media)
assert server.attach(None)
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
