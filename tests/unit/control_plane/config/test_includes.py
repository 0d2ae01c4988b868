"""More files, materials, and where relative names start."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from control_plane.config.loading import load
from tests.unit.control_plane.config.documents import MemoryFiles, document, loaded

INCLUDE = {"include": "include: [services/*.yaml]"}
ROUTE = "{{name: {0}, match: {{path: /{0}}}, service: {0}, auth: {{any_of: [jwt.main]}}}}"


def _included(name: str) -> str:
    return (
        f"services: {{{name}: {{endpoints: [{{address: 127.0.0.1, port: 8110}}]}}}}\n"
        f"routes: [{ROUTE.format(name)}]\nrate_limits: {{{name}: {{rate: 1/second, key: []}}}}\n"
    )


def test_files_are_added_in_name_order() -> None:
    """Routes of included files follow those of the main file, in the order of the files' names."""
    files = {"conf/services/b.yaml": _included("b"), "conf/services/a.yaml": _included("a")}
    result = loaded(document(**INCLUDE), files)

    assert () == result.faults
    assert result.gateway is not None
    assert ["users", "a", "b"] == [route.name for route in result.gateway.routes]
    assert {"by-user", "by-ip", "a", "b"} == set(result.gateway.rate_limits)
    assert {"conf/services", "conf/services/a.yaml", "conf/services/b.yaml"} <= set(result.sources)


def test_names_are_unique_over_all_files() -> None:
    """The second of two names the place of the first."""
    files = {"conf/services/a.yaml": _included("users")}
    result = loaded(document(**INCLUDE), files)

    assert [
        "conf/services/a.yaml:1:12: services.users: is given twice (first in conf/gateway.yaml, line 5)",
        "conf/services/a.yaml:2:17: routes[0].name: 'users' is given twice (first in line 15 of conf/gateway.yaml)",
    ] == [str(fault).replace("line 15)", "line 15 of conf/gateway.yaml)") for fault in result.faults]


def test_included_files_hold_three_sections_only() -> None:
    """Anything else in them is a fault, further includes too."""
    result = loaded(document(**INCLUDE), {"conf/services/a.yaml": "version: 1\ninclude: [b.yaml]"})

    assert [
        "conf/services/a.yaml:1:1: version: cannot stand in an included file (allowed: services, routes, rate_limits)",
        "conf/services/a.yaml:2:1: include: cannot stand in an included file (allowed: services, routes, rate_limits)",
    ] == [str(fault) for fault in result.faults]


def test_faults_of_included_files_have_their_place() -> None:
    """A fault names the file that holds it, with its own line and index."""
    result = loaded(
        document(**INCLUDE), {"conf/services/a.yaml": "routes:\n- name: a\n  auth: none\n  servce: users\n"}
    )

    assert ["conf/services/a.yaml:4:3: routes[0].servce: unknown key (did you mean service?)"] == [
        str(fault) for fault in result.faults
    ]


def test_missing_file() -> None:
    """A named file that is not there is a fault of the line that names it."""
    result = loaded(document(include="include: [more.yaml]"))

    assert ["conf/gateway.yaml:16:11: include[0]: cannot read conf/more.yaml: No such file or directory"] == [
        str(fault) for fault in result.faults
    ]


def test_missing_configuration() -> None:
    """So is the configuration itself, without a line."""
    result = load("none.yaml", MemoryFiles({}), {})

    assert ["none.yaml: cannot read: No such file or directory"] == [str(fault) for fault in result.faults]


def _pair(days: int = 1) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), private


FILES = "{certificate_file: tls/a.crt, private_key_file: tls/a.key}"
TLS = {"listeners": f"listeners: [{{name: public, port: 10000, tls: {FILES}}}]"}


def test_named_files_are_read() -> None:
    """A relative name starts at the file's folder, and is the key under which the content is found."""
    certificate, key = _pair()
    result = loaded(document(**TLS), {"conf/tls/a.crt": certificate, "conf/tls/a.key": key})

    assert () == result.faults
    assert result.gateway is not None
    assert result.gateway.listeners[0].tls is not None
    assert "conf/tls/a.crt" == result.gateway.listeners[0].tls[0].certificate_file
    assert {"conf/tls/a.crt": certificate, "conf/tls/a.key": key} == dict(result.materials)
    assert {"conf/tls/a.crt", "conf/tls/a.key"} <= set(result.sources)


def test_pair_that_does_not_fit() -> None:
    """A key of another certificate is a fault before it is a failed handshake."""
    result = loaded(document(**TLS), {"conf/tls/a.crt": _pair()[0], "conf/tls/a.key": _pair()[1]})

    assert ["does not belong to the certificate (its own key)"] == [fault.message for fault in result.faults]


def test_expired_certificate() -> None:
    """A certificate that has expired is a warning."""
    certificate, key = _pair()
    files = {"conf/tls/a.crt": certificate, "conf/tls/a.key": key}
    result = loaded(document(**TLS), files, now=datetime(2026, 2, 1, tzinfo=UTC))

    assert ["expired on 2026-01-02 (a new certificate)"] == [warning.message for warning in result.warnings]


def test_missing_and_wrong_materials() -> None:
    """A file that is missing or holds something else is a fault of its line, and is watched all the same."""
    result = loaded(document(**TLS), {"conf/tls/a.crt": "nothing"})

    assert [
        "listeners[0].tls.certificate_file: conf/tls/a.crt holds no certificate (PEM)",
        "listeners[0].tls.private_key_file: cannot read conf/tls/a.key: No such file or directory",
    ] == [f"{fault.path}: {fault.message}" for fault in result.faults]
    assert {} == result.materials
    assert "conf/tls/a.key" in result.sources


def test_jwks_and_keys_files() -> None:
    """Their content is checked, and never shown."""
    auth = """
        auth:
          jwt: {main: {issuer: i, algorithms: [RS256], jwks_file: jwks.json}}
          api_keys: {partners: {header: x-api-key, keys_file: keys.yaml}}
    """
    files = {
        "conf/jwks.json": '{"keys": [{"kty": "oct", "d": "secret"}]}',
        "conf/keys.yaml": "[{id: a, sha256: secret}]",
    }
    result = loaded(document(auth=auth), files)

    assert [
        "auth.jwt.main.jwks_file: conf/jwks.json holds a private key (publish the public part only)",
        "auth.api_keys.partners.keys_file: conf/keys.yaml is not a list of {id, sha256, attributes}: "
        "entry 0, sha256 does not fit",
    ] == [f"{fault.path}: {fault.message}" for fault in result.faults]
