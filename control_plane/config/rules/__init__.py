"""What a well-formed gateway.yaml still can have wrong: one module per part of the file, one function per rule.

A rule reads the model and reports to a `Report`; it never stops another one.
"""
