"""The process of the local AWS: ministack, with one thing as Lambda does it.

Ministack takes a payload that is no JSON for `{}`, which runs a job. So what was to be a plan, and was spoiled by a
shell's quotes or by base64, would change the rows of whoever has brought a database. Lambda refuses it.
"""

import json
from collections.abc import Mapping
from typing import Any

from ministack.app import main
from ministack.core.responses import error_response_json
from ministack.services import lambda_svc

_as_it_comes = lambda_svc.handle_request


async def handle_request(
    method: str, path: str, headers: Mapping[str, str], body: bytes, query_params: Mapping[str, Any]
) -> tuple[Any, ...]:
    """A request to Lambda. An invocation whose payload is no JSON is refused."""
    if method == "POST" and path.rstrip("/").endswith(("/invocations", "/invoke-async")) and body:
        try:
            json.loads(body)
        except ValueError:
            told = "Could not parse request body into json: it is no JSON"
            refused: tuple[Any, ...] = error_response_json("InvalidRequestContentException", told, 400)
            return refused
    answer: tuple[Any, ...] = await _as_it_comes(method, path, headers, body, query_params)
    return answer


if __name__ == "__main__":
    lambda_svc.handle_request = handle_request
    main()
