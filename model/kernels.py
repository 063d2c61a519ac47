"""Which kernels TensorFlow uses on x86: oneDNN's, which fuse a convolution with its SiLU, on every processor.

By itself TensorFlow takes them only where the processor has VNNI. It reads the environment as it is imported, so this
module must be imported before. Who sets TF_ENABLE_ONEDNN_OPTS is heeded.
"""

from __future__ import annotations

import os
import platform

if platform.machine() == "x86_64":
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
