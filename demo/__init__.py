"""Small upstream services that show what the gateway does: they echo what reached them and can be told to misbehave."""
