"""The systems that this project is compared with."""
