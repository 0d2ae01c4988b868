"""What a control plane process is told at its start: flags, each of them also a variable."""

from dataclasses import dataclass
from pathlib import Path

from control_plane.kubernetes.problems import Reference
from control_plane.xds_security import XdsSecurity
from gateway_runtime.transport import TlsFiles


@dataclass(frozen=True, slots=True)
class Settings:
    """Read once, in `__main__`."""

    config: str
    """One gateway.yaml; "" if `config_dir` is given."""
    config_dir: str
    """A folder of them, one gateway each; "" if `config` is given."""
    xds_address: str
    http_address: str
    state_dir: Path | None
    """Where the last good configuration is kept; None: nowhere."""
    strict_start: bool
    """A faulty file at the start ends the process, whatever is kept."""
    http_token: str
    """Asked from every caller of the HTTP side but probes, if not empty."""
    http_tls: TlsFiles | None
    """Of the HTTP side; with a CA a client certificate of it is as good as the token."""
    xds_security: XdsSecurity
    """Of the xDS port."""
    ext_authz_endpoint: str
    """host:port or unix:/path that takes the place of the configured endpoints; "" leaves them."""
    ext_proc_endpoint: str
    analytics_endpoint: str
    """Who receives the access log of every gateway whose file does not forbid it; "" is who the file says, if any."""
    kubeconfig: str
    """"" uses the pod's service account, or KUBECONFIG."""
    config_map: Reference | None
    """A ConfigMap whose keys are kept as files beside `config`."""
