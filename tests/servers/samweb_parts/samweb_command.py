"""A double of the command `samweb`: options, output and exit codes of sam-web-client's `samweb_cli.py`, for what dune-prompt calls.

Run as a script by the Python that has `requests`; a test puts a shell script of the name `samweb` on its PATH.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    from samweb_client import SAMWebClient, exceptions

    base = argparse.ArgumentParser(prog="samweb")
    base.add_argument("-e", "--experiment")
    base.add_argument("--cert")
    base.add_argument("--key")
    base.add_argument("--max-timeout", type=int)
    base.add_argument("--socket-timeout", type=int)
    base.add_argument("command")
    base.add_argument("rest", nargs=argparse.REMAINDER)
    options = base.parse_args(arguments)
    flags = {word for word in options.rest if word.startswith("--")}
    rest = [word for word in options.rest if word not in flags]
    samweb = SAMWebClient(options.experiment, cert=options.cert, key=options.key)
    if options.max_timeout is not None:
        samweb.max_timeout = options.max_timeout
    if options.socket_timeout is not None:
        samweb.socket_timeout = options.socket_timeout
    try:
        return run(samweb, options.command, rest, flags)
    except exceptions.Error as error:
        print(error, file=sys.stderr)
        return 1


def run(samweb: object, command: str, rest: list[str], flags: set[str]) -> int:
    from samweb_client import SAMWebClient, exceptions

    assert isinstance(samweb, SAMWebClient)
    match command:
        case "get-metadata" if len(rest) == 1:
            import json

            print(json.dumps(samweb.getMetadata(rest[0], locations="--locations" in flags)))
        case "get-metadata":
            print(samweb.getMultipleMetadata(rest, locations="--locations" in flags, asJSON=True))
        case "declare-file":
            for name in rest:
                with Path(name).open() as file:
                    samweb.declareFile(mdfile=file)
        case "validate-metadata":
            with Path(rest[0]).open() as file:
                try:
                    samweb.validateFileMetadata(mdfile=file)
                except exceptions.Error as error:
                    print(error)
                    return 1
            print("Metadata is valid")
        case "modify-metadata":
            with Path(rest[0]).open() as file:
                samweb.modifyMetadata(mdfile=file)
            print("Metadata has been updated")
        case "add-file-location":
            samweb.addFileLocation(*rest)
        case "remove-file-location":
            samweb.removeFileLocation(*rest)
        case "retire-file":
            code = 0
            for name in rest:
                code = 0
                try:
                    samweb.retireFile(name)
                except exceptions.Error as error:
                    print(error)
                    code = 1
                else:
                    print(f"{name} has been retired")
            return code
        case "list-files":
            print("".join(f"{name}\n" for name in samweb.listFiles(" ".join(rest))), end="")
        case "count-files":
            print(samweb.countFiles(" ".join(rest)))
        case "describe-definition":
            print(samweb.descDefinition(rest[0]))
        case "create-definition":
            result = samweb.createDefinition(rest[0], " ".join(rest[1:]), **_options(flags, "user", "group", "description"))
            print(f"Dataset definition '{result['defname']}' has been created with id {result['defid']}")
        case "modify-definition":
            samweb.modifyDefinition(rest[0], **_options(flags, "defname", "description"))
        case _:
            print(f"Unknown command {command}", file=sys.stderr)
            return 1
    return 0


def _options(flags: set[str], *names: str) -> dict[str, str]:
    """The values of options `--name=value`."""
    given = dict(flag.removeprefix("--").split("=", 1) for flag in flags)
    if unknown := given.keys() - set(names):
        raise SystemExit(f"no such option: --{unknown.pop()}")
    return given


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
