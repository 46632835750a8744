"""`dune-prompt serve`: the service, that is engine, HTTP interface and dashboard."""

from __future__ import annotations

from pathlib import Path

import click

from dune_prompt.cli.options import site_option


@click.command()
@site_option
@click.option("--verbose", "-v", is_flag=True, help="log every step")
def command(site_path: Path, verbose: bool) -> None:
    """Run the service: engine, HTTP interface, dashboard.

    One service owns a ledger. It ends with SIGTERM or Ctrl-C after the step it is in; its jobs go on and are found again
    at the next start.
    """
    import gc
    import signal
    import socket
    import time

    import uvicorn

    from campaign.engine import Engine
    from campaign.installation import open_installation
    from campaign.launchers import open_launchers
    from campaign.service.api import create_router
    from campaign.service.loop import StepLoop
    from campaign.service.tokens import Tokens
    from dashboard.app import create_app
    from dune_prompt import log
    from dune_prompt.errors import ConfigError, ConflictError

    log.configure(verbose=verbose)
    installation = open_installation(site_path, time.time())
    site, store = installation.site, installation.store
    engine = Engine(installation, open_launchers(site))
    tokens = Tokens(store, site.workspace)
    loop = StepLoop(engine, site.service.interval)
    router = create_router(engine, tokens, loop.wake)
    app = create_app(
        site, store, router, authenticate=tokens.authenticate, slots=lambda: engine.slots, active_campaigns=lambda: installation.campaigns
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2, server_header=False))
    try:
        listening = socket.create_server(site.service.address)
    except OSError as error:
        installation.lease.release()
        raise ConfigError(f"{site_path}: service.listen: {site.service.listen}: {error.strerror}; choose another port") from None
    engine.make_ready()
    loop.start()
    try:

        def end(*_: object) -> None:
            server.should_exit = True

        loop.on_lost = end
        # uvicorn raises a signal again after its own clean end; it must find a handler that does no more than ask for that end.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        # What is imported stays: without it a full garbage collection, which stops every page, takes 0.1 s less.
        gc.collect()
        gc.freeze()
        click.echo(f"dashboard: {site.service.base_url}/", err=True)
        server.run(sockets=[listening])
    finally:
        loop.stop()
        engine.close()
        if not loop.lost.is_set():
            installation.lease.release()
        store.close()
    if loop.lost.is_set():
        raise ConflictError("another service took this ledger over; this one has stopped")
