"""The slots of a service: one client id, and so one session at the broker, for each worker."""

import re
from collections.abc import Collection, Iterable

__all__ = ["client_id_of", "client_ids", "left_over"]


def client_id_of(service: str, slot: int) -> str:
    """The client id of a worker.

    Args:
        service: The service's own client id.
        slot: 1 and up.
    """
    return f"{service}-{slot}"


def client_ids(service: str, workers: int) -> list[str]:
    """The client ids that a service uses: its own with a single process, else one for each worker."""
    return [service] if workers == 1 else [client_id_of(service, slot) for slot in range(1, workers + 1)]


def left_over(service: str, workers: int, remembered: Iterable[str], services: Collection[str]) -> list[str]:
    """The sessions that a service used when it had another number of workers, and does not use now.

    Args:
        service: The service's own client id.
        workers: How many it has now.
        remembered: Every client id for which filters are noted in the database.
        services: The own client ids of all services; ``plant-2`` may be one beside ``plant``.
    """
    mine = re.compile(re.escape(service) + r"(-[1-9]\d*)?")
    kept = {*client_ids(service, workers), *(other for other in services if other != service)}
    return sorted(name for name in remembered if mine.fullmatch(name) and name not in kept)
