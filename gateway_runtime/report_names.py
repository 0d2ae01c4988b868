"""How a report of statistics says whose it is: resource attributes, with the values that xDS has for them."""

NODE_ID = "gateway.node.id"
NODE_CLUSTER = "gateway.node.cluster"
NODE_KIND = "gateway.node.kind"
"""The user agent's name; an Envoy says none."""
