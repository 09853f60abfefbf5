"""How far judges agree with people: statistics, calibration, and the annotation queue."""
