"""PDF: from placed characters to lines, columns, tables and paragraphs."""
