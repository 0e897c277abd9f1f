"""How every command takes its options and shows its help: what typer leaves to its users."""

from collections.abc import Iterator
from copy import copy
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

HELP: dict[str, Any] = {"help_option_names": ["--help", "-h"]}
"""For the first command alone: those below it take over what it has."""

DEPLOYMENT = "Deployment"
"""Above the options that say where the deployment is, in the help of a command that talks to it."""


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


class DeploymentCommand(Command):
    """A command that talks to the deployment: it takes the first command's options behind its own name as well."""


class Group(TyperGroup):
    """Commands under one name."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def every(self) -> Iterator[TyperCommand]:
        """The commands of this group and of those below it."""
        for command in self.commands.values():
            if isinstance(command, Group):
                yield from command.every()
            elif isinstance(command, TyperCommand):
                yield command


class FirstCommand(Group):
    """The command that has all others below it. Its options may stand before another's name, or behind it."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in self.every():
            if isinstance(command, DeploymentCommand):
                command.params += [_behind(option) for option in self.params if isinstance(option, TyperOption)]


def _behind(option: TyperOption) -> TyperOption:
    """The option as a command below takes it: its value is that of the first command's."""

    def take_over(ctx: typer.Context, _: TyperOption, value: Any) -> None:
        if value is not None:
            ctx.find_root().params[option.name] = value

    again = copy(option)
    again.callback, again.expose_value, again.rich_help_panel = take_over, False, DEPLOYMENT  # type: ignore[assignment]
    return again


def _without_types(parameters: list[Any]) -> list[Any]:
    """No `<bool>` beside a flag, which takes no value, and no `<str>` beside an argument, which has a name."""
    for parameter in parameters:
        if isinstance(parameter, TyperArgument) or parameter.is_flag:
            parameter.display_type_rich = lambda ctx: None
    return parameters
