"""Where a run is watched from outside the record.

In: events. Out: the console, and tracking services.
Here live the sinks that turn events into lines, bars and tables.
"""
