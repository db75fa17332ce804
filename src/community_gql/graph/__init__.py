"""Reading rows: who may see them, batches, pages, search.

``visibility`` has the rule of each entity, ``edges`` the ways from one to another, ``plans`` what a
field asks for. Of a list, ``paging`` knows orders and cursors, ``finding`` the rows, by whichever
index has them (``marks``, ``bins``, ``walks``). ``loaders`` runs what ``statements`` makes.
``followers`` finds who is told of a change.
"""
