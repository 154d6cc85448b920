"""Payments that are not what we asked for: somebody else's under one of our ids, or ours as no rule may believe it.

A person at PortOne's console, another program with the same ids, a channel that was left in test mode. Each differs in
one thing alone, so that every comparison has to be made.
"""

from random import Random

from tests.simulation.portone_books import Try

BY_SOMEBODY_BEFORE, BY_SOMEBODY_LATER, BY_US = "before", "later", "ours"
WAYS = (BY_SOMEBODY_BEFORE, BY_SOMEBODY_LATER, BY_US)
_KINDS = ("amount", "amount", "currency", "store", "channel", "channel", "")
_KINDS_OF_OURS = ("amount", "channel")


def make_differ(one: Try, chance: Random) -> None:
    """Let the payment be another one than was asked for. Somebody else's is now and then the same by accident."""
    one.differs = chance.choice(_KINDS if one.key is None else _KINDS_OF_OURS)
    match one.differs:
        case "amount":
            one.amount_minor = chance.choice((100, one.amount_minor + 1, one.amount_minor * 100))
        case "currency":
            one.currency = "USD"
        case "store":
            one.store_id = "store-of-somebody"
        case "channel":
            one.channel = "TEST"
