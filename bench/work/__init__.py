"""Jobs carried out: processes, the worker in each, its clock, and what they take."""
