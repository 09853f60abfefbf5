"""Agreement of judges with people: statistics, calibration, annotation queue.

label             a value that a person gave
calibration       the agreement of one judge with people, and its corrected pass rate
annotation queue  scores that are most worth labelling
"""
