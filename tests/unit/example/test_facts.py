"""What the example's documentation says of its jobs."""

import pytest

from cli.job_pages import shown
from nightshift.declaration import registry


@pytest.mark.parametrize("job", registry())
def test_something_is_shown_of_every_job(job: str) -> None:
    assert shown(registry()[job]), f"tests/integration/example/jobs/shown/ says nothing of {job}"
