"""Functions over any SQLAlchemy ``select`` of models, alike on PostgreSQL, MariaDB and SQLite.

Those that make a select (``search``, ``latest_per``, ``full_text``, ``stale``) can be combined with each other and
with those that run one (``fetch``, ``paginate``, ``cursor_paginate``, ``stream``, ``time_buckets``). Only the order by
rank of ``full_text`` has no cursor.
"""

from core.query.buckets import time_buckets
from core.query.cursor_pages import CursorPage, cursor_paginate, sign_cursors
from core.query.execution import fetch
from core.query.filters import search
from core.query.latest import latest_per
from core.query.pages import Page, paginate
from core.query.staleness import stale
from core.query.streams import stream
from core.query.text_search import full_text, text_document

__all__ = [
    "CursorPage",
    "Page",
    "cursor_paginate",
    "fetch",
    "full_text",
    "latest_per",
    "paginate",
    "search",
    "sign_cursors",
    "stale",
    "stream",
    "text_document",
    "time_buckets",
]
