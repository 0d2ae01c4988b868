"""Response cache and transformations, called by Envoy (envoy.service.ext_proc.v3.ExternalProcessor).

messages.py (bytes <-> events and actions) -> exchange.py (decides) -> cache/, transform/; service.py moves the bytes
and waits. All but service.py and __main__.py is pure: no I/O, no clock of its own.

Errors: messages.MalformedError (Envoy's peer broke the protocol), transform.redact.UnreadableError (the service sent
what a rule cannot be applied to), policy.errors.PolicyError (a policy is refused: NACK).
"""
