"""What a forked worker finds ready: the product imported, its garbage collected, certificates read.

A fork inherits all of it, which leaves some forty milliseconds of processor time for a start and so hundreds of starts
a minute on one core. Nothing here changes what a worker does.
"""

import functools
import gc

import asyncpg.protocol.protocol  # noqa: F401 - imported by asyncpg when it connects
import httpx
import uvicorn.lifespan.off
import uvicorn.protocols.http.auto
import uvicorn.protocols.websockets.auto  # noqa: F401

from tests.crash import doomed_worker  # noqa: F401 - with everything that it runs


def _read_certificates_once() -> None:
    """Let each worker have the context that was made here: the simulator speaks no TLS, and reading costs 20 ms."""
    once = functools.cache(httpx.create_ssl_context)
    once(trust_env=False)
    httpx.create_ssl_context = once  # type: ignore[assignment]


_read_certificates_once()
# The daemon collects its garbage as it starts; what lives already need not be walked in every fork.
gc.collect()
gc.freeze()
