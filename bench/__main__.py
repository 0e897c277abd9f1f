"""`python -m bench [name …]`: run all measurements, or some."""

import importlib
import pkgutil
import sys

import bench

NOT_MEASUREMENTS = {"__main__", "invocation", "paired"}


def main() -> int:
    names = sorted(
        module.name for module in pkgutil.iter_modules(bench.__path__) if module.name not in NOT_MEASUREMENTS
    )
    chosen = sys.argv[1:] or names
    for name in chosen:
        if name not in names:
            print(f"no measurement named {name}; there are {', '.join(names)}", file=sys.stderr)
            return 2
        importlib.import_module(f"bench.{name}").main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
