"""Arrays in, numbers out: paired tests, intervals, regressions over words, corrections, and claims about whole curves.

Everything works along the first axis (words) and is vectorised over all others (checkpoints, conditions). Randomness is
a function of a seed and a purpose (`resampling.generator`).
"""
