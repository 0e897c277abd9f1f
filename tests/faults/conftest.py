"""Jobs of the shop, invoked as Lambda would."""

from tests.integration.conftest import invoke_job as invoke_job, session as session
