"""The way in for PortOne's webhooks, on an address of its own: verified, kept, acknowledged, and then only a hint.

This is the one part of the worker that strangers can reach. Nothing of it may show a metric, tell a forger why he was
refused, or write down what was not signed.
"""

from billing_worker.webhooks.endpoint import create_app, serve
from billing_worker.webhooks.writer import InboxWriter

__all__ = ["InboxWriter", "create_app", "serve"]
