"""`python -m infra.docs` writes docs/settings.schema.json and the tables of docs/settings.md."""

import json
from pathlib import Path

from infra.settings.page import settings_page
from infra.settings.schema import cdk_json_schema, settings_schema
from nightshift.declaration import registry

DOCS = Path(__file__).parent.parent / "docs"
SCHEMA = DOCS / "settings.schema.json"
SETTINGS = DOCS / "settings.md"


def pages() -> dict[Path, str]:
    """Each generated file and what it should say."""
    jobs = registry()
    schema = json.dumps(cdk_json_schema(jobs), indent=2, ensure_ascii=False)
    return {SCHEMA: f"{schema}\n", SETTINGS: settings_page(SETTINGS.read_text(), settings_schema(jobs))}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)
