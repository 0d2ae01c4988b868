"""gatewayctl token: a JWT to try a route with. For development: real tokens come from the issuer."""

from pathlib import Path
from typing import Annotated

import typer


def token(
    provider: Annotated[str, typer.Option(help="The provider under auth.jwt that the token is for.")],
    sub: Annotated[str, typer.Option(help="The subject: who the token speaks for.")],
    config: Annotated[str, typer.Option("--config", "-c", envvar="GATEWAY_CONFIG", help="Configuration file.")] = (
        "envoy/gateway.yaml"
    ),
    claim: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE; a value that is JSON is taken as such. Again for more.")
    ] = None,
    ttl: Annotated[str, typer.Option(help="How long it is valid: 15m, 1h, 7d.")] = "1h",
    key: Annotated[Path | None, typer.Option(help="Private key (PEM) of a provider with public keys.")] = None,
    env_file: Annotated[Path | None, typer.Option(help="Variables, besides .env beside the configuration.")] = None,
) -> None:
    """Print a JWT that a provider of the configuration accepts.

    Example: gatewayctl token --provider demo --sub alice --claim 'roles=["admin"]'
    """
    import time

    from control_plane.cli.loaded import load_file, refuse, require_gateway
    from control_plane.cli.tokens import TokenError, minted

    gateway, materials = require_gateway(load_file(config, env_file))
    chosen = gateway.auth.jwt.get(provider)
    if chosen is None:
        from control_plane.config.rules.report import closest

        refuse(f"{config} has no provider {provider!r} under auth.jwt ({closest(provider, gateway.auth.jwt.keys())})")
    try:
        typer.echo(
            minted(
                chosen,
                sub=sub,
                claims=claim or (),
                ttl=ttl,
                private_key=key.read_bytes() if key is not None else None,
                jwks=materials.get(chosen.jwks_file) if chosen.jwks_file else None,
                now=int(time.time()),
            )
        )
    except OSError as error:
        refuse(f"cannot read {key}: {error.strerror or error}")
    except TokenError as error:
        refuse(str(error))
