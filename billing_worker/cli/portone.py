"""The way from a command to PortOne: a client for looks, made as the daemon makes its own."""

from billing_worker.bounds import client_options
from billing_worker.clock import SystemClock
from billing_worker.portone.client import PortOneClient
from billing_worker.settings import Settings


def portone_client(settings: Settings) -> PortOneClient:
    """A client to enter inside a running loop."""
    return PortOneClient(client_options(settings), host_time=SystemClock().now)
