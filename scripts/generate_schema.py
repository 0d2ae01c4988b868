"""Write docs/reference/gateway.schema.json; a test compares it with the model."""

import json
from pathlib import Path

from control_plane.config.json_schema import gateway_schema

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference" / "gateway.schema.json"

if __name__ == "__main__":
    TARGET.write_text(json.dumps(gateway_schema(), indent=2, ensure_ascii=False) + "\n")
    print(TARGET)
