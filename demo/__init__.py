"""Small upstream services that show what the gateway does."""
