"""What the tests see of mistakes that are put into the code on purpose; by mutmut, see `[tool.mutmut]`."""
