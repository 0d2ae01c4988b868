"""JSON Web Tokens, judged strictly: PyJWT and cryptography check signatures, everything around them is ours."""
