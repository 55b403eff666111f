"""Where a number came from: the code, the machine, and what else the machine did."""
