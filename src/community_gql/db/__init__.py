"""The tables, the connections to them, the migrations.

``models`` has the entities and their relationships, ``tables`` what has no class. ``database`` is
the only way in: ``snapshot`` reads and ``transaction`` writes, over the connections of ``pool`` and
``replicas``. ``changes`` is the record that live updates read, ``housekeeping`` what a process does
now and then.
"""
