"""What protects the xDS port, from flags: mTLS, bearer tokens, the file that says who may be what."""

import os
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from control_plane.xds.access import Access, Clients, ClientsFileError, TokenReviewer, parse_clients
from gateway_runtime.certificates import Renewing
from gateway_runtime.process import StartError
from gateway_runtime.telemetry import logger
from gateway_runtime.transport import TlsFiles, TransportFileError


@dataclass(frozen=True, slots=True)
class XdsSecurity:
    """Nothing set: plain text and no questions, which only loopback and Unix sockets get."""

    ca_file: str = ""
    """Clients need a certificate of this CA."""
    certificate_file: str = ""
    key_file: str = ""
    token: str = ""
    clients_file: Path | None = None
    token_audience: str = ""
    """Not empty: bearer tokens of ServiceAccounts for this audience count."""

    def __repr__(self) -> str:
        """Without the token."""
        return f"XdsSecurity(certificate_file={self.certificate_file!r}, clients_file={self.clients_file})"

    def check(self, address: str) -> None:
        """Raises StartError (2) for an address that others can reach and that nothing protects, or half of a pair."""
        if bool(self.certificate_file) != bool(self.key_file) or (self.ca_file and not self.key_file):
            raise StartError("--xds-cert and --xds-key belong together, and --xds-ca needs both", exit_code=2)
        if self.token_audience and self.clients_file is None:
            raise StartError("--xds-token-audience needs --xds-clients: it says who may be what", exit_code=2)
        if is_loopback(address) or self.ca_file or self.token or self.token_audience:
            return
        if self.clients_file is not None and ClientsFile(self.clients_file).newest().tokens:
            return
        raise StartError(
            f"--xds-address {address} is reachable from elsewhere: set --xds-ca, --xds-cert and --xds-key (mTLS), "
            "or a token (GATEWAY_XDS_TOKEN)",
            exit_code=2,
        )

    def tls(self) -> Renewing | None:
        """None: plain text. Raises StartError: the files cannot be used now."""
        if not self.certificate_file:
            return None
        try:
            return Renewing(TlsFiles(self.certificate_file, self.key_file, self.ca_file))
        except TransportFileError as error:
            raise StartError(str(error), exit_code=2) from error

    def access(self, review: TokenReviewer | None) -> Access:
        """Raises StartError.

        Args:
            review: asks Kubernetes; None outside of a cluster.
        """
        if self.token_audience and review is None:
            raise StartError("--xds-token-audience needs a cluster: --kubeconfig, or a pod's own", exit_code=2)
        file = ClientsFile(self.clients_file) if self.clients_file is not None else None
        return Access(
            wants_certificate=bool(self.ca_file),
            token=self.token,
            clients=file.newest if file is not None else lambda: None,
            review=review,
        )


class ClientsFile:
    """Read again when it has changed; a faulty one changes nothing."""

    def __init__(self, path: Path) -> None:
        """Raises StartError (2) if it cannot be used now."""
        self._path = path
        self._stamp = self._look()
        self._log = logger("xds_clients")
        try:
            self._clients = parse_clients(path.read_bytes(), str(path))
        except (OSError, ClientsFileError) as error:
            raise StartError(f"--xds-clients: {error}", exit_code=2) from error

    def newest(self) -> Clients:
        """For each new stream: a stat is a microsecond."""
        stamp = self._look()
        if stamp == self._stamp:
            return self._clients
        self._stamp = stamp
        try:
            self._clients = parse_clients(self._path.read_bytes(), str(self._path))
        except (OSError, ClientsFileError) as error:
            self._log.error("clients_file_faulty", reason=str(error), serving="its last good content")
        return self._clients

    def _look(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self._path)
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach `host:port` or `unix:/path`."""
    if address.startswith("unix:"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
