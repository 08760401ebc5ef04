"""A deterministic simulation: the real code from the bytes of the broker to the flush, in a world that a seed makes.

Broker, network, database and time are played; nothing waits and nothing is a matter of chance but the seed.
``python -m tests.simulation --schedules 100000 --seed 1`` runs it long; see docs/decisions/0024.
"""
