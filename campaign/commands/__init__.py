"""What operators can have the engine do, one module each. The command line and the HTTP interface reach the same functions."""

from campaign.commands.canary import DROP, PROMOTE
from campaign.commands.exclude import EXCLUDE, INCLUDE, WAIVE
from campaign.commands.pause import PAUSE, RESUME
from campaign.commands.protocol import Arguments, Command
from campaign.commands.reconcile import RECONCILE
from campaign.commands.redo import REDO
from campaign.commands.retry import RETRY
from campaign.commands.step import STEP

COMMANDS: dict[str, Command] = {
    command.name: command for command in (DROP, EXCLUDE, INCLUDE, PAUSE, PROMOTE, RECONCILE, REDO, RESUME, RETRY, STEP, WAIVE)
}

__all__ = ["COMMANDS", "Arguments", "Command"]
