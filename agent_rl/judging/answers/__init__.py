"""What compares final answers, in a process of its own: `worker` reads, `rules` decide, math-verify does the algebra.

    writing       one spelling for what is written in many ways (LaTeX, Unicode, plain text)
    texts         answers that are words: choices, yes and no, dates and times
    number_words  numbers in words, with a base, with a remainder
    units         what stands beside a value: units, currencies, percent
    structures    lists, sets, tuples, intervals, inequalities, matrices
    exclusions    all real numbers but some
    equations     equations and inequalities, and the values that they name
    values        expressions: math-verify, and a comparison at full precision behind it
    rules         the order in which these are asked

The worker is started without the project on its path, so these modules import each other and nothing else of it.
"""
