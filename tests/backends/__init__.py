"""One contract per capability, run over every backend of it, and what is particular to one backend."""
