"""Who suits whom: vectors of what everyone may see, and lists of those who suit each person.

``recipe`` makes a person's vector, ``lists`` finds the best others by it (it knows no database),
``material`` reads what vectors are made of, ``running`` keeps all of it up to date in small steps,
``evaluating`` measures how good the lists are. numpy is the extra ``matching``: the command line
imports this package, ``serve`` never does.
"""
