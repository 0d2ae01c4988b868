"""OpenAPI 3.0 and 3.1 documents in compiled form: which requests and responses they describe.

`document.py` resolves references and makes validators of schemas, `operations.py` what is asked for a request. What is
checked and what is not stands in docs/developer/transformations.md.
"""
