"""Fix the chat page of `pf flow serve`: promptflow 1.18.5 answers 400, as its module does not import `os`.

A node imports this module, so the fix applies wherever the flow is served; elsewhere it does nothing.
"""

import os
import sys

_page = sys.modules.get("promptflow.core._serving.v1.blueprint.static_web_blueprint")
if _page is not None and not hasattr(_page, "os"):
    _page.os = os
