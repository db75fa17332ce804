"""From a document to data: prepare, weigh, execute.

``pipeline`` is the way of an operation. To prepare it, ``documents`` reads the text (``syntax``,
``shape``, ``validity``), ``plans`` its arguments, ``cost`` what it may cost; ``prepared`` keeps
that. To run it, ``compiled`` has a statement made by ``compiler``, or leaves it to the loaders:
``breadth``, and ``batched`` in graphql-core's executor. ``mutations`` runs a mutation. ``live``
tells subscribers what changes: ``feeds`` of lists, ``states`` of one object, by what ``rendering``
makes.
"""
