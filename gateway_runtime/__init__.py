"""What every process needs to run, with no knowledge of gateways: logs, servers, signals, and the client of our xDS.

Nothing here is done at import; a process's `__main__` calls it.
"""
