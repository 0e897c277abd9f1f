"""How a package shows what others may use, and imports none of it before it is asked for (PEP 562).

A cold start then pays for what it uses and for nothing else.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def face(package: str, **modules: str) -> Callable[[str], Any]:
    """The `__getattr__` of a package: for each of its modules, the names that others may use, in one text.

    A name must not be that of a module of the package: whoever imports the module would find it in place of the name.
    """
    homes = {name: module for module, names in modules.items() for name in names.split()}

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"{package} has no {name!r}; it has {', '.join(sorted(homes))}")
        return getattr(import_module(f"{package}.{homes[name]}"), name)

    return get
