"""Mend the chat page of `pf flow serve`: promptflow 1.18.5 answers 400, for want of an import in its module.

Imported by a node, it does so in whatever serves the flow, and nothing anywhere else.
"""

import os
import sys

_page = sys.modules.get("promptflow.core._serving.v1.blueprint.static_web_blueprint")
if _page is not None and not hasattr(_page, "os"):
    _page.os = os
