"""The tables, the connections to them, the migrations."""
