"""An OpenAPI document as a first gateway.yaml."""
