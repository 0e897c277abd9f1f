"""How commands take options and show help, where typer does not do it itself."""

import os
import shlex
from collections.abc import Iterator
from contextvars import ContextVar
from copy import copy
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

HELP: dict[str, Any] = {"help_option_names": ["--help", "-h"]}
"""Settings of the root. The commands below it inherit them."""

DEPLOYMENT = "Deployment"
"""The heading of the options that say where the deployment is, in the help of a command below the root."""


WHOLE = 200
"""How long the sentence that explains a command may be in a list of commands. None is longer."""


_at_work: ContextVar[typer.Context | None] = ContextVar("at_work", default=None)
"""The root of the command that is at work."""


class Command(TyperCommand):
    """A command."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def get_short_help_str(self, limit: int = 0) -> str:
        return super().get_short_help_str(WHOLE)


class DeploymentCommand(Command):
    """A command that talks to the deployment. It takes the options of the root after its own name, too."""


class Group(TyperGroup):
    """Commands under one name."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def get_short_help_str(self, limit: int = 0) -> str:
        return super().get_short_help_str(WHOLE)

    def every(self) -> "Iterator[TyperCommand | Group]":
        """The commands of this group, its groups, and what is below them."""
        for command in self.commands.values():
            if isinstance(command, Group):
                yield command
                yield from command.every()
            elif isinstance(command, TyperCommand):
                yield command


class DeploymentGroup(Group):
    """Commands under one name, which talk to the deployment. The options of the root may stand after that name, too."""


class Root(Group):
    """The group of all commands. Its options may stand before the name of a command or after it."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for command in self.every():
            if isinstance(command, DeploymentCommand | DeploymentGroup):
                command.params += map(_after, self._of_deployment())

    def invoke(self, ctx: Any) -> Any:
        token = _at_work.set(ctx)
        try:
            return super().invoke(ctx)
        finally:
            _at_work.reset(token)

    def _of_deployment(self) -> list[TyperOption]:
        """The options that say where the deployment is: not those that end the command, like --version."""
        return [option for option in self.params if isinstance(option, TyperOption) and not option.is_eager]


def _after(option: TyperOption) -> TyperOption:
    """The option as a command takes it after its name: it sets the option of the root."""

    def take_over(ctx: typer.Context, _: TyperOption, value: Any) -> None:
        if value is not None:
            ctx.find_root().params[option.name] = value

    again = copy(option)
    again.envvar = None  # the root has read it, and a word before the command's name goes before the environment
    again.callback, again.expose_value, again.rich_help_panel = take_over, False, DEPLOYMENT  # type: ignore[assignment]
    return again


def again(command: str) -> str:
    """A command to be copied, for the deployment at which the one that is at work looks: `watch RUN` becomes
    `nightshift watch RUN --region eu-west-1`. What the environment says need not be repeated.
    """
    if (root := _at_work.get()) is not None:
        for option in root.command.params:
            value = root.params.get(str(option.name))
            if value not in (None, os.environ.get(str(option.envvar))):
                command += f" {option.opts[0]} {shlex.quote(value)}"
    return f"nightshift {command}"


def _without_types(parameters: list[Any]) -> list[Any]:
    """Hide the types of flags, which take no value, and of arguments, whose name says enough."""
    for parameter in parameters:
        if isinstance(parameter, TyperArgument) or parameter.is_flag:
            parameter.display_type_rich = lambda ctx: None
    return parameters
