"""The paper as experiments that can be run, and its published numbers beside what the runs measured."""
