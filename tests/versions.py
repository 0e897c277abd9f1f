"""The library's own migrations, in the order in which they are run."""

from pathlib import Path

from nightshift.database import migrations

OF_THE_LIBRARY = [path.stem for path in sorted(Path(migrations.__file__).parent.glob("versions/nightshift_*.py"))]
