"""From a document to data: prepare, weigh, execute."""
