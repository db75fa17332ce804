"""Who suits whom: vectors of what everyone may see, and lists of those who suit each person.

``recipe`` makes a person's vector, ``lists`` finds the best others by it (it knows no database),
``material`` reads what vectors are made of, ``running`` keeps all of it up to date in small steps,
``evaluating`` measures how good the lists are. numpy is the extra ``matching``: the command line
imports this package, ``serve`` never does.
"""

import os

# numpy reads it when it is first imported. Blocks of lists are made by threads of our own: threads
# of OpenBLAS beside them wait for each other by spinning, and a run takes a third more processor.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
