"""What changes data, a module per noun.

An action takes the session and the viewer, checks every rule before it writes, and returns the
public key of the row that changed (or what its docstring says). It raises Rejected with all
problems of its input. It never commits, never uses loaders, and calls no other action. A field
that a patch leaves out is ABSENT.
"""
