"""HTTP: bytes to a request, an answer to bytes, and the bounds of both.

A request comes in by ``protocol``. A query that is known is answered by ``quick``, everything else
by ``endpoint``: ``head`` and ``requests`` read it, ``exchange`` has the operation run and charges
it (``rate_limit``), ``responses`` writes the answer, ``request_log`` its line of the log.
Subscriptions come over ``sockets`` or ``events``. ``server`` and ``workers`` start and end the
processes.
"""
