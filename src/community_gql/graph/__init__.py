"""Reading rows: who may see them, batches, pages, search."""
