"""The jobs: a folder a pack, a file a job."""

import gc
import os

# Lambda imports this file before any other. The 400,000 objects that the imports make all stay, and the search for
# garbage among them takes an eighth of a cold start: `entry_point` of `nightshift.runtime` begins it again.
if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    gc.disable()
