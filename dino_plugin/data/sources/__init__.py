"""Images that are not in folders: tar shards, tables, several sources with odds."""
