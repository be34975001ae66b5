"""HTML: pages, and the markup that most other formats become, as Markdown."""
