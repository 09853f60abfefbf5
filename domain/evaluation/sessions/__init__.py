"""Session metrics, which aggregate the signals of a session's traces.

signal    the score of a trace that session metrics use
risk      1 - the score of a signal
coverage  the share of a session's traces that have signals
"""
