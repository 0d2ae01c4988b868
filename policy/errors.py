"""What is wrong with a policy, in words for whoever wrote the configuration."""


class PolicyError(ValueError):
    """A policy (or a Secret that it names) cannot be compiled; the text says which part and why."""
