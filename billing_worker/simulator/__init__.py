"""A PortOne to practise on: an HTTP server that speaks the contract, keeps the truth, and misbehaves on request.

It imports nothing of ours from other rooms: it must not share a misunderstanding with the client it tests.
"""
