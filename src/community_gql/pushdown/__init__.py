"""A query compiled to one SQL statement that returns the JSON text of its ``data``.

``selections`` reads a document as GraphQL's execution would, ``compiler`` turns it into SQL from
the declarations that the loaders use, ``readings`` keeps what requests for one document have in
common, ``plans`` bounds what is kept, ``execution`` runs it. The tour is docs/pushdown.md.
"""
