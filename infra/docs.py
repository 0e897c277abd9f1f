"""`python -m infra.docs` writes docs/settings.schema.json, the policies of docs/security.md and the tables of
docs/settings.md.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path

from infra.apis import calls, table
from infra.policies import shown
from infra.settings import read_settings
from infra.settings.page import settings_page
from infra.settings.schema import cdk_json_schema, settings_schema
from nightshift.declaration import Registration, registry

DOCS = Path(__file__).parent.parent / "docs"
SCHEMA = DOCS / "settings.schema.json"
SETTINGS = DOCS / "settings.md"
SECURITY = DOCS / "security.md"

_CALLS = re.compile(r"(<!-- calls of functions: [^\n]*-->\n).*?(<!-- end of calls -->)", re.DOTALL)


_POLICIES = re.compile(r"(<!-- policies: [^\n]*-->\n).*?(<!-- end of policies -->)", re.DOTALL)


def pages() -> dict[Path, str]:
    """Each generated file and what it should say."""
    jobs = registry()
    schema = json.dumps(cdk_json_schema(jobs), indent=2, ensure_ascii=False)
    page = settings_page(SETTINGS.read_text(), settings_schema(jobs))
    return {
        SCHEMA: f"{schema}\n",
        SETTINGS: _CALLS.sub(lambda found: f"{found[1]}{_calls(jobs)}\n{found[2]}", page),
        SECURITY: _POLICIES.sub(lambda found: f"{found[1]}{shown()}\n{found[2]}", SECURITY.read_text()),
    }


def _calls(jobs: Mapping[str, Registration]) -> str:
    """What every job calls, with a sender and a secret: the most that a deployment can need."""
    most = {
        "database": {
            "secret_arn": "arn:aws:secretsmanager:eu-west-1:111122223333:secret:name-AbCdEf",
            "rds_cluster": "a",
        },
        "sender": "nightshift@example.com",
    }
    return table(calls(read_settings(most, jobs), list(jobs.values())))


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content)
