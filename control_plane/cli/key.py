"""gatewayctl key: API keys."""

import typer

key = typer.Typer(help="API keys.", no_args_is_help=True, rich_markup_mode=None)

KEY_BYTES = 32
"""256 bits: nothing to guess, so a plain digest of it needs no salt and no stretching."""


@key.command()
def new() -> None:
    """Make a new API key; it is shown once, and its digest goes into the configuration.

    Example: gatewayctl key new
    """
    import hashlib
    import secrets

    text = f"mk_{secrets.token_urlsafe(KEY_BYTES)}"
    digest = hashlib.sha256(text.encode()).hexdigest()
    typer.echo(f"key:     {text}")
    typer.echo(f"sha256:  {digest}")
    typer.echo("Give the key to the caller: it is not stored and not shown again.", err=True)
    typer.echo(f'In gateway.yaml: auth.api_keys.NAME.keys: [{{id: CALLER, sha256: "{digest}"}}]', err=True)
