"""Time series: tables that are cut into ranges of time, so that old rows go without being searched for."""

from core.database.timeseries.declaration import Declaration, TimeSeries, declarations, declare

__all__ = ["Declaration", "TimeSeries", "declarations", "declare"]
