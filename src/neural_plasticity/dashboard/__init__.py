"""The dashboard: one page that shows runs, live from a server or offline as a single file.

In: run folders, also while they grow. Out: a report that can be sent away, and a page that follows what happens.
Here live the feed that the page reads, the report, and the server with its guard.
"""
