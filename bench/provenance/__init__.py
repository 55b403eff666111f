"""The origin of a number: the code, the machine, and other work on the machine."""
