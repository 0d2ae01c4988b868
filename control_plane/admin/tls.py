"""TLS of the HTTP side: files that are read again when they change, and client certificates for those who have one."""

import asyncio
import ssl
import tempfile
from typing import Never

from gateway_runtime.certificates import Renewing
from gateway_runtime.process import StartError
from gateway_runtime.telemetry import logger
from gateway_runtime.transport import TlsFiles, TlsMaterial, TransportFileError

_LOOK_S = 5.0


class HttpTls:
    """A context for the server; `run` keeps it up to date."""

    def __init__(self, files: TlsFiles) -> None:
        """Raises StartError (2): the files cannot be used now.

        Args:
            files: with a CA, certificates of clients are verified by it. Probes have none, so none is demanded here:
                what is not for everybody asks for it itself.
        """
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._log = logger("http_tls")
        try:
            self.tls = Renewing(files)
            self._seen = self.tls.current()
            self._load(self._seen)
        except (TransportFileError, ssl.SSLError) as error:
            raise StartError(f"--http-cert, --http-key, --http-ca: {error}", exit_code=2) from error

    async def run(self) -> Never:
        """Use new content for new connections, until cancelled; a faulty one changes nothing."""
        while True:
            await asyncio.sleep(_LOOK_S)
            await asyncio.to_thread(self.renew)

    def renew(self) -> bool:
        """Whether there was something new that can be used."""
        if (material := self.tls.current()) is self._seen:
            return False
        self._seen = material
        try:
            self._load(material)
        except ssl.SSLError as error:
            self._log.error("certificate_not_renewed", reason=str(error), serving="the last good one")
            return False
        return True

    def _load(self, material: TlsMaterial) -> None:
        """From what was checked, not from the files once more: they may be in the middle of being replaced."""
        if material.ca is not None:
            self.context.load_verify_locations(cadata=material.ca.decode("ascii", "replace"))
            self.context.verify_mode = ssl.CERT_OPTIONAL
        with tempfile.NamedTemporaryFile() as pair:  # of mode 0600; the module takes files only
            pair.write(material.certificate + b"\n" + material.key)
            pair.flush()
            self.context.load_cert_chain(pair.name)
