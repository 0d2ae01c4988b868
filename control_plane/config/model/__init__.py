"""gateway.yaml as frozen values: one class per section, one file per top-level part of the file."""
