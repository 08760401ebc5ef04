"""Middleware: steps around every action of a route, one's own and those that come along."""

from core.middleware.device_identity import DeviceIdentity
from core.middleware.pipeline import Handler, Middleware, checked, fold

__all__ = ["DeviceIdentity", "Handler", "Middleware", "checked", "fold"]
