"""gatewayctl validate, explain, token, key new, init, as a user calls them."""

import hashlib
import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner, Result

from control_plane.cli.app import app
from tests.unit.control_plane.config.documents import SECRET, document


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A sound configuration."""
    path = tmp_path / "gateway.yaml"
    path.write_text(document())
    return path


def _run(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def test_validate_sound(config: Path) -> None:
    """A sound file is one line and exit status 0."""
    result = _run("validate", config)

    assert (0, f"{config}: valid (test: 1 routes, 2 services, 0 warnings)\n", "") == (
        result.exit_code,
        result.stdout,
        result.stderr,
    )


def test_validate_faulty(config: Path) -> None:
    """Faults go to stderr, one a line, and the exit status is 2."""
    config.write_text(document(mode="mode: side", name="name: ''"))
    result = _run("validate", config)

    assert (2, "") == (result.exit_code, result.stdout)
    assert [f"{config}:2:7: name", f"{config}:16:7: mode"] == [
        ":".join(line.split(":")[:4]) for line in result.stderr.splitlines()
    ]


def test_validate_strict(config: Path) -> None:
    """Warnings fail only when asked to."""
    config.write_text(document(routes="routes: [{name: open, match: {path: /a}, service: users, auth: none}]"))

    assert 0 == _run("validate", config).exit_code
    assert 2 == _run("validate", config, "--strict").exit_code


def test_validate_stdin() -> None:
    """`-` is standard input."""
    result = _run("validate", "-", stdin=document())

    assert (0, "-: valid (test: 1 routes, 2 services, 0 warnings)\n") == (result.exit_code, result.stdout)


def test_validate_json(config: Path) -> None:
    """Programs get places as numbers."""
    config.write_text(document(mode="mode: side"))
    result = _run("validate", config, "-o", "json")

    (file,) = json.loads(result.stdout)["files"]
    assert (2, False, 16, 7, "mode") == (
        result.exit_code,
        file["valid"],
        file["faults"][0]["line"],
        file["faults"][0]["column"],
        file["faults"][0]["path"],
    )


def test_validate_reads_env_beside_the_file(config: Path) -> None:
    """Variables come from .env, and --env-file wins over it."""
    config.write_text(document(name='name: "${GATEWAY_TEST_NAME}"'))
    (config.parent / ".env").write_text("GATEWAY_TEST_NAME=beside\n")
    (config.parent / "other").write_text("GATEWAY_TEST_NAME=named\n")

    assert "valid (beside:" in _run("validate", config).stdout
    assert "valid (named:" in _run("validate", config, "--env-file", config.parent / "other").stdout
    assert 2 == _run("validate", config, "--env-file", config.parent / "none").exit_code


@pytest.mark.envoy
def test_validate_with_envoy(config: Path) -> None:
    """Envoy takes what a sound file renders to."""
    result = _run("validate", config, "--envoy")

    assert (0, "") == (result.exit_code, result.stderr)


@pytest.mark.envoy
def test_validate_with_envoy_and_a_secret_of_the_cluster(config: Path) -> None:
    """A certificate that only the cluster has is stood in for."""
    config.write_text(document(listeners="listeners: [{name: p, port: 10000, tls: {kubernetes_secret: a/b}}]"))
    result = _run("validate", config, "--envoy")

    assert (0, "") == (result.exit_code, result.stderr)


@pytest.mark.envoy
def test_validate_with_envoy_that_refuses(config: Path) -> None:
    """What only Envoy finds is told in its own words."""
    patch = "{type: clusters, name: users, op: add, path: /connect_timeout, value: 0s}"
    config.write_text(document(envoy_patches=f"envoy_patches: [{patch}]"))
    result = _run("validate", config, "--envoy")

    assert (2, 1) == (result.exit_code, len(result.stderr.splitlines()))
    assert "Envoy refuses it: " in result.stderr


def test_validate_without_envoy(config: Path) -> None:
    """No Envoy to ask is a failure of its own, in one line."""
    result = _run("validate", config, "--envoy", "--envoy-program", "/none/envoy")

    assert (1, 1) == (result.exit_code, len(result.stderr.splitlines()))


def test_explain(config: Path) -> None:
    """The route that matches, why others do not, where values come from, backends, policies."""
    config.write_text(
        document(
            routes="""
                routes:
                  - {name: admin, match: {path: /admin}, service: events, auth: none, rate_limits: [by-ip]}
                  - {name: users, match: {path_prefix: /users}, service: users, rate_limits: [by-user], cache: {}}
            """,
            defaults="defaults: {auth: {any_of: [jwt.main]}, timeout: 3s}",
        )
    )
    result = _run("explain", config, "GET", "http://a.test:10000/users/../users/7?b=1&a=2")

    assert 0 == result.exit_code
    for line in (
        "GET /users/7 for host a.test on listener public",
        "  no   admin  path /users/7 is not /admin",
        "  yes  users",
        "  timeout           defaults  3s",
        "  cache             route     {scope: user, max_body: 1MiB, stale_while_revalidate: 0s, stale_if_error: 0s}",
        "  users  100 %  127.0.0.1:8101",
        "  identity  the proven identity",
    ):
        assert line in result.stdout.splitlines()
    assert "  ext_authz  authz-" in result.stdout


def test_explain_shows_transforms_in_their_order(config: Path) -> None:
    """With the cache between them, and what they make part of its key."""
    config.write_text(
        document(
            routes="""
                routes:
                  - name: users
                    service: users
                    auth: {any_of: [jwt.main]}
                    cache: {}
                    transform:
                      on_unreadable: pass
                      path_parameters: /users/{id}
                      request:
                        path: /v2/{path:id}
                        query: {set: {by: "{claim:sub}"}}
                        headers: {rename: {x-a: x-b}, remove: [x-c]}
                        body:
                          - {type: set, fields: {$.a: {b: [1, true]}}}
                          - {type: json_patch, operations: [{op: remove, path: /c}]}
                          - {type: graphql, envelope: wrap, query: "{ a }", operation: A}
                      response:
                        body: [{type: redact, fields: [password]}, {type: convert, to: csv}]
            """,
        )
    )
    result = _run("explain", config, "GET", "/users/7")

    lines = result.stdout.splitlines()
    start = lines.index("transforms, in this order")
    assert [
        "            bodies   up to 1MiB; larger and unreadable ones are passed as they are",
        "            cache    looked up; a hit ends here",
        "  request   path     /v2/{path:id} (of /users/{id})",
        "  request   query    set by: {claim:sub}",
        "  request   headers  rename x-a -> x-b",
        "  request   headers  remove x-c",
        "  request   body     set $.a: {b: [1, true]}",
        "  request   body     json_patch remove /c",
        "  request   body     graphql wrap A",
        "  response  body     redact password",
        "  response  body     convert to csv",
        "            cache    stores what the client gets",
        "",
    ] == lines[start + 1 : start + 14]
    assert "  vary      accept, x-a, and the origin's Vary" in lines


@pytest.mark.parametrize(
    ("url", "expected"),
    [("/nothing", "404 (urn:meetinity:no-route)"), ("/users%2F7", "400: %2F and %5C in a path are refused with 400")],
)
def test_explain_what_matches_nothing(config: Path, url: str, expected: str) -> None:
    """A request that no route takes is explained, too."""
    result = _run("explain", config, "GET", url)

    assert (0, expected) == (result.exit_code, result.stdout.splitlines()[-1])


def test_explain_bad_question(config: Path) -> None:
    """A header that is none is bad usage."""
    assert (2, "'nonsense' is not a header ('name: value')\n") == (
        (result := _run("explain", config, "GET", "/", "-H", "nonsense")).exit_code,
        result.stderr,
    )


def test_token_of_a_shared_secret(config: Path) -> None:
    """The token carries issuer, subject, claims and an end."""
    result = _run("token", "-c", config, "--provider", "main", "--sub", "alice", "--claim", 'roles=["admin"]')
    claims = jwt.decode(result.stdout.strip(), SECRET, algorithms=["HS256"], issuer="https://issuer.test")

    assert ("alice", ["admin"], 3600) == (claims["sub"], claims["roles"], claims["exp"] - claims["iat"])


def test_token_of_a_private_key(config: Path, tmp_path: Path) -> None:
    """A provider with public keys takes the private one from a file, and the token names it by its kid."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = tmp_path / "key.pem"
    pem.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = jwt.algorithms.ECAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "k1"}
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [public]}))
    config.write_text(
        document(
            auth="auth: {jwt: {main: {issuer: i, algorithms: [RS256, ES256], jwks_file: jwks.json, audiences: [a]}}}"
        )
    )
    result = _run("token", "-c", config, "--provider", "main", "--sub", "bob", "--key", pem, "--ttl", "5m")
    text = result.stdout.strip()

    assert {"alg": "ES256", "kid": "k1", "typ": "JWT"} == jwt.get_unverified_header(text)
    assert "bob" == jwt.decode(text, key.public_key(), algorithms=["ES256"], audience="a")["sub"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--provider", "mian"], "has no provider 'mian' under auth.jwt (did you mean main?)"),
        (["--provider", "main", "--ttl", "soon"], "--ttl: 'soon' is not a duration"),
        (["--provider", "main", "--claim", "roles"], "--claim: 'roles' is not NAME=VALUE"),
        (["--provider", "main", "--key", "/none"], "cannot read /none: No such file or directory"),
    ],
)
def test_token_refused(config: Path, arguments: list[str], expected: str) -> None:
    """Bad usage is one line and exit status 2."""
    result = _run("token", "-c", config, "--sub", "alice", *arguments)

    assert (2, True, 1) == (result.exit_code, expected in result.stderr, len(result.stderr.splitlines()))


def test_key_new() -> None:
    """The key is random, and the digest is of the whole of it."""
    result = _run("key", "new")
    shown = dict(line.split(":") for line in result.stdout.splitlines())
    key = shown["key"].strip()

    assert hashlib.sha256(key.encode()).hexdigest() == shown["sha256"].strip()
    assert key not in _run("key", "new").stdout


def test_init(tmp_path: Path) -> None:
    """What init writes is sound, has a secret of its own, and is not overwritten by accident."""
    path = tmp_path / "gateway.yaml"

    assert 0 == _run("init", "-o", path).exit_code
    assert 0 == _run("validate", path, "--strict").exit_code
    assert 0o600 == (tmp_path / ".env").stat().st_mode & 0o777
    assert 2 == _run("init", "-o", path).exit_code
    assert 0 == _run("init", "-o", path, "--force").exit_code


OPENAPI = """
openapi: 3.0.3
info: {title: Pet Store}
servers: [{url: "https://{region}.example.com/v1/", variables: {region: {default: eu}}}]
security: [{bearer: []}]
components: {securitySchemes: {bearer: {type: http, scheme: bearer}, key: {type: apiKey, in: header, name: X-Key}}}
paths:
  /pets/{id}: {get: {security: [{key: []}]}, delete: {deprecated: true}}
  /pets: {get: {security: []}, post: {}}
  /pets/mine: {get: {}}
"""


def test_init_from_openapi(tmp_path: Path) -> None:
    """Paths become routes with their methods and authentication, fixed ones before templates."""
    source, path = tmp_path / "openapi.yaml", tmp_path / "gateway.yaml"
    source.write_text(OPENAPI)

    assert 0 == _run("init", "--from", source, "-o", path).exit_code
    assert 0 == _run("validate", path).exit_code
    text = path.read_text()
    assert ["pets", "pets-2", "pets-mine", "pets-id", "pets-id-2"] == [
        line.split(": ")[1] for line in text.splitlines() if line.startswith("  - name")
    ]
    assert '    match: {path_regex: "/v1/pets/[^/]+", methods: [DELETE]}' in text.splitlines()
    assert '    dns: {host: "eu.example.com", port: 443}' in text.splitlines()
    assert "    auth: {any_of: [api_keys.key]}" in text.splitlines()


@pytest.mark.parametrize("text", ["", "swagger: '2.0'", "openapi: 3.1.0", "openapi: [", "- a"])
def test_init_from_something_else(tmp_path: Path, text: str) -> None:
    """What is no OpenAPI document with paths is refused in one line."""
    source = tmp_path / "openapi.yaml"
    source.write_text(text)
    result = _run("init", "--from", source, "-o", tmp_path / "gateway.yaml")

    assert (2, 1, False) == (
        result.exit_code,
        len(result.stderr.splitlines()),
        (tmp_path / "gateway.yaml").exists(),
    )


@pytest.mark.parametrize("command", ["validate", "explain", "token", "init", "key new"])
def test_help_has_an_example(command: str) -> None:
    """Every command shows how it is called."""
    result = _run(*command.split(), "--help")

    assert (0, True) == (result.exit_code, f"Example: gatewayctl {command}" in result.stdout)
