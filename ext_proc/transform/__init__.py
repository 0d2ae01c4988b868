"""Changes of messages on their way, per route.

Order: a request's changes are made after the cache was asked, on what goes to the service; a response's changes are
made before it is stored. So the store holds what clients get, a hit has the same bytes as the miss before it, and the
origin's own caching fields, untouched by any rule, decide about storing.
"""
