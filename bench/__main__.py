"""`python -m bench [name …]`: run all measurements, or some."""

import importlib
import pkgutil
import sys

import bench

NOT_MEASUREMENTS = {"__main__", "invocation", "logins", "paired", "shapes"}


def main() -> int:
    found = {
        name: module.name
        for module in pkgutil.walk_packages(bench.__path__, "bench.")
        if not module.ispkg and (name := module.name.rpartition(".")[2]) not in NOT_MEASUREMENTS
    }
    chosen = sys.argv[1:] or sorted(found)
    for name in chosen:
        if name not in found:
            print(f"no measurement named {name}; there are {', '.join(sorted(found))}", file=sys.stderr)
            return 2
        importlib.import_module(found[name]).main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
