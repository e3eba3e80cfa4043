"""The kinds of cells of a study, one module each: what the cells are, and what they do."""
