"""Prices that projects set, and repricing of stored spans."""
