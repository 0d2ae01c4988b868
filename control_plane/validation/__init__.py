"""Checks of what is about to be published: Envoy's own field rules, and that what is named is there. Pure."""
