"""Do at load what an endpoint's first request would wait for.

Only where promptflow serves the flow: a batch forks its workers after loading it, which then could not use a
model whose threads have run before.
"""

import sys


def serving() -> bool:
    """Return whether the flow is loaded to be served."""
    return "promptflow.core._serving.app" in sys.modules


if serving():
    from promptflow.tracing._integrations._openai_injector import inject_openai_api

    inject_openai_api()  # which promptflow repeats at each request; the first imports half of the SDK
