"""Live numbers: what Envoys and callouts report of themselves, as rates that the status page shows.

report.py   pure   one report's bytes as plain values
rates.py    pure   cumulative numbers of many nodes as rates of all together
turns.py    pure   which reports there is time for
traffic.py  pure   everything that is known, by gateway; bounded by the configuration, not by what is reported
service.py         the gRPC method that takes reports
"""
