"""What a job is called in its stack, and what it cannot be called."""

import json

from nightshift.declaration import registry, stack_name
from nightshift.declaration.names import STACK_PARTS, construct_of
from tests.infra.conftest import Assembly


def test_a_packs_stack_has_its_jobs_and_the_parts_whose_names_no_job_may_have(existing: Assembly) -> None:
    tree = json.loads((existing.folder / "tree.json").read_text())["tree"]["children"]
    parts = {construct_of(name) for name in STACK_PARTS}

    for pack in {one.pack for one in registry().values()}:
        jobs = {construct_of(name) for name, one in registry().items() if one.pack == pack}
        assert set(tree[stack_name(pack)]["children"]) == parts | jobs
