"""gatewayctl cache: what ext_proc has stored."""

from typing import Annotated

import typer

cache = typer.Typer(help="The response caches.", no_args_is_help=True, rich_markup_mode=None)


@cache.command()
def purge(
    tag: Annotated[str, typer.Option(help="What services tagged so (Cache-Tag, Surrogate-Key).")] = "",
    prefix: Annotated[str, typer.Option(help="URLs that begin so: https://host/path, or /path of any host.")] = "",
    key: Annotated[str, typer.Option(help="Every variant of one URL: https://host/path?query.")] = "",
    everything: Annotated[bool, typer.Option("--all", help="All that is stored.")] = False,
    server: Annotated[
        str, typer.Option(envvar="GATEWAY_SERVER", help="The control plane's HTTP address.")
    ] = "http://127.0.0.1:18080",
    token: Annotated[str, typer.Option(envvar="GATEWAY_TOKEN", help="If it asks for one.", show_default=False)] = "",
) -> None:
    """Removes stored responses from every ext_proc; also what is being fetched now is not stored.

    Returns when all that are connected have done it; exits with 1 and names those that have not after 5 seconds.

    Example: gatewayctl cache purge --tag user-7
    """
    from control_plane.cli.cache_calls import CacheError, post_purge

    named = {"tag": tag, "prefix": prefix, "key": key}
    wanted: dict[str, str | bool] = {name: value for name, value in named.items() if value}
    if everything:
        wanted["all"] = True
    if len(wanted) != 1:
        raise typer.BadParameter("exactly one of --tag, --prefix, --key and --all")
    try:
        outcome = post_purge(server, token, wanted)
    except CacheError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None
    if outcome.missing:
        typer.echo(f"not purged on: {', '.join(outcome.missing)}", err=True)
        raise typer.Exit(1)
    typer.echo(f"purged on {len(outcome.acknowledged)} ext_proc: {', '.join(outcome.acknowledged) or 'none connected'}")


@cache.command()
def stats(
    ext_proc: Annotated[
        list[str] | None,
        typer.Option(envvar="GATEWAY_PROC_ADMIN", help="Admin address of an ext_proc; again for each worker."),
    ] = None,
) -> None:
    """Shows entries and bytes in memory, and what became of requests, by route, summed over the named ext_procs.

    "shared" are the answers that came from the store which replicas share.

    Example: gatewayctl cache stats --ext-proc http://127.0.0.1:9102
    """
    from control_plane.cli.cache_calls import CacheError, table_of

    try:
        table = table_of(ext_proc or ["http://127.0.0.1:9102"])
    except CacheError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(error.exit_code) from None
    typer.echo(table)


@cache.command()
def warm(
    file: Annotated[str, typer.Argument(help="Paths or URLs, one a line; - is stdin.")],
    gateway: Annotated[
        str, typer.Option(envvar="GATEWAY_URL", help="Where the gateway listens.")
    ] = "http://127.0.0.1:10000",
    header: Annotated[list[str] | None, typer.Option("-H", "--header", help="'name: value', on each request.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Requests at a time.")] = 8,
) -> None:
    """Asks for each URL of a list once, through the gateway, so that the first clients find it in the cache.

    Says how many were stored, were there already or may not be stored; exits with 1 and names those that failed.

    Example: gatewayctl cache warm popular.txt --gateway https://api.example.com
    """
    from control_plane.cli import cache_warming
    from control_plane.cli.files import CommandLineFiles

    headers = {}
    for line in header or ():
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise typer.BadParameter(f"{line!r} is no header ('name: value')")
        headers[name.strip()] = value.strip()
    try:
        urls = cache_warming.urls_of(CommandLineFiles().read(file).decode().splitlines(), gateway)
    except (OSError, ValueError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(2) from None
    results = cache_warming.warm(urls, gateway, headers, concurrency)
    for result in results:
        if not result.is_good:
            typer.echo(f"{result.url}: {result.status or result.cache}", err=True)
    typer.echo(f"{len(results)} URLs: {cache_warming.summary(results)}")
    if not all(result.is_good for result in results):
        raise typer.Exit(1)
